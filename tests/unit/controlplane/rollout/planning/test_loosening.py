"""Which options of a request make a gate weaker: each option of `rollout:` in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from controlplane.config.rollout.analysis import ComparisonSection, LimitSection
from controlplane.config.rollout.section import ApprovalSection, RolloutSection
from controlplane.config.rollout.steps import StepSection
from controlplane.config.vocabulary import Model
from controlplane.rollout.planning.building import combined
from controlplane.rollout.planning.loosening import OPTIONS, Weaker, loosened
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.permitted import applied, replaced
from tests.fakes.rollouts.strategy_world import StrategyWorld
from tests.unit.controlplane.rollout.planning.planner_rig import rig

STRICT: Mapping[str, Any] = {
    "strategy": "canary",
    "steps": ["mirror 10% for 10m", "5%", "analyse 10m", "25%", "pause"],
    "approvals": [{"at": "step"}],
    "checklist": ["monitoring"],
    "analysis": {
        "interval": "1m",
        "minimum_requests": 500,
        "failures": 1,
        "patience": "30m",
        "thresholds": [{"name": "slow", "expr": "up", "at_most": 2.0}],
        "compare": [{"metric": "errors"}, {"metric": "ttft", "tolerance": 0.05}],
    },
    "warm": {"prompts": ["hi"], "at_least": 5, "at_most": 100, "within": 0.2, "timeout": "5m"},
    "golden": {"prompts": [{"name": "capital", "prompt": "x", "expect": {"contains": "y"}}], "pass_ratio": 0.9},
    "top_up": {"prompts": ["hi"], "per_minute": 30, "at_most": 1000},
    "rollback_on": ["LLMErrorRateHigh"],
    "deadline": "2h",
    "rollback_window": "30m",
    "after": ["embed"],
}
OTHER_PROMPT = {"name": "capital", "prompt": "x", "expect": {"contains": "z"}}
SLOW = {"name": "slow", "expr": "up", "at_most": 2.0}

CASES: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "approvals": ({"approvals": []}, ["ask for less than 1 approval of role operator at step"]),
    "checklist": ({"checklist": []}, ["leave out the check monitoring"]),
    "strategy": ({"strategy": "blue-green"}, ["leave out the steps of the canary (strategy blue-green)"]),
    "steps": (
        {"steps": "5%, analyse 9m, 25%, pause"},
        ["leave out or shorten the step mirror at 0%", "leave out or shorten the step analyse at 5%"],
    ),
    "analysis": (
        {"strategy": "rolling", "analysis": None},
        ["leave out the steps of the canary (strategy rolling)", "leave out analysis"],
    ),
    "analysis.interval": ({"analysis": {"interval": "5m"}}, ["raise analysis.interval from 1m to 5m"]),
    "analysis.minimum_requests": (
        {"analysis": {"minimum_requests": 10}},
        ["lower analysis.minimum_requests from 500 to 10"],
    ),
    "analysis.failures": ({"analysis": {"failures": 9}}, ["raise analysis.failures from 1 to 9"]),
    "analysis.patience": ({"analysis": {"patience": "1m"}}, ["lower analysis.patience from 30m to 1m"]),
    "analysis.false_alarms": (
        {"analysis": {"false_alarms": 0.001}},
        ["lower analysis.false_alarms from 0.01 to 0.001"],
    ),
    "analysis.compare": (
        {"analysis": {"compare": [{"metric": "ttft", "tolerance": 0.2}]}},
        ["not compare errors", "raise the tolerance of ttft from 0.05 to 0.2"],
    ),
    "analysis.thresholds": (
        {"analysis": {"thresholds": [{**SLOW, "at_most": 3.0}]}},
        ["widen the threshold slow"],
    ),
    "analysis.dry_run": (
        {"analysis": {"dry_run": ["ttft", "slow"]}},
        ["only report ttft", "only report the threshold slow"],
    ),
    "warm": ({"warm": None}, ["leave out warm"]),
    "warm.prompts": ({"warm": {"prompts": ["ho"]}}, ["leave out warm.prompts: hi"]),
    "warm.at_least": ({"warm": {"at_least": 2}}, ["lower warm.at_least from 5 to 2"]),
    "warm.at_most": ({"warm": {"at_most": 200}}, ["raise warm.at_most from 100 to 200"]),
    "warm.within": ({"warm": {"within": 0.5}}, ["raise warm.within from 0.2 to 0.5"]),
    "warm.timeout": ({"warm": {"timeout": "10m"}}, ["raise warm.timeout from 5m to 10m"]),
    "golden": ({"golden": None}, ["leave out golden"]),
    "golden.prompts": ({"golden": {"prompts": [OTHER_PROMPT]}}, ["leave out golden.prompts: capital"]),
    "golden.pass_ratio": ({"golden": {"pass_ratio": "50%"}}, ["lower golden.pass_ratio from 0.9 to 0.5"]),
    "golden.dry_run": ({"golden": {"dry_run": True}}, ["only report golden"]),
    "golden.excerpt_characters": (
        {"golden": {"excerpt_characters": 9}},
        ["raise golden.excerpt_characters from 0 to 9"],
    ),
    "top_up.per_minute": ({"top_up": {"per_minute": 60}}, ["raise top_up.per_minute from 30 to 60"]),
    "top_up.at_most": ({"top_up": {"at_most": 2000}}, ["raise top_up.at_most from 1000 to 2000"]),
    "rollback_on": ({"rollback_on": ["Other"]}, ["leave out rollback_on: LLMErrorRateHigh"]),
    "deadline": ({"deadline": None}, ["leave out deadline (2h)"]),
    "rollback_window": ({"rollback_window": "0s"}, ["lower rollback_window from 30m to 0s"]),
    "after": ({"after": []}, ["not wait for embed"]),
}
ELSEWHERE = {"hooks", "golden.file", "golden.judge"}
"""Options that need a file, an address or a secret of fleet.yaml: test_building.py has their cases."""

STRICTER: Mapping[str, Any] = {
    "strategy": "canary",
    "steps": ["mirror 20% for 20m", "1%", "5%", "analyse 20m", "analyse 1m", "25%", "pause", "50%"],
    "approvals": [{"at": "step", "role": "admin"}, {"at": "full"}],
    "checklist": ["monitoring", "rollback"],
    "analysis": {
        "interval": "30s",
        "minimum_requests": 900,
        "failures": 0,
        "patience": "2h",
        "false_alarms": 0.1,
        "thresholds": [{**SLOW, "at_most": 1.0}, {"name": "more", "expr": "up", "at_least": 1.0}],
        "compare": [{"metric": "errors", "tolerance": 0.001}, {"metric": "ttft"}, {"metric": "empty"}],
    },
    "warm": {"prompts": ["hi", "ho"], "at_least": 9, "at_most": 50, "within": 0.1, "timeout": "1m"},
    "golden": {"pass_ratio": 1.0},
    "top_up": {"per_minute": 3, "at_most": 9},
    "rollback_on": ["LLMErrorRateHigh", "Other"],
    "deadline": "1h",
    "rollback_window": "1h",
    "allow_downtime": True,
    "after": ["embed", "rank"],
}


def options(model: type[Model], path: str = "") -> Iterator[str]:
    """Yield the path of each option. Items of lists are part of their list."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        whole = get_origin(field.annotation) is tuple or name == "judge"
        for inner in () if whole else (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Model):
                yield from options(inner, f"{path}{name}.")


