"""Token counts of an answer, under the names of each API."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.gateway.estimate import tokens_of
from controlplane.gateway.request import Ask, TokenCounts

_PROMPT = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_COMPLETION = ("completion_tokens", "output_tokens", "eval_count")
"""OpenAI and SGLang's own API; Anthropic, OpenAI's responses and audio; Ollama."""
_DETAILS = ("prompt_tokens_details", "input_tokens_details")


def take(usage: object, counts: TokenCounts) -> bool:
    """Set the counts that `usage` names, and return whether it names any."""
    if not isinstance(usage, dict):
        return False
    if _take_openai(usage, counts):
        return True
    prompt, completion = _first(usage, _PROMPT), _first(usage, _COMPLETION)
    cached = _cached(usage)
    if prompt is not None and "input_tokens" in usage:
        # Anthropic: input_tokens are those after the last one that was cached.
        prompt += _number(usage.get("cache_read_input_tokens")) or 0
        prompt += _number(usage.get("cache_creation_input_tokens")) or 0
    if completion is None and (total := _number(usage.get("total_tokens"))) is not None:
        # Embeddings and rerank: some engines name only the total.
        prompt = total if prompt is None else prompt
        completion = max(total - prompt, 0)
    if prompt is not None:
        counts.prompt = prompt
    if completion is not None:
        counts.completion = completion
    if cached is not None:
        counts.cached = cached
    return prompt is not None or completion is not None


def _take_openai(usage: Mapping[str, object], counts: TokenCounts) -> bool:
    """Set the counts of OpenAI's usage, which nearly all answers have. Return whether it is one, and names both."""
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    # The types themselves: a bool is no count.
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return False
    if "input_tokens" in usage:
        return False
    counts.prompt, counts.completion = prompt, completion
    has_no_more = len(usage) == 3 and "total_tokens" in usage
    if not has_no_more and (cached := _cached(usage)) is not None:
        counts.cached = cached
    return True


def of_document(document: Mapping[str, object], counts: TokenCounts) -> bool:
    """Set the counts of a whole answer, or of an event that may hold usage, and return whether it names any."""
    for name in ("usage", "meta_info"):
        if take(document.get(name), counts):
            return True
    for name in ("response", "message"):
        inner = document.get(name)
        if isinstance(inner, dict) and take(inner.get("usage"), counts):
            return True
    return document.get("prompt_eval_count") is not None and take(document, counts)


def completed(seen: TokenCounts, ask: Ask, answer: int | None) -> TokenCounts:
    """Return what an engine reported, with estimates for what it did not. `answer` is the estimate of the answer."""
    if not ask.operation.generates or (seen.prompt is not None and seen.completion is not None):
        return seen
    prompt, longest = tokens_of(ask)
    if answer is not None and longest is not None:
        answer = min(answer, longest)
    if seen.prompt is not None and longest == 0:
        return TokenCounts(seen.prompt, 0, seen.cached)
    return TokenCounts(
        prompt if seen.prompt is None else seen.prompt,
        answer if seen.completion is None else seen.completion,
        seen.cached,
        estimated=True,
    )


def _cached(usage: Mapping[str, object]) -> int | None:
    for name in _DETAILS:
        details = usage.get(name)
        if isinstance(details, dict):
            return _number(details.get("cached_tokens"))
    for name in ("cache_read_input_tokens", "cached_tokens"):
        if (found := _number(usage.get(name))) is not None:
            return found
    return None


def _first(usage: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    for name in names:
        if (found := _number(usage.get(name))) is not None:
            return found
    return None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
