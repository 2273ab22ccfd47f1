"""Turns and gaps of a rota whose shifts overlap, touch and leave holes."""

from __future__ import annotations

import math

from alerts.duty import Roster, Shift, Turn

ROSTER = Roster((Shift(10, 30, ("bo",)), Shift(20, 40, ("ann",)), Shift(40, 50, ("ann",)), Shift(60, 70, ("cy",))), 99)


def test_who_is_on_call_and_until_when() -> None:
    assert [(at, ROSTER.on_call(at), ROSTER.next_change(at)) for at in (5, 10, 25, 30, 40, 55, 70)] == [
        (5, (), 10),
        (10, ("bo",), 20),
        (25, ("ann", "bo"), 30),
        (30, ("ann",), 40),
        (40, ("ann",), 50),
        (55, (), 60),
        (70, (), math.inf),
    ]


def test_turns_have_no_holes_and_join_what_belongs_together() -> None:
    assert ROSTER.turns(0, 100) == [
        Turn(0, 10, ()),
        Turn(10, 20, ("bo",)),
        Turn(20, 30, ("ann", "bo")),
        Turn(30, 50, ("ann",)),
        Turn(50, 60, ()),
        Turn(60, 70, ("cy",)),
        Turn(70, 100, ()),
    ]
    assert ROSTER.turns(25, 35) == [Turn(25, 30, ("ann", "bo")), Turn(30, 35, ("ann",))]
    assert Roster().turns(0, 10) == [Turn(0, 10, ())]


def test_one_person_in_two_shifts_at_once_is_on_call_until_the_later_end() -> None:
    twice = Roster((Shift(0, 20, ("ann",)), Shift(10, 30, ("ann",))), 99)
    assert twice.turns(0, 40) == [Turn(0, 30, ("ann",)), Turn(30, 40, ())]
