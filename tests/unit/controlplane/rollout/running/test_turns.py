"""Turns: who goes in this tick, and who waits for the next one."""

from controlplane.rollout.running.turns import Turns


def tick(turns: Turns, *ids: str, urgent: str = "") -> str:
    turns.begin()
    return "".join(id_ for id_ in ids if turns.take(id_, urgent=id_ == urgent))


def test_those_that_wait_longest_go_first_and_nobody_waits_for_ever() -> None:
    turns = Turns(2)
    assert tick(turns, *"abcde") == "ab"
    assert tick(turns, *"abcde") == "cd"
    assert tick(turns, *"abcde") == "ae"
    assert tick(turns, *"bcde") == "bc"


def test_going_back_never_waits_and_takes_nobodys_turn() -> None:
    turns = Turns(1)
    assert tick(turns, *"abc", urgent="c") == "ac"
    assert tick(turns, *"bc", urgent="c") == "bc"


def test_a_turn_that_nobody_takes_is_lost_for_one_tick_only() -> None:
    turns = Turns(1)
    assert tick(turns, *"ab") == "a"
    assert tick(turns, "a") == "", "b has the turn, and has nothing to store"
    assert tick(turns, "a") == "a"
