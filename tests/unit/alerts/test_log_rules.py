"""The rules on logs and patterns.yaml name the same events, with the same sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alerts.packs import load_pack
from alerts.rules import AlertingRule
from collectors.logs.patterns import Event, load_patterns

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "logs.md"


@pytest.fixture(scope="module")
def events() -> dict[str, Event]:
    return dict(load_patterns().events)


def rule(name: str) -> AlertingRule:
    (found,) = (r for g in load_pack("llm") for r in g.rules if isinstance(r, AlertingRule) and r.alert == name)
    return found


def named(rule: AlertingRule) -> list[set[str]]:
    return [set(names.split("|")) for names in re.findall(r'event=~"([^"]+)"', rule.expr)]


def test_one_line_of_a_critical_event_is_a_fault(events: dict[str, Event]) -> None:
    critical = {name for name, event in events.items() if event.severity == "critical"}
    assert named(rule("LLMEngineLogFault")) == [critical, critical]


def test_of_the_others_one_line_or_many_are_a_warning(events: dict[str, Event]) -> None:
    warning = {name for name, event in events.items() if event.severity == "warning"}
    many = {name for name, event in events.items() if event.many}
    assert named(rule("LLMEngineLogWarning")) == [warning - many, warning - many, many]


@pytest.mark.parametrize("name", ["LLMEngineLogFault", "LLMEngineLogWarning"])
def test_the_text_says_what_the_event_means(name: str, events: dict[str, Event]) -> None:
    text = dict(rule(name).annotations)["description"].text
    for event in set().union(*named(rule(name))):
        assert f'if eq $labels.event "{event}" }}}}{events[event].means}' in text, (event, text)


def test_the_guide_lists_every_event_as_the_patterns_have_it(events: dict[str, Event]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (critical|warning)(, if many)? \| (.+) \| (.+) \|$", GUIDE.read_text(), re.M)
    assert rows == [
        (name, event.severity, ", if many" if event.many else "", event.means, event.apart)
        for name, event in events.items()
    ]
