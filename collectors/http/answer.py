"""Reads a target's HTTP answer as it arrives: checks it, bounds its size, inflates it. Nothing in it is trusted."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from http import HTTPStatus

from collectors.errors import BodyTooLarge, ExpositionError, Redirected, UnexpectedStatus

_PERMANENT = frozenset((301, 308))
_REDIRECTS = _PERMANENT | {302, 303, 307}
"""The statuses by which a server names another place for a GET (RFC 9110, 15.4)."""


class BoundedBody:
    """Collects a body, and inflates it if it is compressed. Its compressed and inflated sizes are bounded.

    A compressed body is inflated here step by step, because only this bounds its inflated size.
    """

    def __init__(self, max_bytes: int, encoding: str) -> None:
        """Raises ExpositionError for an encoding that was not requested."""
        self.received = 0
        """Number of bytes of the body on the wire."""
        self._max_bytes = max_bytes
        self._encoding = encoding.strip().lower().removeprefix("x-")
        if self._encoding not in ("", "identity", "gzip", "deflate"):
            raise ExpositionError(f"the body's encoding {self._encoding[:40]!r} was not requested", 0)
        self._inflate: zlib._Decompress | None = None
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Append bytes from the wire. Raises BodyTooLarge beyond the limit, ExpositionError for a wrong encoding."""
        self.received += len(chunk)
        self.check_size(self.received)
        if self._encoding in ("", "identity"):
            self._chunks.append(chunk)
            return
        if not chunk:
            return
        if self._inflate is None:
            self._inflate = zlib.decompressobj(self._window_bits(chunk[0]))
        try:
            # One byte more than there is room for: it shows that the body is too large, whatever its full size.
            inflated = self._inflate.decompress(chunk, self._max_bytes - self._size + 1)
        except zlib.error as error:
            raise ExpositionError(f"the body is not valid {self._encoding}", 0) from error
        self._chunks.append(inflated)
        self._size += len(inflated)
        self.check_size(self._size)

    def finish(self) -> bytes:
        """Return the whole body. Raises ExpositionError if compressed data is incomplete or followed by more bytes."""
        if self._encoding not in ("", "identity"):
            if self._inflate is None or not self._inflate.eof:
                raise ExpositionError(f"the {self._encoding} body is cut short", 0)
            if self._inflate.unused_data:
                raise ExpositionError(f"the {self._encoding} body is followed by other bytes", 0)
        return b"".join(self._chunks)

    def check_size(self, size: int) -> None:
        """Raise BodyTooLarge for a size beyond the limit, announced or received."""
        if size > self._max_bytes:
            raise BodyTooLarge(f"the body has more than the {self._max_bytes} bytes allowed")

    def _window_bits(self, first: int) -> int:
        if self._encoding == "gzip":
            return 16 + zlib.MAX_WBITS
        # "deflate" means zlib (RFC 9110), but some servers send it raw; a zlib header's low half byte is always 8.
        return zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS


class Answer(BoundedBody):
    """An answer with status 200, and its body."""

    def __init__(self, status: int, headers: Mapping[str, str], max_bytes: int) -> None:
        """`headers` have names in lower case.

        Raises Redirected for a redirect, UnexpectedStatus for another status than 200, BodyTooLarge for an announced
        length beyond the limit, and ExpositionError for an encoding that was not requested.
        """
        if status != HTTPStatus.OK:
            raise other_status(status, headers.get("location", ""))
        super().__init__(max_bytes, headers.get("content-encoding", ""))
        self.content_type = headers.get("content-type", "")
        length = headers.get("content-length", "")
        self.check_size(int(length) if length.isdecimal() else 0)


class Progress:
    """Progress of a read, for the message of a timeout."""

    def __init__(self) -> None:
        self.connected = False
        self.answer: Answer | None = None
        self.issuer = ""
        """Host that was asked for a token, while it has not answered."""

    def restart(self) -> None:
        """Begin a new read."""
        self.connected, self.answer, self.issuer = False, None, ""

    @property
    def stage(self) -> str:
        """Stage of the read, in words."""
        if self.issuer:
            return f"no token from {self.issuer} yet"
        if self.answer and self.answer.received:
            return f"in the middle of the body, {self.answer.received} bytes received"
        if self.answer:
            return "headers received, no body yet"
        return "connected, no headers yet" if self.connected else "not connected"


def other_status(status: int, location: str) -> UnexpectedStatus:
    """Return the error for another status than 200: Redirected for a redirect to `location`."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    message = f"answered {status}{phrase}, expected 200"
    if status in _REDIRECTS and location:
        return Redirected(f"{message}: a redirect", location, permanent=status in _PERMANENT)
    error = UnexpectedStatus(message)
    error.status = status
    return error
