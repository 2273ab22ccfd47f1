"""The common part of a probe's protocols: the contract of a dialect, and the framing of streams. Pure."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from collectors.http.credentials import keyed
from collectors.probe.question import Question

MAX_TOKENS = 16
"""Enough tokens to see a stream begin and end; a probe must be cheap (chosen)."""


class Event(NamedTuple):
    """Meaning of one message of an answer."""

    content: bool
    """Whether the message contains output: text, reasoning, a vector, a score or a tensor."""
    finished: bool
    """Whether the server says that the answer is complete."""
    text: str = ""
    """The text of the answer that `expect` is compared with."""
    dimension: int | None = None
    """Length of an embedding."""
    at_limit: bool = False
    """Whether the answer ended because its tokens ran out."""


class BadAnswer(Exception):
    """The answer breaks the protocol. `reason` is a short stable word for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Dialect(ABC):
    """One protocol: makes the request of a question, and reads the answer."""

    model: str = ""
    question: Question = field(default_factory=Question)
    key_header: str = field(default="", kw_only=True)
    """Header for the API's key, where the API reads it from another one than Authorization."""
    generates: ClassVar[bool] = True
    """Whether the answer consists of tokens, so that there is a time to the first one."""
    lines: ClassVar[bool] = False
    """Whether a stream is one JSON document a line, and not server-sent events."""
    ends_with_connection: ClassVar[bool] = False
    """Whether the end of the body ends the answer. If not, a body that ends before `finished` was cut off."""

    @property
    def max_tokens(self) -> int:
        """Token budget of an answer, for protocols that always send one."""
        return MAX_TOKENS if self.question.max_tokens is None else self.question.max_tokens

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        return [{"role": "user", "content": self.question.prompt}]

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """Return the JSON body to post."""

    @abstractmethod
    def event(self, data: str) -> Event:
        """Read one event's data, or a whole JSON answer. Raises BadAnswer for any other text."""

    def headers(self, authorization: str) -> dict[str, str]:
        """Return headers beside the usual ones. `authorization` is the value of that header, or ""."""
        return keyed(self.key_header, authorization) if self.key_header else {}


def message_of(data: str) -> dict[str, Any]:
    """Return a JSON object. Raises BadAnswer for any other text, and for an error that was sent with status 200."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswer("malformed") from None
    if not isinstance(message, dict):
        raise BadAnswer("malformed")
    # FastChat and LMDeploy send {"object": "error"}, FastChat's workers an error_code.
    if message.get("error") or message.get("object") == "error" or message.get("error_code"):
        raise BadAnswer("stream_error")
    return message


class EventStream:
    """Splits a server-sent event stream into the data of its events (WHATWG HTML §9.2), chunk by chunk."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Return the data of every event that `chunk` completes. Raises BadAnswer for a line of another format."""
        events = []
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if not line:
                if self._data:
                    events.append("\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise BadAnswer("malformed")
        return events


class LineStream:
    """Splits newline-delimited JSON into its documents, chunk by chunk."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return every document that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]
