"""Ollama's own API, whose streams are one JSON document a line. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collectors.probe.openai import Embeddings, vector_event
from collectors.probe.protocol import BadAnswer, Dialect, Event, message_of
from collectors.probe.question import merged


@dataclass(frozen=True)
class Ollama(Dialect):
    """POST /api/chat or /api/generate."""

    chat: bool = True
    lines = True

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        asked = {"messages": self.messages} if self.chat else {"prompt": self.question.prompt}
        options = {"num_predict": self.max_tokens, "temperature": 0}
        return merged({"model": self.model, **asked, "stream": True, "options": options}, self.question.parameters)

    def event(self, data: str) -> Event:
        """Read one line, or a whole answer. Raises BadAnswer for any other text."""
        message = message_of(data)
        part = message.get("message") if self.chat else message
        if not isinstance(part, dict) or "done" not in message:
            raise BadAnswer("malformed")
        said = part.get("content" if self.chat else "response")
        text = said if isinstance(said, str) else ""
        output = bool(text or part.get("thinking") or part.get("tool_calls"))
        return Event(output, message["done"] is True, text, at_limit=message.get("done_reason") == "length")


@dataclass(frozen=True)
class OllamaEmbed(Embeddings):
    """POST /api/embed. Its request is OpenAI's, its answer is not."""

    def event(self, data: str) -> Event:
        """Read the answer. Raises BadAnswer for any other text."""
        vectors = message_of(data).get("embeddings")
        if not isinstance(vectors, list):
            raise BadAnswer("malformed")
        return vector_event(vectors[0] if vectors else None)
