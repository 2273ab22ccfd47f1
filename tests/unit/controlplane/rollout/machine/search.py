"""An exhaustive search over a rollout: every transition of the kind world, with up to two faults anywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from controlplane.rollout.model import TERMINAL, Rollout
from tests.unit.controlplane.rollout.machine.world import TICK_S, Fault, State, faults, step

OLDEST = 5
"""Ages above this number of ticks are equal: they are beyond each deadline and each waiting time of the plans."""
MAX_KIND = 120
"""Number of kind transitions within which a rollout must end."""

Check = Callable[[State, Fault | None, State], None]
"""Raises AssertionError when a transition from one state to another breaks an invariant."""


class Found(NamedTuple):
    """The extent of a search."""

    states: int
    transitions: int
    ends: frozenset[str]
    """Phases in which rollouts ended."""
    steps: frozenset[int]
    """Steps that a transition entered or passed."""


def search(begin: State, check: Check, most: int, only: frozenset[str] | None = None) -> Found:
    """Visit every state that at most `most` faults lead to. From each the kind world must lead to an end.

    `only` names the faults that occur. None: all.
    """
    known: dict[Hashable, int] = {key(begin): most}
    queue = deque([(begin, most)])
    good: set[Hashable] = set()
    transitions = 0
    ends: set[str] = set()
    steps: set[int] = set()
    while queue:
        state, left = queue.popleft()
        if known[key(state)] > left:
            continue
        _leads_to_an_end(state, good)
        wrong = (fault for fault in faults(state) if only is None or fault.what in only) if left else ()
        for fault in (None, *wrong):
            after = step(state, fault)
            check(state, fault, after)
            transitions += 1
            steps.update(range(state.rollout.step, after.rollout.step + 1))
            if after.rollout.phase in TERMINAL:
                ends.add(after.rollout.phase.value)
                continue
            rest = left - (fault is not None)
            place = key(after)
            if known.get(place, -1) < rest:
                known[place] = rest
                queue.append((after, rest))
    return Found(len(known), transitions, frozenset(ends), frozenset(steps))


def _leads_to_an_end(state: State, good: set[Hashable]) -> None:
    """Raise AssertionError unless the kind world leads from `state` to an end."""
    path: list[Hashable] = []
    start = state
    while state.rollout.phase not in TERMINAL and (place := key(state)) not in good:
        assert place not in path or len(path) < MAX_KIND, (
            f"no way out of {describe(start)}; it stays at {describe(state)}"
        )
        path.append(place)
        state = step(state)
        assert len(path) <= MAX_KIND, f"no end within {MAX_KIND} transitions of {describe(start)}: {describe(state)}"
    good.update(path)


def describe(state: State) -> str:
    """Return a state in words, for a failure."""
    rollout = state.rollout
    kind = rollout.plan.steps[rollout.step].kind
    said = state.decision.sentence if state.decision else ""
    return f"{rollout.phase} at step {rollout.step} ({kind}): {said!r} {state.servers} sent={state.sent} {rollout.wait}"


def key(state: State) -> Hashable:
    """Return all that decides about the future of a state, with ages instead of times."""
    return (*_rollout(state.rollout, state.now), state.servers, state.sent, state.ghosts, state.running, state.asking)


def _rollout(rollout: Rollout, now: float) -> Iterator[Any]:
    def age(at: float | None) -> int | None:
        return None if at is None else min(OLDEST, int((now - at) // TICK_S))

    yield rollout.phase, rollout.step, bool(rollout.reason), bool(rollout.turn_back), rollout.ending
    yield rollout.moved, rollout.switched, rollout.counted, rollout.needs_person, rollout.looks_failed
    yield age(rollout.phase_at), age(rollout.verified_since), age(rollout.silent_since), age(rollout.held_since)
    yield age(rollout.progress_at) if rollout.plan.options.deadline_s else None
    yield age(rollout.steps_at[-1]) if rollout.steps_at else None
    yield age(rollout.traffic_since), age(rollout.weight_since), rollout.wait and (rollout.wait.kind, rollout.wait.name)
    yield tuple((i.order, i.attempt, i.outcome, age(i.since)) for i in rollout.intents)
    yield tuple((t.backend, t.of_stable, t.failed, t.finished, age(t.since)) for t in rollout.trials)
    yield tuple(
        (
            s.work._replace(number=0) if hasattr(s.work, "_replace") else (s.work.kind, s.work.step, s.work.name),
            s.finding and s.finding.outcome,
            age(s.since),
            age(s.at),
        )
        for s in rollout.works
    )
    yield tuple((w.verb, w.actor, w.step, w.ends) for w in rollout.wishes)
