"""The kind of engine of one target: the configured one or, for `auto`, the one that its metrics tell."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from collectors.engines.kinds import AUTO
from collectors.errors import DrainedQueue
from collectors.exposition.foreign import is_json_list
from collectors.exposition.parser import Parsed
from collectors.target import Recognition, Target

Recognise = Callable[[Collection[str], str], Recognition]
"""From the raw names of a page, and what the target was recognised as before, to what it is."""


class EngineOf:
    """Engine of one target. Its page is looked at whenever its series change."""

    def __init__(self, target: Target, recognise: Recognise, remembered: Callable[[Target], str]) -> None:
        """`remembered` returns what it was recognised as earlier, also before a restart; `auto`: nothing."""
        self._recognise, self._auto = recognise, target.engine == AUTO
        self._refused = ""
        self.found = Recognition(remembered(target)) if self._auto else Recognition(target.engine)
        self.target = replace(target, engine=self.found.engine) if self._auto else target
        """The target with its kind of engine."""

    @property
    def recognised(self) -> str:
        """The recognised kind; "" where the configuration names it, and as long as it is unknown."""
        return self.found.engine if self._auto and self.found.engine != AUTO else ""

    def look(self, parsed: Parsed) -> Target:
        """Return the target with the engine of a page."""
        if self._auto:
            self.found = self._recognise({series.name for series in parsed.series}, self.found.engine)
            if self.found.engine != self.target.engine:
                self.target = replace(self.target, engine=self.found.engine)
        return self.target

    def may_read(self) -> None:
        """Raise DrainedQueue once a page has turned out to be one that must not be read."""
        if self._refused:
            raise DrainedQueue(self._refused)

    def check(self, body: bytes) -> None:
        """Raise DrainedQueue, from now on at each `may_read` too, for a body of which a read takes something away."""
        if self._auto and is_json_list(body):
            self._refused = (
                "the body is a list in JSON, as /metrics of TensorRT-LLM is, of which each read empties a queue: it is"
                " not read again. For TensorRT-LLM write engine: trtllm, else correct path:"
            )
            self.may_read()
