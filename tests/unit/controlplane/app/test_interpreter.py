"""The interpreter of a large process: what a full collection leaves is not looked at again until a day later."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from controlplane.app.interpreter import SWITCH_S, THRESHOLDS, WHOLE_S, SetAside, set_up_interpreter


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> tuple[list[Node], weakref.ref[Node]]:
    one, two = Node(), Node()
    one.other, two.other = two, one
    return [one], weakref.ref(one)


@pytest.fixture
def now() -> Iterator[list[float]]:
    """The clock of a collector that sets aside."""
    clock = [1000.0]
    callback = SetAside(lambda: clock[0])
    gc.collect()
    gc.callbacks.append(callback)
    yield clock
    gc.callbacks.remove(callback)
    gc.unfreeze()


def test_survivors_are_set_aside_and_looked_at_a_day_later(now: list[float]) -> None:
    held, node = cycle()
    gc.collect()
    assert gc.get_freeze_count() > 10_000  # everything that the tests have imported
    held.clear()
    now[0] += WHOLE_S - 1
    gc.collect()
    assert node() is not None
    now[0] += 1
    gc.collect()
    assert node() is None
    held, node = cycle()
    gc.collect()
    held.clear()
    gc.collect()
    assert node() is not None  # the day has begun again


def test_a_cycle_that_dies_before_a_full_collection_is_freed_by_it(now: list[float]) -> None:
    gc.collect()
    held, node = cycle()
    held.clear()
    gc.collect()
    assert node() is None


def test_a_collection_of_young_objects_sets_nothing_aside(now: list[float]) -> None:
    gc.unfreeze()
    gc.collect(0)
    gc.collect(1)
    assert gc.get_freeze_count() == 0


def test_the_interpreter_of_the_process_is_set_up_and_undone() -> None:
    before, callbacks, switch_s = gc.get_threshold(), len(gc.callbacks), sys.getswitchinterval()
    undo = set_up_interpreter()
    try:
        assert (gc.get_threshold(), len(gc.callbacks)) == (THRESHOLDS, callbacks + 1)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        gc.collect()
        assert gc.get_freeze_count() > 0
    finally:
        undo()
    assert sys.getswitchinterval() == pytest.approx(switch_s)
    assert (gc.get_threshold(), len(gc.callbacks), gc.get_freeze_count()) == (before, callbacks, 0)
