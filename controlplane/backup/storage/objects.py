"""A repository in an object store (S3, Google Cloud Storage, Azure), through obstore.

Credentials come from where each cloud's own tools take them: the environment, files, the machine's identity. They are
never part of the address, so an address can be logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from controlplane.backup.errors import StoreUnreachable
from controlplane.backup.format.buffers import Buffer
from controlplane.backup.storage.store import Stored

if TYPE_CHECKING:
    from obstore import ObjectMeta

ObjectStore = S3Store | GCSStore | AzureStore | MemoryStore
ONE_REQUEST_BELOW: Final = 8 << 20
"""Objects from this size on are sent in parts, in bytes: a part that fails is sent again alone."""
TIMEOUT: Final = timedelta(seconds=60)
"""Longest time of one request. Chosen: 8 MiB at 1.1 Mbit/s."""
RETRY_WITHIN: Final = timedelta(minutes=3)
BACKOFF: Final = timedelta(milliseconds=100)
MOST_BACKOFF: Final = timedelta(seconds=15)
"""Pauses before the first repetition of a request and before each late one: obstore's own defaults."""
TRIES: Final = 3
QUICK_S: Final = 5.0
"""Seconds after which a fault is not tried again here: obstore has repeated the request itself by then."""
PAUSE_S: Final = 0.2
_FINAL: Final = (AlreadyExistsError, InvalidPathError, NotFoundError, PermissionDeniedError, PreconditionError)
"""Faults that a second request does not mend."""
Answer = TypeVar("Answer")


def again(call: Callable[[], Answer]) -> Answer:
    """Return the answer of a call that may be repeated, at the third try at most.

    obstore repeats requests that were not answered, and 5xx. It does not repeat a listing that was cut off, and answers
    that it cannot read. Raises the last error of obstore.
    """
    began = time.monotonic()
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except _FINAL:
            raise
        except BaseError:
            if attempt == TRIES or time.monotonic() - began > QUICK_S:
                raise
            time.sleep(PAUSE_S * attempt)
    raise AssertionError("unreachable")


def list_all(store: ObjectStore, address: str, prefix: str | None = None) -> Sequence[ObjectMeta]:
    """Return what a store lists, whole: a listing that breaks off is repeated.

    Raises StoreUnreachable, also for a key that is no path.
    """
    with told(address, prefix or "listing"):
        try:
            return again(lambda: [meta for batch in obstore.list(store, prefix) for meta in batch])
        except (NotFoundError, FileNotFoundError) as error:
            reason = str(error).partition("\n\n")[0]
            raise StoreUnreachable(f"{address} cannot be listed: {reason}. Is the name of the bucket right?") from error
        except InvalidPathError as error:
            reason = str(error).partition("\n\n")[0]
            raise StoreUnreachable(
                f"{address} holds a key that is no path of a file, so its objects cannot be listed: {reason}. Delete or"
                " rename that object."
            ) from error


class ObjectsStore:
    """Objects below a prefix of a bucket."""

    def __init__(self, store: ObjectStore, address: str) -> None:
        """`store` has the prefix already."""
        self._store, self.address = store, address

    def put(self, name: str, data: Buffer) -> None:
        """Write a whole object durably."""
        with told(self.address, name):
            large = len(data) >= ONE_REQUEST_BELOW
            again(lambda: self._put(name, data, large=large))

    def _put(self, name: str, data: Buffer, *, large: bool) -> None:
        try:
            obstore.put(self._store, name, data, use_multipart=large, chunk_size=ONE_REQUEST_BELOW, max_concurrency=4)
        except (NotFoundError, FileNotFoundError) as error:
            # The bucket is not there; or an upload was completed, and only the answer was lost: send the object again.
            raise GenericError(str(error)) from error

    def create(self, name: str, data: Buffer) -> bool:
        """Write a whole object unless there is one. Return whether it was written."""
        with told(self.address, name):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except (NotSupportedError, NotImplementedError):
                obstore.put(self._store, name, data, use_multipart=False)
        return True

    def get(self, name: str, limit: int) -> bytes:
        """Return a whole object. Raises FileNotFoundError, and StoreUnreachable when it is over `limit` bytes."""
        with told(self.address, name):
            return again(lambda: self._get(name, limit))

    def _get(self, name: str, limit: int) -> bytes:
        result = obstore.get(self._store, name)
        if result.meta["size"] > limit:
            raise StoreUnreachable(f"{self.address}: {name} has more than {limit} bytes, which no such object has")
        return bytes(result.bytes())

    def read_into(self, name: str, offset: int, out: memoryview) -> int:
        """Read bytes from an offset into `out`, and return their number.

        Raises FileNotFoundError, and StoreUnreachable when the store sends more bytes than were asked for.
        """
        with told(self.address, name):
            try:
                data = memoryview(again(lambda: obstore.get_range(self._store, name, start=offset, length=len(out))))
            except (BaseError, ValueError):
                # Stores refuse a range of no bytes, and one that begins behind the end: an object that was cut off.
                if obstore.head(self._store, name)["size"] > offset and len(out):
                    raise
                return 0
        if len(data) > len(out):
            raise StoreUnreachable(f"{self.address}: {name}: asked for {len(out)} bytes, the store sent {len(data)}")
        out[: len(data)] = data
        return len(data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects below a prefix."""
        for meta in list_all(self._store, self.address, prefix.rstrip("/")):
            yield Stored(meta["path"], meta["size"], meta["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        try:
            with told(self.address, name):
                again(lambda: obstore.delete(self._store, name))
        except FileNotFoundError:
            return

    def tidy(self, older_than_s: float) -> None:
        """Do nothing: a bucket's lifecycle rule aborts multipart uploads that never ended."""


_IDENTITY_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Hosts that give a machine its identity in AWS, Azure and Google Cloud. obstore asks them when the environment has no
credentials, so an error that names one means that there are none."""


@contextmanager
def told(address: str, name: str) -> Iterator[None]:
    """Translate the errors of obstore. Raises FileNotFoundError and StoreUnreachable."""
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise FileNotFoundError(name) from None
    except (BaseError, OSError) as error:
        # obstore appends its internal structures after an empty line.
        reason = str(error).partition("\n\n")[0]
        if any(host in reason for host in _IDENTITY_HOSTS):
            reason = (
                "the environment has no credentials for it, and this machine has no identity in that cloud. Set the"
                f" variables that the cloud's own tools read. ({reason})"
            )
        raise StoreUnreachable(f"{address}: {name}: {reason}") from error
