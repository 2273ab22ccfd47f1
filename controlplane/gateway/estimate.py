"""The estimate of a request's tokens before an engine counted them."""

from __future__ import annotations

from controlplane.gateway.request import Ask

BYTES_A_TOKEN = 4
"""Bytes of a body for one token of the prompt. Source: English text of common tokenizers; JSON is a little below."""
FIRST_ANSWER = 256
"""Tokens of an answer without a limit, before any such answer of the model was seen. Chosen: a paragraph or two."""
WEIGHT = 0.1
"""Weight of the newest answer in the mean of a model's answers."""


def tokens_of(ask: Ask) -> tuple[int, int | None]:
    """Return (estimate of the prompt's tokens, most tokens of the answer or None when the request sets no limit).

    Operations that generate nothing, such as Triton's infer, use no tokens.
    """
    if not ask.operation.generates:
        return 0, 0
    return max(1, ask.prompt_bytes // BYTES_A_TOKEN), ask.max_tokens


class AnswerMeans:
    """The mean length of each model's answers to requests without a limit, as this worker saw them."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def of(self, model: str) -> int:
        """Return the expected tokens of an answer."""
        return int(self._means.get(model, FIRST_ANSWER)) + 1

    def saw(self, model: str, tokens: int) -> None:
        """Note an answer's length."""
        mean = self._means.get(model, float(tokens))
        self._means[model] = mean + WEIGHT * (tokens - mean)

    def keep(self, models: set[str]) -> None:
        """Forget other models."""
        self._means = {name: mean for name, mean in self._means.items() if name in models}
