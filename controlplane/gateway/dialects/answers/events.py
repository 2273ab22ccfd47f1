"""The meaning of one event of a stream, in each API.

Each API has a *mark*: an event with the mark, and with none of the `loud` texts, has content and nothing else of
interest. It is not parsed. The texts hold a raw quote, which inside a JSON string would be escaped, so content never
looks like one.

Until the first content was seen, events are parsed in spite of their mark: a stream of empty pieces is an empty answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from controlplane.gateway.dialects.answers import content, usage
from controlplane.gateway.request import Content, Operation, TokenCounts

Document = dict[str, object]

CONTENT = 1
"""The event has content: one token or more. These constants are bits of one number."""
ONLY_USAGE = 2
"""The event exists because usage was asked for, and holds nothing else."""
FINISH = 4
"""The answer is complete. An event that ends the stream may follow."""
LAST = 8
"""The event ends the stream."""
ABORT = 16
"""The engine gave up, and calls it an end."""
NO_MARK = b"\0"
"""A mark that is in no event, so that every event is parsed."""


@dataclass(frozen=True, slots=True)
class Api:
    """The form of an API's streams."""

    sort: Callable[[Document, TokenCounts, Content], int]
    """Returns the bits of an event, and sets the counts and the facts of content that it has."""
    mark: bytes = NO_MARK
    loud: tuple[bytes, ...] = (b'"error"',)
    ends_with_body: bool = False
    """Whether the end of the body is the only end of a stream."""

    def spaced(self) -> Api:
        """Return the form of the same streams with a space behind each colon, as Python's `json.dumps` writes."""
        loud = (*self.loud, *(_spaced(text) for text in self.loud if _spaced(text) not in self.loud))
        return replace(self, mark=_spaced(self.mark), loud=loud)


def api_of(operation: Operation, *, spaced: bool = False) -> Api:
    """Return how the answers of an operation stream. `spaced`: with a space behind each colon."""
    apis, responses = (_SPACED_APIS, _SPACED_RESPONSES) if spaced else (_APIS, _RESPONSES)
    return responses if operation.name == "response" else apis[operation.dialect]


def _spaced(text: bytes) -> bytes:
    return text.replace(b'":', b'": ')


def _openai(event: Document, counts: TokenCounts, found: Content) -> int:
    """Sort a chunk of chat, completions, audio, or an engine's own API."""
    has_usage = usage.of_document(event, counts)
    choices = event.get("choices")
    if not isinstance(choices, list):
        return _typed(event, found)
    if not choices:
        return ONLY_USAGE if has_usage else 0
    bits = 0
    for choice in choices:
        if isinstance(choice, dict):
            bits |= _choice(choice)
            content.of_choice(choice, found)
    return bits


def _choice(choice: Document) -> int:
    reason, delta = choice.get("finish_reason"), choice.get("delta")
    begins = isinstance(delta, dict) and isinstance(delta.get("role"), str)
    said = CONTENT if _has_content(choice, delta) or not (reason or begins) else 0
    return said | (ABORT if reason == "abort" else FINISH if reason else 0)


def _has_content(choice: Document, delta: object) -> bool:
    if not isinstance(delta, dict):
        return bool(choice.get("text"))
    return any(value for name, value in delta.items() if name != "role")


def _typed(event: Document, found: Content) -> int:
    """Sort an event with a type (responses, audio), or one of an engine's own API."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return _own(event)
    if kind in ("response.completed", "response.incomplete", "response.cancelled"):
        content.of_response(event.get("response"), found)
        return FINISH | LAST
    if kind in ("transcript.text.done", "speech.audio.done"):
        return FINISH | LAST
    if not kind.endswith(".delta"):
        return 0
    (content.refuse if kind == "response.refusal.delta" else content.say)(event.get("delta"), found)
    return CONTENT


def _own(event: Document) -> int:
    """Sort an event of SGLang's or TGI's own API: each has content, the last one the reason of the end."""
    settings = event.get("meta_info")
    reason = settings.get("finish_reason") if isinstance(settings, dict) else event.get("generated_text")
    if isinstance(reason, dict) and reason.get("type") == "abort":
        return ABORT
    return CONTENT | (FINISH if reason else 0)


def _anthropic(event: Document, counts: TokenCounts, found: Content) -> int:
    kind = event.get("type")
    usage.of_document(event, counts)
    if kind == "message_start":
        # It names one token of the answer, before the answer.
        counts.completion = None
    delta = event.get("delta")
    reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    content.finish(reason, found)
    content.of_part(event.get("content_block") or delta, found)
    if kind == "message_delta" and reason:
        return ABORT if reason == "abort" else FINISH
    return {"content_block_delta": CONTENT, "message_stop": FINISH | LAST}.get(str(kind), 0)


def _triton(event: Document, counts: TokenCounts, found: Content) -> int:
    content.of_triton(event, found)
    return CONTENT


def _ollama(event: Document, counts: TokenCounts, found: Content) -> int:
    usage.of_document(event, counts)
    content.of_ollama(event, found)
    if event.get("done") is not True:
        return CONTENT
    message = event.get("message")
    parts: Iterable[object] = message.values() if isinstance(message, dict) else ()
    said = event.get("response") or any(part for part in parts if part != "assistant")
    return FINISH | LAST | (CONTENT if said else 0)


_CHUNKS = (b'_tokens"', b'"role":"', b'"error"')
"""Usage, the first chunk, an error."""
_RESPONSES = Api(_openai, b'.delta"')
_APIS = {
    "openai": Api(_openai, b'"finish_reason":null', _CHUNKS),
    "anthropic": Api(_anthropic, b'"content_block_delta"'),
    "ollama": Api(_ollama, b'"done":false'),
    "triton": Api(_triton, b'"model_name"', ends_with_body=True),
    "plain": Api(_openai, ends_with_body=True),
}
_SPACED_APIS, _SPACED_RESPONSES = {dialect: api.spaced() for dialect, api in _APIS.items()}, _RESPONSES.spaced()
