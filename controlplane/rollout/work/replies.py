"""The text of an engine's reply and the facts about it, whatever the engine's API. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.probe.protocol import BadAnswer, EventStream
from controlplane.gateway.dialects.answers import content, usage
from controlplane.gateway.request import Content, TokenCounts

_STREAMS = (b"data:", b"event:", b":")
"""Begins of server-sent events."""


@dataclass(frozen=True)
class Said:
    """The content of one reply."""

    text: str
    """The text of the first choice or output, without reasoning."""
    facts: Content
    tokens: int | None
    """Tokens of the answer, as the engine reported them."""


def said(body: bytes) -> Said:
    """Return the content of a whole reply. Anything that is no JSON is left out."""
    texts: list[str] = []
    facts, counts = Content(), TokenCounts()
    for message in _messages(body):
        content.of_body(message, facts)
        usage.of_document(message, counts)
        texts += _texts(message)
    return Said("".join(texts), facts, counts.completion)


def _messages(body: bytes) -> Iterator[dict[str, Any]]:
    texts = [body.decode("utf-8", "replace")]
    if body.lstrip().startswith(_STREAMS):
        try:
            texts = EventStream().feed(body + b"\n\n")
        except BadAnswer:
            return
    for text in texts:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict):
            yield message


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of one message: OpenAI's choices and responses, and the outputs of Triton."""
    choices = message.get("choices")
    if isinstance(choices, list):
        first = choices[0] if choices and isinstance(choices[0], dict) else {}
        if first.get("index", 0) == 0:
            part = first.get("delta") or first.get("message")
            yield from _strings(part.get("content") if isinstance(part, dict) else first.get("text"))
    elif isinstance(output := message.get("output"), list):
        for item in output:
            yield from _strings(item.get("content") if isinstance(item, dict) else None)
    elif isinstance(outputs := message.get("outputs"), list):
        yield from _strings(outputs[0].get("data") if outputs and isinstance(outputs[0], dict) else None)
    else:
        yield from _strings(message.get("text_output"))


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts of a text, a list of texts, or a list of parts with a text."""
    for each in value if isinstance(value, list) else [value]:
        text = each.get("text") if isinstance(each, dict) else each
        if isinstance(text, str):
            yield text
