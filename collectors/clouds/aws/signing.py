"""Signature of requests to AWS: Signature Version 4. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Only what these APIs need: a
POST to `/` without a query. The library of AWS is 32 MB, of which this is a page, and it blocks the event loop.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Key:
    """An access key. A temporary one has a token."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def signed(
    key: Key, service: str, region: str, host: str, headers: Mapping[str, str], body: bytes, now: float
) -> dict[str, str]:
    """Return all headers of a POST to `/`, signed at `now` (unix seconds). `host` is the value of its header Host."""
    at = datetime.fromtimestamp(now, UTC)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at:%Y%m%d}/{region}/{service}/aws4_request"
    sent = {**headers, "X-Amz-Date": stamp, **({"X-Amz-Security-Token": key.token} if key.token else {})}
    lines = sorted((name.lower(), value.strip()) for name, value in {**sent, "Host": host}.items())
    names = ";".join(name for name, _ in lines)
    canonical = "\n".join(
        ["POST", "/", "", *(f"{name}:{value}" for name, value in lines), "", names, hashlib.sha256(body).hexdigest()]
    )
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    sent["Authorization"] = f"{_ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return sent
