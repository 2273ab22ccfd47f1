"""Outcome of a request for its lines, by the server's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple, Protocol

from collectors.logs.shipping.record import Record

_MAX_TOLD = 300


class Answer(NamedTuple):
    """One answer, whole."""

    status: int
    body: bytes = b""
    retry_after: str = ""
    """Value of the header Retry-After; "" without one."""

    @property
    def sentence(self) -> str:
        """The status and the beginning of the body, for people."""
        text = self.body[:_MAX_TOLD].decode(errors="replace").strip()
        words = "".join(c for c in text if c.isprintable())
        return f"answered {self.status}" + (f": {words}" if words else "")


@dataclass(frozen=True)
class Verdict:
    """Outcome of a request. Lines that are neither sent again nor dropped were accepted."""

    again: Sequence[Record] = ()
    """Lines to send again later."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of lines that the server refused for good, by reason."""
    refused: str = ""
    """Reason for which the whole request can never be accepted, though its parts may: it is cut in two."""
    why: str = ""
    """The server's words about what it did not accept."""


class Dialect(Protocol):
    """A protocol for lines over HTTP. Pure."""

    path: str
    """Path of the requests, behind that of the server's address."""
    query: Mapping[str, str]
    content_type: str

    def body(self, records: Sequence[Record]) -> bytes:
        """Return a request's body."""
        ...

    def verdict(self, answer: Answer, records: Sequence[Record]) -> Verdict:
        """Judge the answer to a request with these lines."""
        ...


def usual(answer: Answer, records: Sequence[Record]) -> Verdict:
    """Judge an answer by its status alone.

    400 and 413 are about the body. All others may pass: also 401 and 404, once somebody has mended the server or the
    credentials.
    """
    if 200 <= answer.status < 300:
        return Verdict()
    if answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        return Verdict(refused=f"status_{answer.status}", why=answer.sentence)
    return Verdict(again=records, why=answer.sentence)
