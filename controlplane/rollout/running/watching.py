"""Time in which nobody watched a rollout, and steps of the clock: each moves the rollout's times exactly once.

What was moved is stored in the rollout itself, together with the step that follows. Where that write fails, the rollout
is read again as it was before, and moved again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Rollout
from controlplane.store.rollout_rows.records import ModelMark

GAP_S = 10.0
"""Seconds between two observations beyond which nobody watched: they count for no waiting time. Chosen: many ticks."""
_WAITING = ("held_since", "verified_since", "progress_at")
"""Times from which waits and the deadline for progress count. Engines go on with loads while nobody watches."""


class _Step(NamedTuple):
    """One step of the clock."""

    id: str
    by_s: float


class _Seen(NamedTuple):
    """The last observation of a model by this process. Times in unix seconds."""

    at: float
    """Its time, moved along with the clock."""
    stored: float | None
    """Its time as it is in the database, or that of an earlier one where it could not be stored."""


class Watch:
    """The observations of this process, and the steps of the clock that rollouts have yet to follow."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._fresh: tuple[_Step, ...] = ()
        """Steps since the last tick. They concern the rollouts that the next tick reads, and no later ones."""
        self._open: dict[str, tuple[_Step, ...]] = {}
        """Steps by rollout id, until the rollout was read with them."""
        self._observed: set[str] = set()
        """Models that were observed in this tick."""

    def clock_was_set(self, by_s: float) -> None:
        """Note a step of the clock."""
        self._fresh = (*self._fresh, _Step(secrets.token_hex(4), by_s))
        self._seen = {model: seen._replace(at=seen.at + by_s) for model, seen in self._seen.items()}

    def caught_up(
        self, rollouts: Mapping[str, Rollout], marks: Mapping[str, ModelMark], now: float
    ) -> dict[str, Rollout]:
        """Return the rollouts of a tick, by model, with their times moved by gaps and by steps of the clock."""
        fresh, self._fresh, self._observed = self._fresh, (), set()
        opened = {}
        for model, rollout in rollouts.items():
            mark = marks.get(model)
            # Where another process has observed the model since, it has also followed the clock.
            steps = (*self._open.get(rollout.id, ()), *fresh) if self._mine(model, mark) else ()
            opened[model] = _left(steps, rollout)
        self._open = {rollouts[model].id: steps for model, steps in opened.items() if steps}
        return {
            model: self._without_gap(_moved(rollout, opened[model]), marks.get(model), now)
            for model, rollout in rollouts.items()
        }

    def watched(self, model: str, now: float) -> None:
        """Note that a model was observed, and that its rollout's step was stored."""
        self._observed.add(model)
        seen = self._seen.get(model)
        # The clock may have been set while the tick was under way.
        at = now + sum(step.by_s for step in self._fresh)
        self._seen[model] = _Seen(at, seen.stored if seen else None)

    def stored(self, now: float) -> None:
        """Note that the observations at `now` were stored."""
        for model in self._observed:
            self._seen[model] = self._seen[model]._replace(stored=now)

    def _mine(self, model: str, mark: ModelMark | None) -> bool:
        """Return whether this process made the last observation of a model that was stored."""
        seen = self._seen.get(model)
        return seen is not None and seen.stored == (mark.observed_at if mark else None)

    def _without_gap(self, rollout: Rollout, mark: ModelMark | None, now: float) -> Rollout:
        own = self._seen[rollout.model].at if self._mine(rollout.model, mark) else None
        return without_gap(rollout, mark.observed_at if mark else None, now, own)


def without_gap(rollout: Rollout, observed_at: float | None, now: float, own: float | None = None) -> Rollout:
    """Return the rollout without the time in which nobody watched it: it counts for no pause, watch or deadline.

    `observed_at` is the stored time of the last observation, by any control plane. It identifies a gap: the same gap
    is left out once, also after a crash. `own` is the time of the last observation by this process on its present
    clock, where no other process came later. A last observation in the future was made by a clock that has been set
    back since, so every time moves back.
    """
    if observed_at is None:
        return rollout
    left_out = [rollout.gap_until] if rollout.gap_from == observed_at and rollout.gap_until is not None else []
    since = max([own, *left_out]) if own is not None else (left_out or [observed_at])[0]
    gap_s = now - since
    if gap_s >= -GAP_S and rollout.created_at <= now:
        gap_s = now - max(since, rollout.created_at)
    if abs(gap_s) <= GAP_S:
        return rollout
    times = {name: at + gap_s for name in _WAITING if (at := getattr(rollout, name)) is not None}
    moved = replace(rollout, **times) if gap_s > 0 else rollout.moved_by(gap_s)
    return replace(moved, gap_from=observed_at, gap_until=now)


def _left(steps: tuple[_Step, ...], rollout: Rollout) -> tuple[_Step, ...]:
    """Return the steps that a rollout has not followed yet."""
    known = [number for number, step in enumerate(steps, start=1) if step.id == rollout.clock_step]
    return steps[known[-1] :] if known else steps


def _moved(rollout: Rollout, steps: tuple[_Step, ...]) -> Rollout:
    return replace(rollout.moved_by(sum(step.by_s for step in steps)), clock_step=steps[-1].id) if steps else rollout
