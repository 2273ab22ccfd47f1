"""Receivers that are whoever is on call, and their fallbacks, as timelines."""

from __future__ import annotations

import math
from dataclasses import replace

from alerts.dispatch import Picture, Stages, decide, explain, next_due
from alerts.duty import Roster, Shift
from alerts.interfaces import OnCall
from alerts.routing.tree import Escalation, Routing
from tests.routes import root
from tests.unit.alerts.dispatch_timeline import Timeline, alert, ended

SLOW = alert("Slow")


def stages(*shifts: Shift, escalation: bool = True) -> Stages:
    """Return stages whose pager is whoever is on call in `primary`, with `ops` as fallback."""
    node = root("chat" if escalation else "pager", ("alertname",), interval_s=60, repeat_s=86_400)
    steps = (Escalation(900.0, "pager"),) if escalation else ()
    rosters = {"primary": Roster(shifts, 1e9)} if shifts else {}
    return Stages(
        Routing(replace(node, escalation=steps), {}),
        {name: (name,) for name in ("chat", "pager", "ops")},
        "",
        rotas={"pager": "primary"},
        fallbacks={"primary": "ops"},
        rosters=lambda: rosters,
    )


def told(line: Timeline, *seconds: float) -> dict[float, list[str]]:
    found = {second: line.at(second, SLOW) for second in seconds}
    return {second: messages for second, messages in found.items() if messages}


def test_a_step_goes_to_whoever_is_on_call_and_says_who_that_is() -> None:
    line = Timeline(stages(Shift(0, 800, ("ann",)), Shift(800, 5000, ("bo", "cy"))))
    line.at(0, SLOW)
    line.at(10, SLOW)
    (message,) = line.messages(900, SLOW)
    assert (message.receiver, message.on_call) == ("pager", OnCall("primary", ("bo", "cy")))
    assert message.escalated is not None


def test_while_nobody_is_on_call_the_step_goes_to_the_fallback_at_the_same_time() -> None:
    line = Timeline(stages(Shift(0, 800, ("ann",))))
    assert told(line, 0, 10, 899, 900, 2000) == {10: ["chat: Slow"], 900: ["ops: Slow"]}
    (chat, fallback) = line.messages(3000, ended(SLOW, 2990))
    assert (chat.receiver, fallback.receiver) == ("chat", "ops")
    assert fallback.on_call == OnCall("primary", ())


def test_a_rota_of_which_nothing_is_known_is_one_in_which_nobody_is_on_call() -> None:
    assert told(Timeline(stages()), 0, 10, 900) == {10: ["chat: Slow"], 900: ["ops: Slow"]}


def test_whoever_comes_on_call_later_is_told_as_soon_as_the_shift_begins() -> None:
    line = Timeline(stages(Shift(2000, 9000, ("ann",))))
    assert told(line, 0, 10, 900, 1999, 2000) == {10: ["chat: Slow"], 900: ["ops: Slow"], 2000: ["pager: Slow"]}
    assert line.at(3000, ended(SLOW, 2990)) == ["chat: - over Slow", "ops: - over Slow", "pager: - over Slow"]


def test_a_shift_that_ends_while_the_alert_fires_hands_it_to_the_fallback() -> None:
    line = Timeline(stages(Shift(0, 2000, ("ann",))))
    assert told(line, 0, 10, 900, 1999, 2000) == {10: ["chat: Slow"], 900: ["pager: Slow"], 2000: ["ops: Slow"]}


def test_the_end_goes_to_those_who_were_told_too() -> None:
    line = Timeline(stages(Shift(0, 1000, ("ann",)), Shift(1000, 9000, ("bo",))))
    told(line, 0, 10, 900)
    ends = {one.receiver: one.on_call for one in line.messages(2000, ended(SLOW, 1990))}
    assert ends == {"chat": None, "pager": OnCall("primary", ("bo", "ann"))}


def test_a_route_may_lead_to_whoever_is_on_call_at_once() -> None:
    line = Timeline(stages(Shift(0, 100, ("ann",)), escalation=False))
    assert told(line, 0, 10, 99, 100) == {10: ["pager: Slow"], 100: ["ops: Slow"]}


def test_a_fallback_may_have_a_rota_itself() -> None:
    second = stages(Shift(0, 100, ("ann",)), escalation=False)
    rosters = {"primary": Roster(), "secondary": Roster((Shift(0, 200, ("bo",)),), 1e9)}
    chained = replace(
        second,
        notifiers={name: (name,) for name in ("pager", "other", "ops")},
        rotas={"pager": "primary", "other": "secondary"},
        fallbacks={"primary": "other", "secondary": "ops"},
        rosters=lambda: rosters,
    )
    line = Timeline(chained)
    assert told(line, 0, 10, 199, 200) == {10: ["other: Slow"], 200: ["ops: Slow"]}


def test_rotas_that_are_each_others_fallback_end() -> None:
    """The configuration refuses this; a picture of it must not hang the process all the same."""
    circle = replace(stages(escalation=False), rotas={"pager": "primary", "ops": "primary"})
    assert [one.notifier for one in circle.of(circle.routing.root)] == ["pager"]


def test_dispatch_rests_until_the_next_shift_begins_or_ends() -> None:
    line = Timeline(stages(Shift(2000, 9000, ("ann",))))
    told(line, 0, 10, 900)
    picture = Picture((SLOW,), line.groups)
    assert decide(line.stages, picture, 1000) == ()
    assert next_due(line.stages, picture, 1000) == 2000
    assert math.isinf(next_due(line.stages, Picture(), 9500))


def test_an_explanation_says_who_is_on_call_and_that_nobody_is() -> None:
    line = Timeline(stages(Shift(2000, 9000, ("ann",))))
    told(line, 0, 10, 900)
    legs = {leg.notifier: leg for leg in explain(line.stages, Picture((SLOW,), line.groups), SLOW, 1000)}
    assert (legs["pager"].stage, legs["pager"].sentence) == (
        "rota",
        "nobody is on call in primary until 1970-01-01 00:33 UTC; ops gets it",
    )
    later = {leg.notifier: leg for leg in explain(line.stages, Picture((SLOW,), line.groups), SLOW, 2001)}
    assert (later["ops"].stage, later["ops"].sentence) == (
        "rota",
        "ann is on call in primary until 1970-01-01 02:30 UTC, so the fallback is not needed",
    )
