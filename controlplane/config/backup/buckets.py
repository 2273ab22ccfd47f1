"""Addresses of buckets in the section `backup`: of the repository, and of folders that jobs back up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from controlplane.config.vocabulary import plain_path

CLOUDS: Final = ("s3", "gs", "az")


def bucket(address: str) -> str:
    """Return the address of a bucket unchanged. Raises ValueError for credentials in it, and without a bucket."""
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query or "@" in parts.netloc:
        raise ValueError("holds credentials or options: give them in the control plane's environment")
    if not parts.netloc:
        raise ValueError("names no bucket: write one, such as s3://bucket/prefix")
    return address


def overlapping(one: str, other: str) -> bool:
    """Return whether two addresses are of one prefix, or of a prefix inside the other."""
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


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
