"""The protocols of a probe: makes requests and reads answers of OpenAI's completions and Triton's generate. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from collectors.errors import CollectorError

_MAX_TOKENS = 16
"""Enough tokens to see a stream begin and end; a probe must be cheap (chosen)."""


class Event(NamedTuple):
    """Meaning of one message of an answer."""

    content: bool
    """Whether the message contains text."""
    finished: bool
    """Whether the server says that the answer is complete."""


class BadAnswer(Exception):
    """The answer breaks the protocol. `reason` is a short stable word for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Dialect(Protocol):
    """One protocol."""

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the body ends the answer. If not, a body that ends before `finished` was cut off."""
        ...

    def question(self) -> dict[str, Any]:
        """Return the JSON body to post."""
        ...

    def event(self, data: str) -> Event:
        """Read one server-sent event's data, or a whole JSON answer. Raises BadAnswer for any other text."""
        ...


@dataclass(frozen=True)
class OpenAI:
    """POST …/chat/completions or …/completions with stream=true."""

    model: str
    prompt: str
    chat: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    ends_with_connection: bool = False

    def question(self) -> dict[str, Any]:
        """Return the request body. `extra` overrides the defaults."""
        asked = {"messages": [{"role": "user", "content": self.prompt}]} if self.chat else {"prompt": self.prompt}
        return {"model": self.model, **asked, "stream": True, "max_tokens": _MAX_TOKENS, "temperature": 0, **self.extra}

    def event(self, data: str) -> Event:
        """Read a chunk, a whole completion, or `[DONE]`. Raises BadAnswer for any other text."""
        if data.strip() == "[DONE]":
            return Event(content=False, finished=True)
        message = _message(data)
        choices = message.get("choices")
        if not isinstance(choices, list):
            raise BadAnswer("malformed")
        if not choices:  # the usage chunk, which stream_options requests
            return Event(content=False, finished=False)
        choice = choices[0] if isinstance(choices[0], dict) else {}
        part = choice.get("delta") or choice.get("message") or {}
        text = choice.get("text") or _text_of(part)
        return Event(content=bool(text), finished=choice.get("finish_reason") is not None)


@dataclass(frozen=True)
class TritonGenerate:
    """POST /v2/models/M[/versions/V]/generate_stream or …/generate."""

    prompt: str
    streams: bool = True
    input_name: str = "text_input"
    output_name: str = "text_output"
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further inputs and request parameters. Triton distinguishes them by the model's configuration."""
    ends_with_connection: bool = True

    def question(self) -> dict[str, Any]:
        """Return the request body. `stream` is an input of the vLLM backend; other backends ignore it."""
        return {self.input_name: self.prompt, **({"stream": True} if self.streams else {}), **self.extra}

    def event(self, data: str) -> Event:
        """Read one response. A decoupled model's last response may be empty. Raises BadAnswer for any other text."""
        message = _message(data)
        if self.output_name not in message:
            raise BadAnswer("malformed")
        return Event(content=bool(message[self.output_name]), finished=False)


def dialect_for(
    url: str,
    protocol: str | None,
    model: str,
    prompt: str,
    extra: Mapping[str, Any],
    names: tuple[str, str] = ("text_input", "text_output"),
) -> Dialect:
    """Return the dialect for `protocol` (`openai`, `triton`; None: by the URL's path).

    Raises CollectorError when neither fits, and for `openai` without a model.
    """
    path = urlsplit(url).path.rstrip("/")
    generates = path.endswith(("/generate", "/generate_stream"))
    if protocol in ("triton", "triton-generate") or (protocol is None and generates):
        return TritonGenerate(prompt, path.endswith("_stream"), *names, extra)
    if protocol == "openai" or (protocol is None and path.endswith("/completions")):
        if not model:
            raise CollectorError(f"probe {url}: set the model to ask (model_name:, or a model label)")
        return OpenAI(model, prompt, chat=path.endswith("/chat/completions"), extra=extra)
    raise CollectorError(
        f"probe {url}: the path is neither …/chat/completions, …/completions nor …/generate_stream; "
        "set protocol: openai or protocol: triton"
    )


def _message(data: str) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswer("malformed") from None
    if not isinstance(message, dict):
        raise BadAnswer("malformed")
    if message.get("error"):  # an error after the status 200 had been sent
        raise BadAnswer("stream_error")
    return message


def _text_of(part: Any) -> Any:
    if not isinstance(part, dict):
        raise BadAnswer("malformed")
    # Reasoning tokens count as text: the user waits for them too. A tool call is an answer without text.
    return part.get("content") or part.get("reasoning_content") or part.get("reasoning") or part.get("tool_calls")


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
