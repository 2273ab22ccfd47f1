"""XML documents of S3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from xml.sax.saxutils import escape, unescape

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


class Listed(Protocol):
    """What a listing tells of an object."""

    @property
    def data(self) -> bytes: ...
    @property
    def etag(self) -> str: ...
    @property
    def modified_at(self) -> float: ...


def list_document(objects: Mapping[str, Listed], prefix: str, *, etags: bool, more: bool) -> bytes:
    """Return a page of ListObjectsV2. Its token is the last key."""
    rows = []
    for key, one in objects.items():
        at = datetime.fromtimestamp(one.modified_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        etag = f"<ETag>{escape(one.etag)}</ETag>" if etags else ""
        size = f"<Size>{len(one.data)}</Size><StorageClass>STANDARD</StorageClass>"
        rows.append(f"<Contents><Key>{escape(key)}</Key><LastModified>{at}</LastModified>{etag}{size}</Contents>")
    last = next(reversed(list(objects)), "")
    token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
    return _document(
        "ListBucketResult",
        f"<Name>models</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(objects)}</KeyCount>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(rows)}",
    )


def upload_document(upload: str, key: str) -> bytes:
    """Return the answer to CreateMultipartUpload."""
    return _document(
        "InitiateMultipartUploadResult",
        f"<Bucket>models</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>",
    )


def complete_document(key: str, etag: str) -> bytes:
    """Return the answer to CompleteMultipartUpload."""
    return _document(
        "CompleteMultipartUploadResult",
        f"<Location>x</Location><Bucket>models</Bucket><Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag>",
    )


def deleted_document(keys: Sequence[str]) -> bytes:
    """Return the answer to DeleteObjects."""
    return _document("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))


def named_keys(body: bytes) -> list[str]:
    """Return the keys of a request DeleteObjects."""
    return [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]


def error_document(code: str, key: str) -> bytes:
    """Return an error."""
    return f"{HEAD}<Error><Code>{code}</Code><Message>{code}</Message><Key>{escape(key)}</Key></Error>".encode()


def _document(name: str, body: str) -> bytes:
    return f'{HEAD}<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}</{name}>'.encode()
