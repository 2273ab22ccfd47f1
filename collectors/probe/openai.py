"""OpenAI's API, as most engines and FastChat offer it: completions, embeddings, and the rerank beside them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from collectors.probe.protocol import BadAnswer, Dialect, Event, message_of
from collectors.probe.question import merged


@dataclass(frozen=True)
class OpenAI(Dialect):
    """POST …/chat/completions or …/completions with stream=true."""

    chat: bool = True

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        asked = {"messages": self.messages} if self.chat else {"prompt": self.question.prompt}
        made = {"model": self.model, **asked, "stream": True, "max_tokens": self.max_tokens, "temperature": 0}
        return merged(made, self.question.parameters)

    def event(self, data: str) -> Event:
        """Read a chunk, a whole completion, or `[DONE]`. Raises BadAnswer for any other text."""
        if data.strip() == "[DONE]":
            return Event(content=False, finished=True)
        choices = message_of(data).get("choices")
        if not isinstance(choices, list):
            raise BadAnswer("malformed")
        if not choices:  # the usage chunk, which stream_options requests
            return Event(content=False, finished=False)
        choice = choices[0] if isinstance(choices[0], dict) else {}
        part = choice.get("delta") or choice.get("message") or {}
        if not isinstance(part, dict):
            raise BadAnswer("malformed")
        text = choice.get("text") or part.get("content")
        # Reasoning tokens count as output: the user waits for them too. A tool call is an answer without text.
        output = text or part.get("reasoning_content") or part.get("reasoning") or part.get("tool_calls")
        reason = choice.get("finish_reason")
        shown = text if isinstance(text, str) else ""
        return Event(bool(output), reason is not None, shown, at_limit=reason == "length")


@dataclass(frozen=True)
class Embeddings(Dialect):
    """POST …/embeddings."""

    generates = False

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        return merged({"model": self.model, "input": self.question.prompt}, self.question.parameters)

    def event(self, data: str) -> Event:
        """Read the answer. Raises BadAnswer for any other text, and for vectors without numbers."""
        found = message_of(data).get("data")
        if not isinstance(found, list):
            raise BadAnswer("malformed")
        vector = found[0].get("embedding") if found and isinstance(found[0], dict) else None
        if isinstance(vector, str):  # encoding_format: base64, four bytes a number
            return Event(bool(vector), True, dimension=len(vector.rstrip("=")) * 3 // 4 // 4)
        return vector_event(vector)


@dataclass(frozen=True)
class Rerank(Dialect):
    """POST …/rerank, in the shape of Cohere and Jina. The text of the answer is its JSON."""

    generates = False

    def body(self) -> dict[str, Any]:
        """Return the request body."""
        question = self.question
        made = {"model": self.model, "query": question.prompt, "documents": list(question.documents)}
        return merged(made, question.parameters)

    def event(self, data: str) -> Event:
        """Read the answer. Raises BadAnswer for any other text, and for a result without an index and a score."""
        message = message_of(data)
        results = message.get("results", message.get("data"))
        if not isinstance(results, list):
            raise BadAnswer("malformed")
        for result in results:
            score = result.get("relevance_score", result.get("score")) if isinstance(result, dict) else None
            if not isinstance(score, int | float) or not isinstance(result.get("index"), int):
                raise BadAnswer("malformed")
        return Event(bool(results), True, json.dumps(results))


def vector_event(vector: Any) -> Event:
    """Return the meaning of one embedding. Raises BadAnswer when it is no list of numbers."""
    if vector is None:
        return Event(content=False, finished=True)
    if not isinstance(vector, list) or not all(isinstance(number, int | float) for number in vector):
        raise BadAnswer("malformed")
    return Event(bool(vector), True, dimension=len(vector))
