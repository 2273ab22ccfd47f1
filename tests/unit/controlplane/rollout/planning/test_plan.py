"""Plans and refusals: every reason at once, each with what to do next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.errors import NotFound, Refused
from controlplane.rollout.drift import drift
from controlplane.rollout.model import Plan, RolloutLimits
from controlplane.rollout.planning.plan import Request, known, make, reasons, rollback_target
from controlplane.rollout.words.step_words import step_sentences
from controlplane.traffic.driver import (
    BackendObservation,
    Capabilities,
    Preparation,
    TrafficObservation,
    VersionState,
    all_to,
)

A = "http://a:8000"
SECTION = ModelSection.model_validate(
    {
        "name": "chat",
        "stable": "v1",
        "versions": {"v1": {}, "v2": {}},
        "traffic": {"driver": "triton", "backends": [{"url": A}], "load_timeout": "5m", "drain_timeout": "1m"},
    }
)
CAN = Capabilities(weights=False, prewarm=False, notes=("it cannot split traffic",), endless_load="Restart it")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"observe_only": True}, ["this control plane only observes (--observe-only); start it without that flag"]),
        ({"version": "v1"}, ["v1 is already the stable version of chat"]),
        ({"version": "v7"}, ["chat has no version v7; fleet.yaml declares v1, v2"]),
        (
            {"capabilities": None},
            ["chat has traffic driver `none`: it is watched, but nothing can switch its versions"],
        ),
        ({"strategy": "canary"}, ["strategy canary needs weights, which this driver cannot set (it cannot split"]),
        ({"strategy": "magic"}, ["there is no strategy 'magic'; known are blue-green"]),
        ({"strategy": "magic", "version": "v7", "observe_only": True}, ["this control plane", "chat has", "there is"]),
    ],
)
def test_refusals_name_every_reason(changes: dict[str, Any], expected: list[str]) -> None:
    given = {"version": "v2", "strategy": "blue-green", "capabilities": CAN, "observe_only": False, **changes}
    request = Request("chat", given["version"])
    found = reasons(request, SECTION, "v1", given["capabilities"], given["strategy"], given["observe_only"])
    assert [reason[: len(start)] for reason, start in zip(found, expected, strict=True)] == expected


def observed(**changes: Any) -> TrafficObservation:
    ready = {"v1": VersionState.READY, "v2": VersionState.UNAVAILABLE}
    return TrafficObservation("chat", (replace(BackendObservation(A, True, ready, {}, all_to("v1")), **changes),))


def plan(seen: TrafficObservation, resident: bool = True) -> Plan:
    request = Request("chat", "v2")
    return make(request, SECTION, "v1", resident, CAN, Preparation('{"c": 1}', ("new",), ("cold",)), seen)


def test_a_plan_says_what_will_happen() -> None:
    made = plan(observed())
    assert step_sentences(made) == (
        "load v2 beside v1 on http://a:8000, within 5 min; v1 serves until v2 is ready",
        "ask v2 no question: fleet.yaml has neither a `verify:` nor a probe for this model; v1 stays loaded meanwhile",
        "watch v2 for 5 s: it must serve without a break, and no alert may fire on it; it is rolled back when more "
        "than 5% of requests fail",
        "make v2 the stable version, also across a restart of the engine",
        "unload v1 when its requests are finished, waiting at most 1 min",
    )
    assert (made.notes, made.known) == (("new",), ("cold", "it cannot split traffic"))
    assert (made.config, made.limits) == ('{"c": 1}', RolloutLimits(300, 60, 5))


def test_a_plan_that_cannot_keep_the_old_version_says_so() -> None:
    steps = step_sentences(plan(observed(), resident=False))
    assert steps[0] == "load v2 on http://a:8000, within 5 min; v1 serves until v2 is ready, then goes"
    assert steps[1].endswith("a rollback would have to load v1 again")


def test_a_plan_on_an_unknown_or_busy_backend_is_refused() -> None:
    with pytest.raises(Refused, match="http://a:8000 cannot be observed: no route"):
        plan(observed(reachable=False, error="no route"))
    with pytest.raises(
        Refused, match=r"http://a:8000 is still loading v7 \(v1 serves\); wait until it is done. Restart it$"
    ):
        plan(observed(versions={"v7": VersionState.LOADING}))


def test_a_plan_says_when_the_engine_serves_something_else() -> None:
    assert plan(observed(weights=all_to("v9"))).notes[0] == (
        "http://a:8000 serves v9, not the stable version v1; a rollback goes to v1"
    )


def test_rolling_back_needs_somewhere_to_go() -> None:
    assert rollback_target("chat", "v2", "v1") == "v1"
    with pytest.raises(Refused, match=r"chat has nothing to roll back to: v1 .* `cp promote chat VERSION`"):
        rollback_target("chat", "v1", None)


def test_an_unknown_model_names_the_known_ones() -> None:
    assert known("chat", {"chat": SECTION}) is SECTION
    with pytest.raises(NotFound, match=r"there is no model chta; fleet\.yaml declares chat"):
        known("chta", {"chat": SECTION})
    with pytest.raises(NotFound, match="declares none"):
        known("chta", {})


def test_drift_is_said_only_of_backends_that_answer() -> None:
    assert drift("v1", observed()) == ""
    assert drift("v2", observed(reachable=False)) == ""
    assert drift("v2", observed()).startswith("The stable version of chat is v2, but http://a:8000 serves v1.")
    assert "http://a:8000 serves no version" in drift("v2", observed(weights=all_to(None)))
