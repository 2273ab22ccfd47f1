"""Addresses of repositories: `file:///backups/llm`, a plain path, `s3://bucket/prefix`, `gs://…`, `az://…`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from controlplane.backup.errors import NotARepository, StoreUnreachable
from controlplane.backup.storage.folder import FolderStore
from controlplane.backup.storage.objects import BACKOFF, MOST_BACKOFF, RETRY_WITHIN, TIMEOUT, ObjectsStore
from controlplane.backup.storage.store import Store
from controlplane.config.backup.buckets import CLOUDS


def open_store(address: str, environment: Mapping[str, str] = os.environ) -> Store:
    """Return the store at an address. Nothing is read or made yet.

    `environment` is read for the addresses of S3-compatible servers without TLS, which are refused unless
    `AWS_ALLOW_HTTP=true` is set. Raises NotARepository for an address of an unknown kind or with credentials in it, and
    StoreUnreachable when obstore refuses the address or its configuration.
    """
    parts = urlsplit(address)
    if parts.scheme == "":
        return FolderStore(Path(address).absolute())
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise NotARepository(f"{address} names a host; write file:///path with three slashes")
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme not in CLOUDS:
        raise NotARepository(f"{address!r} is no address of a repository; use a path, file://, s3://, gs:// or az://")
    return ObjectsStore(cloud_store(address, environment), address)


def is_cloud(address: str) -> bool:
    """Return whether an address is one of a bucket, and no path."""
    return urlsplit(address).scheme in CLOUDS


def cloud_store(
    address: str,
    environment: Mapping[str, str] = os.environ,
    *,
    timeout: timedelta = TIMEOUT,
    retry_within: timedelta = RETRY_WITHIN,
    backoff: timedelta = BACKOFF,
) -> S3Store | GCSStore | AzureStore:
    """Return obstore's store of a bucket and a prefix. Nothing is read yet.

    A request ends after `timeout`, and is repeated for `retry_within` at most. `backoff` is the time before the first
    repetition; it doubles with each one.

    Raises NotARepository for an address with credentials or without a bucket, and StoreUnreachable when obstore refuses
    the address or its configuration.
    """
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query or "@" in parts.netloc:
        raise NotARepository("an address with credentials or options in it is refused: give them in the environment")
    if not parts.netloc:
        raise NotARepository(f"{address} names no bucket")
    plain = environment.get("AWS_ALLOW_HTTP", "").lower() == "true"
    try:
        store = from_url(
            address,
            client_options={"timeout": timeout, "connect_timeout": timeout / 6, "allow_http": plain},
            retry_config={
                "max_retries": 8,
                "retry_timeout": retry_within,
                "backoff": {"init_backoff": backoff, "max_backoff": MOST_BACKOFF, "base": 2},
            },
        )
    except (BaseError, ValueError) as error:
        raise StoreUnreachable(f"{address}: {str(error).partition(chr(10))[0]}") from error
    assert isinstance(store, S3Store | GCSStore | AzureStore)
    return store