def phrases(section: Mapping[str, Any], own: Mapping[str, Any] = STRICT, **chosen: Any) -> list[str]:
    mine = RolloutSection.model_validate(dict(own))
    overrides = Overrides(section)
    changed, reasons = applied(mine, overrides)
    assert reasons == []
    gates = combined(RolloutSection(), mine)
    strategy = section.get("strategy", "")
    return loosened(gates, replaced(gates, changed, overrides), mine, changed, strategy, **chosen)


def test_every_option_of_fleet_yaml_declares_which_change_is_weaker() -> None:
    assert set(options(RolloutSection)) == set(OPTIONS)


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        (StepSection, {"weight", "analyse", "pause", "mirror", "testers", "for_"}),
        (ComparisonSection, {"metric", "tolerance", "dry_run"}),
        (LimitSection, {"name", "expr", "at_most", "at_least", "dry_run"}),
        (ApprovalSection, {"at", "count", "role"}),
    ],
)
def test_the_fields_that_are_compared_one_by_one_are_all_that_there_are(item: type[Model], fields: set[str]) -> None:
    """A new field here needs a comparison in loosening.py, and a case below. Other items are compared as wholes."""
    assert set(item.model_fields) == fields


def test_every_option_that_is_a_gate_has_a_case() -> None:
    assert set(CASES) | ELSEWHERE == {path for path, weaker in OPTIONS.items() if weaker is not Weaker.NEVER}


@pytest.mark.parametrize(("section", "expected"), CASES.values(), ids=CASES)
def test_a_weaker_gate_is_named(section: dict[str, Any], expected: list[str]) -> None:
    assert phrases(section) == expected


@pytest.mark.parametrize("name", STRICTER)
def test_a_stricter_gate_is_nobodys_privilege(name: str) -> None:
    assert phrases({name: STRICTER[name]}) == []


def test_all_that_is_stricter_at_once() -> None:
    assert phrases(STRICTER) == []


def test_a_model_without_gates_can_get_any() -> None:
    assert phrases(STRICT, {}) == phrases({"strategy": "canary", "steps": "50%"}, {}) == []


def test_the_default_steps_and_analysis_of_a_canary_are_gates_too() -> None:
    canary = {"strategy": "canary"}
    assert phrases({"steps": "50%"}, canary) == [f"leave out the step {share}%" for share in (1, 5, 25)]
    assert phrases({"analysis": {"minimum_requests": 1}}, canary) == ["lower analysis.minimum_requests from 100 to 1"]
    assert phrases({}, canary, full=True) == ["leave out the steps of the canary"]


async def test_only_an_admin_may_and_the_story_and_the_audit_trail_say_so(tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": "50%", "golden": None}
    async with rig(tmp_path) as it:
        it.options(golden=STRICT["golden"])
        assert await it.refused(overrides=Overrides({"golden": None})) == [
            "only an admin may leave out golden; ann has role operator"
        ]
    (tmp_path / "audited").mkdir()
    own = {"steps": ["5%", "pause 5s"], "golden": STRICT["golden"]}
    async with StrategyWorld(tmp_path / "audited", rollout=own) as world:
        rollout = await world.promote(**given)
        words = ["ann chose to leave out the step 5%", "ann chose to leave out or shorten the step pause at 5%"]
        assert [note for note in rollout.notes if "chose" in note] == [*words, "ann chose to leave out golden"]
