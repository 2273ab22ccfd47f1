"""When something that is done now and then is due, as timelines."""

from __future__ import annotations

from controlplane.clock.every import Every


def test_it_is_due_at_once_and_then_after_each_interval() -> None:
    every = Every(10.0)
    assert [at for at in range(100, 131) if every.take(at)] == [100, 110, 120, 130]


def test_late_turns_are_not_made_up_for() -> None:
    every = Every(10.0)
    assert [every.take(at) for at in (0, 35, 36, 45)] == [True, True, False, True]


def test_asking_is_not_doing() -> None:
    every = Every(10.0)
    assert (every.due(5), every.due(5)) == (True, True)
    every.done(5)
    assert (every.due(14.9), every.due(15)) == (False, True)


def test_a_clock_that_was_set_back_puts_nothing_off() -> None:
    every = Every(10.0)
    every.done(1000)
    assert every.take(400)
    assert (every.due(409), every.due(410)) == (False, True)
