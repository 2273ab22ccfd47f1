"""The series of one version's answers, by their traffic and the stratum of their prompts.

They are made when the first answer of a stratum comes: most models see two or three strata. A version has at most 8
sets of 105 numbers, one for each traffic and stratum.
"""

from __future__ import annotations

from bisect import bisect_left

from controlplane.gateway.request import Content, Finish, Traffic
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.meters import Meters

_FIRST_SUM = len(f.ANSWER_FIRST_BOUNDS) + 1
_DURATION_SUM = len(f.ANSWER_DURATION_BOUNDS) + 1
_EACH_SUM = len(f.EACH_TOKEN_BOUNDS) + 1
_TOKENS_SUM = len(f.TOKEN_BOUNDS) + 1


class AnswerSeries:
    """The answers of one version."""

    __slots__ = ("_meters", "_names", "_strata")

    def __init__(self, meters: Meters, model: str, version: str) -> None:
        self._meters, self._names = meters, (model, version)
        self._strata: dict[Traffic, list[Stratum | None]] = {each: [None] * len(f.PROMPTS) for each in Traffic}

    def count(
        self,
        content: Content,
        traffic: Traffic,
        *,
        prompt: int | None,
        tokens: int | None,
        first_s: float | None,
        duration_s: float,
    ) -> None:
        """Count a whole answer of `tokens` tokens to a prompt of `prompt` tokens.

        `first_s`: time to the first event of a stream. None: it was no stream.
        """
        place = bisect_left(f.PROMPT_BOUNDS, prompt or 0)
        strata = self._strata[traffic]
        stratum = strata[place]
        if stratum is None:
            stratum = strata[place] = Stratum(self._meters, *self._names, traffic.value, f.PROMPTS[place])
        stratum.count(content, tokens, first_s, duration_s)


class Stratum:
    """The answers to prompts of one stratum."""

    __slots__ = ("_cells", "_duration", "_each", "_empty", "_finishes", "_first", "_refused", "_tokens")

    def __init__(self, meters: Meters, *names: str) -> None:
        self._cells = meters.cells
        self._finishes = {finish: meters.place(f.ANSWERS, *names, finish.value) for finish in Finish}
        self._empty = meters.place(f.EMPTY, *names)
        self._refused = meters.place(f.REFUSED, *names)
        self._first = meters.place(f.ANSWER_FIRST, *names)
        self._duration = meters.place(f.ANSWER_DURATION, *names)
        self._each = meters.place(f.EACH_TOKEN, *names)
        self._tokens = meters.place(f.ANSWER_TOKENS, *names)

    def count(self, content: Content, tokens: int | None, first: float | None, duration: float) -> None:
        """Count a whole answer. Times in seconds."""
        cells = self._cells
        cells[self._finishes[content.finish]] += 1.0
        if not content.said:
            cells[self._empty] += 1.0
        if content.refused:
            cells[self._refused] += 1.0
        cells[self._duration + bisect_left(f.ANSWER_DURATION_BOUNDS, duration)] += 1.0
        cells[self._duration + _DURATION_SUM] += duration
        if first is not None:
            cells[self._first + bisect_left(f.ANSWER_FIRST_BOUNDS, first)] += 1.0
            cells[self._first + _FIRST_SUM] += first
        if tokens is not None:
            cells[self._tokens + bisect_left(f.TOKEN_BOUNDS, tokens)] += 1.0
            cells[self._tokens + _TOKENS_SUM] += tokens
            if tokens > 1 and first is not None and first < duration:
                each = (duration - first) / (tokens - 1)
                cells[self._each + bisect_left(f.EACH_TOKEN_BOUNDS, each)] += 1.0
                cells[self._each + _EACH_SUM] += each
