"""Addresses in the section `backup`: of the repository, and of folders and buckets that jobs back up."""

from __future__ import annotations

from pathlib import Path
from posixpath import normpath
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from controlplane.config.vocabulary import plain_path

CLOUDS: Final = ("s3", "gs", "az")


def folder_of(address: str) -> Path | None:
    """Return the folder of a path or of `file:///…`; None: the address is of a bucket, or names a host."""
    if address.startswith("/"):
        return Path(address)
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        return None
    return Path(unquote(parts.path, errors="surrogateescape"))


def bucket(address: str) -> str:
    """Return the address of a bucket, its scheme in lower case. Raises ValueError for credentials, or no bucket."""
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query or "@" in parts.netloc:
        raise ValueError("holds credentials or options: give them in the control plane's environment")
    if not parts.netloc:
        raise ValueError("names no bucket: write one, such as s3://bucket/prefix")
    return lower_scheme(address)


def lower_scheme(address: str) -> str:
    """Return an address with its scheme in lower case: `S3://models` names the same bucket as `s3://models`."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def overlapping(one: str, other: str) -> bool:
    """Return whether two addresses are of one prefix, or of a prefix inside the other."""
    first, second = _prefix(one), _prefix(other)
    return first.startswith(second) or second.startswith(first)


def _prefix(address: str) -> str:
    """Return an address as stores read it, with a slash at its end: `%6d` is m, and `..` leaves a folder."""
    parts = urlsplit(address)
    path = normpath("/" + unquote(parts.path).lstrip("/")).strip("/")
    return f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/") + "/"


def _source(value: Any) -> Any:
    """Return a Path, or the address of a bucket as text. Raises ValueError."""
    plain_path(value)
    if isinstance(value, Path) or "://" not in value:
        return Path(value)
    if urlsplit(value).scheme not in CLOUDS:
        raise ValueError("expected a path, s3://bucket/prefix, gs://… or az://…")
    return bucket(value)


FolderOrBucket = Annotated[Path | str, BeforeValidator(_source)]
"""A Path of this machine, or the address of a bucket, which is a str."""
