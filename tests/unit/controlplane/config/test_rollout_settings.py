"""Options of rollouts in fleet.yaml: short forms, and faults with place and cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from controlplane.config.loader import validated
from controlplane.config.reading import merge_section
from controlplane.config.rollout.analysis import METRICS
from controlplane.config.rollout.golden import MAX_BYTES, GoldenSection, read_golden
from controlplane.config.rollout.section import BUILTIN_CHECKS, HookSection, MomentName, RolloutSection
from controlplane.errors import ConfigErrors
from controlplane.rollout.options import CanaryStepKind, Metric, Moment, OnFailure


def faults(rollout: Any = None, rollouts: Any = None, **model: Any) -> list[str]:
    """Return the faults of a fleet of one model with these options, without the beginning of their places."""
    section: dict[str, Any] = {
        "name": "chat",
        "stable": "v1",
        "traffic": {"driver": "triton", "backends": [{"url": "http://a:1"}]},
        "versions": {"v1": {}, "v2": {}},
        **model,
    }
    if rollout is not None:
        section["rollout"] = rollout
    data = {"fleet": {"name": "x"}, "models": [section], **({"rollouts": rollouts} if rollouts else {})}
    try:
        validated(data)
    except ConfigErrors as found:
        return [f"{error.field.removeprefix('models[0].')}: {error.reason}" for error in found.errors]
    return []


def steps(*given: Any) -> tuple[tuple[str, Any, Any], ...]:
    section = RolloutSection.model_validate({"steps": given[0] if len(given) == 1 else list(given)})
    return tuple((step.kind, getattr(step, step.kind), step.for_) for step in section.steps)


def test_steps_may_be_texts_or_maps() -> None:
    written = ({"mirror": "20%", "for": "10m"}, {"testers": "30m"}, {"weight": 0.05}, {"analyse": "10m"})
    expected = (("mirror", 0.2, 600.0), ("testers", 1800.0, None), ("weight", 0.05, None), ("analyse", 600.0, None))
    assert steps(*written) == expected
    assert steps("mirror 20% for 10m", "testers 30m", "5%", "analyse 10m") == expected
    assert steps("mirror 20% 10m, testers 30m, weight 5%, analyse 10m") == expected
    assert steps("1.5%, pause, pause 5m, 100%") == (
        ("weight", 0.015, None),
        ("pause", "approval", None),
        ("pause", 300.0, None),
        ("weight", 1.0, None),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            [{"weight": 5}],
            ["steps[0].weight: 5 could be a percentage or a part: write 5%, or a share such as 0.05"],
        ),
        ([{"weight": "0%"}], ["steps[0].weight: expected more than 0, got '0%'"]),
        ([{"weight": "120%"}], ["steps[0].weight: expected a share from 0% to 100%, such as 5% or 0.05, got '120%'"]),
        (["5%", "5%"], ["steps[1].weight: must be more than 5%, the weight before it"]),
        (["25%", "pause", "5%"], ["steps[2].weight: must be more than 25%, the weight before it"]),
        (["100%", "pause"], ["steps[0].weight: 100% is the end; rollback_window: keeps the old version for a while"]),
        (
            ["5%", "mirror 10%"],
            ["steps[1].mirror: must come before the first weight, where clients reach the candidate"],
        ),
        (["analyse 5m", "5%"], ["steps[0].analyse: has no requests to look at; put a weight before it"]),
        ([{"pause": "soon"}], ["steps[0].pause: expected a duration such as 10m, or approval, got 'soon'"]),
        (
            [{"weight": "5%", "pause": "1m"}],
            ["steps[0]: expected one of weight, analyse, pause, mirror, testers; got weight and pause"],
        ),
        ([{}], ["steps[0]: expected one of weight, analyse, pause, mirror, testers; got none"]),
        (
            [{"testers": "1m", "for": "1m"}],
            ["steps[0].for: is for mirror; the other kinds hold their duration: {pause: 10m}"],
        ),
        (
            ["5%", "wait 3m"],
            [
                "steps: step 2 is 'wait 3m'; expected 5%, analyse 10m, pause 10m, pause, mirror 20% for 10m or "
                "testers 30m"
            ],
        ),
        ([f"{number}%" for number in range(1, 52)], ["steps: expected at most 50 steps, got 51"]),
        (7, ["steps: expected a list, got the number 7"]),
    ],
)
def test_impossible_steps_are_refused(given: Any, expected: list[str]) -> None:
    assert faults({"steps": given}) == [f"rollout.{fault}" for fault in expected]


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        ({"strategy": "rolling", "steps": ["5%"]}, ["steps: are for strategy canary; strategy is rolling"]),
        (
            {"analysis": {"compare": ["ttft", "ttft"]}},
            ["analysis.compare[1].metric: ttft is compared twice; keep one of them"],
        ),
        (
            {"analysis": {"thresholds": [{"name": "q", "expr": "up"}]}},
            ["analysis.thresholds[0]: needs at_most: or at_least:"],
        ),
        (
            {"analysis": {"thresholds": [{"name": "ttft", "expr": "up", "at_most": 1}]}},
            ["analysis.thresholds[0].name: ttft is the name of another threshold or metric"],
        ),
        ({"analysis": {"interval": "1s"}}, ["analysis.interval: expected 5s or more, got '1s'"]),
        ({"analysis": {"false_alarms": "50%"}}, ["analysis.false_alarms: expected 0.2 or less, got '50%'"]),
        ({"warm": {"at_least": 9, "at_most": 3}}, ["warm.at_least: 9 is more than at_most (3)"]),
        ({"golden": {}}, ["golden: needs one of prompts:, file:"]),
        (
            {"golden": {"prompts": [{"prompt": "a", "expect": {"judged": "good"}}]}},
            ["golden.prompts[0].expect.judged: needs golden.judge:, which is not set"],
        ),
        ({"golden": {"prompts": [{"expect": {"exact": "a"}}]}}, ["golden.prompts[0]: needs one of prompt:, body:"]),
        (
            {"hooks": [{"name": "a", "at": "end", "url": "http://h/", "on_failure": "pause"}]},
            ["hooks[0].on_failure: a hook at end stops nothing; leave it out"],
        ),
        (
            {"hooks": [{"name": "a", "at": "end", "url": "http://u:p@h/"}]},
            ["hooks[0].url: credentials do not belong in the address; use basic_auth: or authorization:"],
        ),
        (
            {"checklist": ["monitoring", "monitoring"]},
            ["checklist[1].name: 'monitoring' is the name of an earlier one"],
        ),
        ({"deadline": "30s", "analysis": {}}, ["deadline: must be longer than analysis.interval (60s)"]),
        ({"rollback_on": ["A", "A"]}, ["rollback_on[1]: A is named twice"]),
        ({"after": ["chat"]}, ["after[0]: is the model itself; name another one"]),
        ({"after": ["chit"]}, ["after[0]: 'chit' is not one of models: chat; did you mean 'chat'?"]),
    ],
)
def test_options_that_cannot_hold_are_refused(rollout: dict[str, Any], expected: list[str]) -> None:
    assert faults(rollout) == [f"rollout.{fault}" for fault in expected]


def test_options_need_a_driver_that_switches() -> None:
    assert faults({}, traffic={"driver": "none"}) == [
        "rollout: needs a driver that switches versions; driver none does not"
    ]


def test_an_order_of_models_has_a_first() -> None:
    def model(name: str, *after: str) -> dict[str, Any]:
        traffic = {"driver": "triton", "backends": [{"url": "http://a:1"}]}
        return {
            "name": name,
            "stable": "v1",
            "traffic": traffic,
            "versions": {"v1": {}},
            "rollout": {"after": list(after)},
        }

    with pytest.raises(ConfigErrors) as found:
        validated(
            {"fleet": {"name": "x"}, "models": [model("a", "b"), model("b", "c"), model("c", "a"), model("d", "a")]}
        )
    assert [str(error) for error in found.value.errors] == [
        "models[0].rollout.after: leads back to itself: a -> b -> c -> a",
        "models[1].rollout.after: leads back to itself: b -> c -> a -> b",
        "models[2].rollout.after: leads back to itself: c -> a -> b -> c",
    ]


def test_a_cache_alone_is_no_size() -> None:
    assert faults(versions={"v1": {}, "v2": {"kv_cache": "1GB"}}) == [
        "versions.v2.kv_cache: needs memory:, the size of the weights"
    ]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"cron": "0 18 * * fri", "for": "62h", "timezone": "Europe/Berlin"}, []),
        ({"from": "2026-12-24", "to": "2026-12-24"}, []),
        ({"from": "2026-12-24 12:00", "to": "2026-12-27T08:00"}, []),
        ({}, [": needs cron: and for:, or from: and to:"]),
        ({"cron": "@daily"}, [": needs cron: and for:, or from: and to:"]),
        ({"from": "2026-12-24"}, [": needs both from: and to:"]),
        (
            {"cron": "@daily", "for": "1h", "from": "2026-12-24", "to": "2026-12-25"},
            [": cron: and for: cannot be given together with from: and to:"],
        ),
        (
            {"cron": "@hourly", "for": "2h"},
            [".for: lasts longer than until the next start of '@hourly'; nothing could be promoted"],
        ),
        (
            {"cron": "0 0 * *", "for": "1h"},
            [".cron: expected 5 fields such as '30 3 * * *', or @daily; got 4 in '0 0 * *'"],
        ),
        (
            {"cron": "@daily", "for": "1h", "timezone": "Berlin"},
            [".timezone: no time zone is called 'Berlin'; write one such as Europe/Berlin"],
        ),
        ({"from": "2026-12-24", "to": "2026-12-23"}, [".to: must be later than from"]),
        (
            {"from": "2026-12-24T00:00+01:00", "to": "2026-12-25"},
            [".from: expected a time without an offset; timezone: names its zone, got '2026-12-24T00:00+01:00'"],
        ),
        (
            {"from": "christmas", "to": "2026-12-25"},
            [".from: expected a day such as 2026-12-24, or a time such as 2026-12-24 12:00, got 'christmas'"],
        ),
        ({"cron": "@daily", "for": "1h", "models": ["x"]}, [".models[0]: 'x' is not one of models: chat"]),
    ],
)
def test_freeze_windows(window: dict[str, Any], expected: list[str]) -> None:
    assert faults(rollouts={"freeze": [{"name": "w", **window}]}) == [
        f"rollouts.freeze[0]{fault}" for fault in expected
    ]


def test_the_names_of_fleet_yaml_are_those_of_the_options() -> None:
    assert set(METRICS) == {metric.value for metric in Metric}
    assert set(get_args(MomentName)) == {moment.value for moment in Moment}
    meanings = HookSection.model_fields["on_failure"].annotation
    assert set(get_args(meanings)) == {meaning.value for meaning in OnFailure}
    kinds = {"weight", "mirror", "testers", "pause", "analyse"}
    assert {kind.value for kind in CanaryStepKind} == kinds
    assert BUILTIN_CHECKS == ("monitoring", "rollback", "capacity")


# --- golden files


GOOD = {"prompt": "2 + 2?", "expect": {"contains": "4"}}


def golden(path: Path, text: str) -> list[str]:
    """Write a golden file. Return its prompts, or its faults without the path."""
    path.write_text(text)
    try:
        return [one.prompt or "" for one in read_golden(GoldenSection(file=path))]
    except ConfigErrors as found:
        return [str(error).replace(str(path), "F") for error in found.errors]


def test_a_golden_file_is_yaml_json_or_jsonl(tmp_path: Path) -> None:
    assert golden(tmp_path / "a.yaml", "prompts:\n  - prompt: 2 + 2?\n    expect: {contains: '4'}\n") == ["2 + 2?"]
    assert golden(tmp_path / "a.json", json.dumps({"prompts": [GOOD, GOOD]})) == ["2 + 2?", "2 + 2?"]
    assert golden(tmp_path / "a.jsonl", f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)}\n") == ["2 + 2?", "2 + 2?"]


def test_the_faults_of_a_golden_file_have_lines(tmp_path: Path) -> None:
    text = "prompts:\n  - prompt: a\n    expect: {contians: b}\n  - expect: {judged: good}\n    prompt: a\n"
    assert golden(tmp_path / "a.yaml", text) == [
        "F:3: prompts[0].expect.contians: unknown field; did you mean 'contains'? known here: contains, lacks, regex, "
        "exact, json_schema, at_least_characters, at_most_characters, judged",
        "F: prompts[1].expect.judged: needs golden.judge:, which is not set",
    ]
    assert golden(tmp_path / "a.jsonl", f"{json.dumps(GOOD)}\n{{\n[]\n") == [
        "F:2: is not JSON; expected one map a line",
        "F:3: expected a map of fields, got a list",
    ]
    assert golden(tmp_path / "b.jsonl", "\n") == ["F: holds no prompt; expected one map a line"]
    assert golden(tmp_path / "b.json", "[]") == ["F:1: holds a list; expected prompts:"]
    assert golden(tmp_path / "c.jsonl", "x" * (MAX_BYTES + 1)) == [f"F: is larger than {MAX_BYTES} bytes"]
    with pytest.raises(ConfigErrors, match="cannot be read: No such file or directory"):
        read_golden(GoldenSection(file=tmp_path / "none.json"))
    assert golden(tmp_path / "d.jsonl", f"{json.dumps(GOOD)}\n" * 201) == [
        "F: prompts: expected at most 200 prompts, got 201"
    ]


# --- merging


BASE = RolloutSection.model_validate(
    {"steps": ["5%"], "analysis": {"interval": "30s", "failures": 2}, "warm": {"at_least": 3}}
)


def test_a_part_replaces_fields_and_keeps_the_others() -> None:
    data = {"analysis": {"failures": 1}, "steps": "10%, pause", "warm": None, "golden": {"prompts": [GOOD]}}
    made, found = merge_section(BASE, data)
    assert found == []
    assert made.analysis is not None
    assert (made.analysis.interval, made.analysis.failures, made.warm) == (30.0, 1, None)
    assert [step.kind for step in made.steps] == ["weight", "pause"]
    assert made.golden is not None
    assert BASE.warm is not None  # the base is as it was


def test_the_merged_whole_is_checked() -> None:
    def told(data: Any) -> list[str]:
        return [f"{'.'.join(map(str, fault.loc))}: {fault.sentence}" for fault in merge_section(BASE, data)[1]]

    assert told({"analysis": {"interval": "1h", "faliures": 1}, "deadline": 5}) == [
        "analysis.faliures: unknown field; did you mean 'failures'? known here: interval, minimum_requests, failures, "
        "patience, false_alarms, compare, thresholds, dry_run",
        "deadline: expected a duration such as 15s, 2m or 1h30m, got the number 5",
    ]
    assert told({"deadline": "20s"}) == ["deadline: must be longer than analysis.interval (30s)"]
    assert told({"strategy": "recreate"}) == ["steps: are for strategy canary; strategy is recreate"]
    assert told([]) == [": expected a map of fields, got a list"]
    assert told({"warm": {"at_least": 500}}) == ["warm.at_least: 500 is more than at_most (100)"]
