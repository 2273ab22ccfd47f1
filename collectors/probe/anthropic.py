"""Anthropic's messages. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from collectors.probe.protocol import BadAnswer, Dialect, Event, message_of
from collectors.probe.question import merged

VERSION = "2023-06-01"
"""The API requires a version, and this is its only one."""


@dataclass(frozen=True)
class Anthropic(Dialect):
    """POST …/v1/messages with stream=true."""

    key_header: str = field(default="x-api-key", kw_only=True)

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        made = {"model": self.model, "messages": self.messages, "stream": True, "max_tokens": self.max_tokens}
        return merged(made, self.question.parameters)

    def headers(self, authorization: str) -> dict[str, str]:
        """Return the API's version, and a bearer token as the key that the API reads instead."""
        return {"anthropic-version": VERSION, **super().headers(authorization)}

    def event(self, data: str) -> Event:
        """Read one event, or a whole message. Raises BadAnswer for any other text."""
        message = message_of(data)
        kind = message.get("type")
        if kind == "message":
            blocks = message.get("content")
            if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
                raise BadAnswer("malformed")
            text = "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))
            output = any(block.get(name) for block in blocks for name in ("text", "thinking", "input", "name"))
            return Event(output, True, text, at_limit=message.get("stop_reason") == "max_tokens")
        if kind == "message_stop":
            return Event(content=False, finished=True)
        if not isinstance(kind, str):
            raise BadAnswer("malformed")
        delta = message.get("delta")
        part = delta if isinstance(delta, dict) else {}
        said = part.get("text")
        text = said if isinstance(said, str) else ""
        output = bool(text or part.get("thinking") or part.get("partial_json"))
        return Event(output, False, text, at_limit=part.get("stop_reason") == "max_tokens")
