"""Options of a rollout from fleet.yaml and from what an operator sets beside it, and who may take gates away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.target import Auth
from controlplane.config.models import ModelSection
from controlplane.config.rollout.analysis import AnalysisSection
from controlplane.config.rollout.golden import GoldenSection
from controlplane.config.rollout.section import RolloutSection, RolloutsSection
from controlplane.rollout.options import (
    Approval,
    CanaryStep,
    CanaryStepKind,
    CheckItem,
    Comparison,
    Expected,
    GoldenPrompt,
    Hook,
    Judge,
    Metric,
    Moment,
    OnFailure,
    Options,
    Threshold,
    TopUp,
    Warm,
)
from controlplane.rollout.planning.building import (
    DEFAULT_TOLERANCES,
    Combined,
    combined,
    options_of,
    options_of_rollback,
)
from controlplane.rollout.planning.loosening import loosened
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.permitted import applied, notes_of, replaced
from controlplane.rollout.planning.templates import filled

SECTION = ModelSection.model_validate(
    {
        "name": "chat",
        "stable": "v1",
        "traffic": {"driver": "gateway"},
        "versions": {
            version: {"backends": [{"url": f"http://{version}:1", "engine": "vllm"}]} for version in ("v1", "v2")
        },
    }
)
HOOK = {"name": "backup", "at": "switch", "url": "http://h/b", "authorization": {"credentials_env": "KEY"}}


def built(rollout: dict[str, Any], strategy: str = "canary", **shared: Any) -> Options:
    own = RolloutSection.model_validate(rollout)
    gates = combined(RolloutsSection.model_validate(shared), own)
    prompts = own.golden.prompts if own.golden else ()
    return options_of(SECTION, own, gates, prompts, strategy, {"scan": "ticket 7"})


def test_a_canary_has_its_steps_and_is_analysed_by_default() -> None:
    options = built({"steps": "mirror 20% for 10m, testers, 5%, analyse 10m, pause 1m, pause, 100%"})
    kind = CanaryStepKind
    assert options.steps == (
        CanaryStep(kind.MIRROR, 0.2, 600.0),
        CanaryStep(kind.TESTERS, None, None),
        CanaryStep(kind.WEIGHT, 0.05, None),
        CanaryStep(kind.ANALYSE, None, 600.0),
        CanaryStep(kind.PAUSE, None, 60.0),
        CanaryStep(kind.PAUSE, None, None),
    )
    assert options.analysis is not None
    assert options.analysis.comparisons == tuple(Comparison(metric, DEFAULT_TOLERANCES[metric]) for metric in Metric)
    assert set(DEFAULT_TOLERANCES) == set(Metric)


def test_another_strategy_has_no_steps_and_is_analysed_only_if_asked() -> None:
    plain = built({"steps": ["5%"]}, "blue-green")
    assert (plain.steps, plain.analysis) == ((), None)
    assert built({"analysis": {}}, "blue-green").analysis is not None


def test_every_option_arrives() -> None:
    options = built(
        {
            "steps": ["5%"],
            "analysis": {
                "compare": ["errors", {"metric": "ttft", "tolerance": 0.2}, {"metric": "empty", "dry_run": True}],
                "thresholds": [
                    {"name": "queue", "expr": "q", "at_most": 9},
                    {"name": "rate", "expr": "r", "at_least": 1},
                ],
                "dry_run": ["ttft", "rate"],
            },
            "warm": {"prompts": "hi", "within": "30%"},
            "golden": {
                "prompts": [
                    {"prompt": "2 + 2?", "expect": {"contains": "4", "judged": "right"}},
                    {"name": "raw", "body": {"prompt": "a"}, "expect": {"exact": ""}, "timeout": "5s"},
                ],
                "pass_ratio": "90%",
                "judge": {"url": "http://j/v1", "model": "judge", "key_env": "JUDGE"},
            },
            "top_up": {"prompts": ["hi"], "per_minute": 5},
            "hooks": [HOOK, {"name": "tell", "at": "rollback", "url": "http://h/t"}],
            "approvals": [{"at": "full", "count": 2, "role": "admin"}],
            "checklist": [
                "monitoring",
                "scan",
                {"name": "docs", "attested": "https://w"},
                {"name": "load", "expr": "up"},
            ],
            "rollback_on": ["LLMErrorRateHigh"],
            "deadline": "1h",
            "rollback_window": "10m",
            "allow_downtime": True,
            "after": ["embed"],
        }
    )
    assert options.analysis is not None
    assert options.analysis.comparisons == (
        Comparison(Metric.ERRORS, 0.005),
        Comparison(Metric.TTFT, 0.2, dry_run=True),
        Comparison(Metric.EMPTY, 0.005, dry_run=True),
    )
    assert options.analysis.thresholds == (
        Threshold("queue", "q", at_most=9.0),
        Threshold("rate", "r", at_least=1.0, dry_run=True),
    )
    assert options.warm == Warm(("hi",), 5, 100, 0.3, 300.0)
    assert options.golden is not None
    asked = {"messages": [{"role": "user", "content": "2 + 2?"}]}
    first, second = options.golden.prompts
    assert (first.name, first.path, first.expected) == (
        "prompt 1",
        "chat/completions",
        Expected(("4",), judged="right"),
    )
    assert first.body.items() >= asked.items()
    assert second == GoldenPrompt("raw", "completions", {"prompt": "a"}, Expected(exact=""), 5.0)
    assert (options.golden.pass_ratio, options.golden.judge) == (0.9, Judge("http://j/v1", "judge", key_env="JUDGE"))
    assert options.top_up == TopUp(("hi",), 5, 1000)
    assert options.hooks == (
        Hook("backup", Moment.SWITCH, "http://h/b", 10.0, OnFailure.ROLL_BACK, Auth(credentials_env="KEY")),
        Hook("tell", Moment.ROLLBACK, "http://h/t", 10.0, OnFailure.IGNORE),
    )
    assert options.approvals == (Approval(Moment.FULL, 2, "admin"),)
    assert options.checklist == (
        CheckItem("monitoring", builtin="monitoring"),
        CheckItem("scan", attested="ticket 7"),
        CheckItem("docs", attested="https://w"),
        CheckItem("load", "up"),
    )
    assert (options.rollback_on, options.deadline_s, options.rollback_window_s) == (
        ("LLMErrorRateHigh",),
        3600.0,
        600.0,
    )
    assert (options.allow_downtime, options.after) == (True, ("embed",))


def test_a_rollback_has_no_gate() -> None:
    own = RolloutSection.model_validate({"hooks": [HOOK, {"name": "t", "at": "end", "url": "http://h/t"}]})
    options = options_of_rollback(combined(RolloutsSection.model_validate({"approvals": [{"at": "start"}]}), own))
    assert [hook.name for hook in options.hooks] == ["t"]
    assert (options.approvals, options.checklist, options.allow_downtime) == ((), (), True)


def test_gates_of_all_models_hold_beside_a_models_own() -> None:
    shared: dict[str, Any] = {
        "hooks": [
            {"name": "backup", "at": "start", "url": "http://h/all"},
            {"name": "log", "at": "end", "url": "http://h/l"},
        ],
        "approvals": [{"at": "full"}, {"at": "full", "role": "admin"}],
        "checklist": ["monitoring", "scan"],
    }
    options = built({"hooks": [HOOK], "approvals": [{"at": "full", "count": 3}], "checklist": ["capacity"]}, **shared)
    assert [(hook.name, hook.at) for hook in options.hooks] == [("backup", "switch"), ("log", "end")]
    assert options.approvals == (Approval(Moment.FULL, 3), Approval(Moment.FULL, 1, "admin"))
    assert [item.name for item in options.checklist] == ["monitoring", "scan", "capacity"]


# --- what an operator sets


OWN = RolloutSection.model_validate(
    {
        "steps": ["5%"],
        "hooks": [HOOK],
        "approvals": [{"at": "full", "count": 2}],
        "checklist": ["monitoring", "scan"],
        "after": ["embed"],
        "analysis": {"minimum_requests": 200},
    }
)
GATES = combined(RolloutsSection(), OWN)


def test_options_of_a_request_replace_those_of_fleet_yaml() -> None:
    wanted = {"steps": "10%, pause", "analysis": {"minimum_requests": 5}, "strategy": "blue-green"}
    changed, reasons = applied(OWN, Overrides(wanted, allow_downtime=True))
    assert reasons == []
    assert changed.analysis is not None
    assert (changed.analysis.minimum_requests, changed.allow_downtime, len(changed.steps)) == (5, True, 2)


def test_prompts_of_a_request_stand_in_for_the_golden_file() -> None:
    own = RolloutSection.model_validate({"golden": {"file": "/golden.json", "pass_ratio": "90%"}})
    prompt = {"prompt": "2 + 2?", "expect": {"contains": "4"}}
    changed, reasons = applied(own, Overrides({"golden": {"prompts": [prompt]}}))
    assert reasons == []
    assert changed.golden is not None
    assert (changed.golden.file, changed.golden.pass_ratio, len(changed.golden.prompts)) == (None, 0.9, 1)
    assert applied(own, Overrides({"golden": 5}))[1] == ["rollout.golden: expected a map of fields, got the number 5"]


NAMES = sorted(
    {*RolloutSection.model_fields, *AnalysisSection.model_fields, *GoldenSection.model_fields, "weight", "for"}
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "5%", "10m", "pause", "canary", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "x"]), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
def test_whatever_a_request_sets_is_applied_or_refused_in_words(section: dict[str, Any]) -> None:
    overrides = Overrides(section)
    changed, reasons = applied(OWN, overrides)
    assert all(reason.startswith("rollout") for reason in reasons)
    notes_of(overrides, "ann")
    if not reasons:
        after = replaced(GATES, changed, overrides)
        loosened(GATES, after, OWN, changed)
        prompts = changed.golden.prompts if changed.golden else ()
        options_of(SECTION, changed, after, prompts, changed.effective_strategy, {})


@pytest.mark.parametrize(
    ("section", "reasons"),
    [
        (
            {"hooks": [HOOK]},
            ["rollout.hooks: hooks come from fleet.yaml; a request can only leave them out with an empty list"],
        ),
        (
            {"golden": {"file": "/etc/shadow", "judge": {"url": "http://evil/", "key_file": "/run/key"}}},
            [
                "rollout.golden.file: comes from fleet.yaml; a request cannot set it",
                "rollout.golden.judge: comes from fleet.yaml; a request cannot set it",
            ],
        ),
        (
            {"analysis": {"minimum_requests": 0}, "deadline": "soon"},
            [
                "rollout.analysis.minimum_requests: expected 1 or more, got the number 0",
                "rollout.deadline: expected a duration such as 15s, 2m or 1h30m, got 'soon'",
            ],
        ),
        ({"rollback_on": ["A" * 70_000]}, ["rollout: is larger than 65536 bytes; put the options into fleet.yaml"]),
        ({"deadline": {1, 2}}, ["rollout: expected JSON"]),
        ({"freeze": []}, ["rollout.freeze: unknown field; known here: "]),
    ],
)
def test_what_a_request_may_not_set(section: dict[str, Any], reasons: list[str]) -> None:
    changed, found = applied(OWN, Overrides(section))
    assert changed == OWN
    assert [reason[: len(expected)] for reason, expected in zip(found, reasons, strict=True)] == reasons


@pytest.mark.parametrize(
    ("section", "phrases"),
    [
        ({"deadline": "1h"}, []),
        ({"approvals": [{"at": "full", "count": 3}]}, []),
        ({"approvals": [{"at": "full", "count": 2, "role": "admin"}, {"at": "start"}]}, []),
        ({"approvals": [{"at": "full", "count": 1}]}, ["ask for less than 2 approvals of role operator at full"]),
        ({"approvals": []}, ["ask for less than 2 approvals of role operator at full"]),
        ({"approvals": [{"at": "step", "count": 2}]}, ["ask for less than 2 approvals of role operator at full"]),
        ({"hooks": []}, ["leave out the hook backup"]),
        ({"checklist": ["monitoring", "scan", "capacity"]}, []),
        ({"checklist": ["monitoring"]}, ["leave out the check scan"]),
        ({"checklist": ["monitoring", {"name": "scan", "attested": "trust me"}]}, ["leave out the check scan"]),
        ({"after": []}, ["not wait for embed"]),
    ],
)
def test_what_a_request_takes_away(section: dict[str, Any], phrases: list[str]) -> None:
    changed, reasons = applied(OWN, Overrides(section))
    assert reasons == []
    assert loosened(GATES, replaced(GATES, changed, Overrides(section)), OWN, changed) == phrases


def test_gates_that_a_request_does_not_name_stay() -> None:
    changed, _ = applied(OWN, Overrides({"deadline": "1h"}))
    assert replaced(GATES, changed, Overrides({"deadline": "1h"})) == GATES != Combined()


def test_notes_say_who_set_what() -> None:
    overrides = Overrides(
        {"analysis": {"minimum_requests": 5, "dry_run": ["ttft"]}, "deadline": "2h", "rollback_on": ["x" * 200]},
        attest={"scan": "ticket 7"},
        allow_downtime=True,
        full=True,
    )
    assert notes_of(overrides, "ann") == [
        "ann set analysis.minimum_requests to 5",
        'ann set analysis.dry_run to ["ttft"]',
        'ann set deadline to "2h"',
        f'ann set rollback_on to ["{"x" * 117}…',
        "ann attested scan: ticket 7",
        "ann allowed downtime",
        "ann left out the steps of the canary",
    ]


def test_overrides_survive_json_and_equal_ones_have_one_text() -> None:
    wanted = Overrides({"b": 1, "a": {"d": 1, "c": 2}}, "fire", {"scan": "x"}, allow_downtime=True, full=True)
    again = Overrides.from_json(json.loads(json.dumps(wanted.to_json())))
    assert again == wanted
    assert wanted.text() == Overrides({"a": {"c": 2, "d": 1}, "b": 1}, "fire", {"scan": "x"}, True, True).text()
    assert (Overrides().text(), Overrides().to_json()) == ("", {})


def test_templates() -> None:
    expr = 'rate(x{model="{{model}}",version=~"{{ version }}|{{stable}}"}[{{window}}])'
    assert filled(expr, "chat", "v2", "v1", 300.0) == 'rate(x{model="chat",version=~"v2|v1"}[5m])'
    with pytest.raises(
        ValueError, match=r"^{{window}} is not known here; known are {{model}}, {{version}}, {{stable}}$"
    ):
        filled(expr, "chat", "v2", "v1")
    with pytest.raises(ValueError, match=r"^{{verison}} is not known here"):
        filled("{{verison}}", "chat", "v2", "v1", 1.0)
