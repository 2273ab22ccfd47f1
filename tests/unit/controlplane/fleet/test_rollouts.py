"""The views of rollouts: what is in a list, what is in the whole rollout, and plans."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from controlplane.fleet.rollouts import finding_view, plan_view, quarantine_view, rollout_view, whole_rollout_view
from controlplane.rollout.findings import Finding, Outcome, Sample, Work, WorkKind, WorkState
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.reporting.progress import NO_PAST
from controlplane.rollout.stored.recorded import RecordedRollout, RolloutEvent
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState
from tests.fakes.canary import ANALYSE, A, B, at, plan

NOW = 1_800_000_000.0
AT = "2027-01-15T08:00:00.000Z"
READY = VersionState.READY
SAMPLE = Sample("errors", "ratio", 0.08, 0.003, 812.0, 2440.0, 0.077, math.inf, 600.0, Outcome.FAIL, "too many")
LOOK = WorkState(Work(WorkKind.LOOK, ANALYSE, number=7), NOW - 1, Finding(Outcome.FAIL, ("errors",), (SAMPLE,)), NOW)
WARM = WorkState(Work(WorkKind.WARM, 0, A), NOW - 300)


def rollout(**changes: Any) -> Rollout:
    base = at(ANALYSE, entered=NOW - 60, sentence="v2 gets 5%", notes=("note",))
    return replace(base, **{"created_at": NOW, "updated_at": NOW, **changes})


def whole(seen: TrafficObservation | None = None, *, quarantined: bool = False, **changes: Any) -> dict[str, Any]:
    recorded = RecordedRollout(rollout(**changes), (RolloutEvent(NOW, "planned", "asked"),))
    return whole_rollout_view(recorded, seen, NO_PAST, quarantined, NOW).model_dump(by_alias=True)


def seen(*shares: dict[str, float], pending: str = "") -> TrafficObservation:
    backends = [
        BackendObservation(url, True, {"v1": READY, "v2": READY}, {}, weights, pending=pending)
        for url, weights in zip((A, B), shares, strict=False)
    ]
    return TrafficObservation("chat", tuple(backends))


def test_a_list_has_the_rollout_without_what_must_be_computed() -> None:
    assert rollout_view(rollout(wait=Wait(WaitKind.TIME, "10 min"))).model_dump(by_alias=True) == {
        "id": "r-1",
        "model": "chat",
        "from": "v1",
        "to": "v2",
        "kind": "promote",
        "strategy": "canary",
        "phase": "switching",
        "finished": False,
        "ok": None,
        "switched": False,
        "verified": None,
        "evidence": "",
        "wished": False,
        "needs_person": False,
        "sentence": "v2 gets 5%",
        "created_at": AT,
        "updated_at": AT,
        "finished_at": None,
        "created_by": "ann",
        "digest": None,
        "notes": ("note",),
        "waits_for": "time",
        "events": (),
        "progress": None,
        "weights": None,
        "aftermath": None,
        "findings": (),
        "wishes": (),
    }


def test_the_whole_rollout_has_its_history_progress_and_wishes() -> None:
    pause = Wish(WishVerb.PAUSE, "bea", "operator", NOW, ANALYSE, "incident")
    shown = whole(seen({"v1": 1.0}), wishes=(pause,), wait=Wait(WaitKind.OPERATOR, "paused by bea"))
    assert shown["events"] == ({"at": AT, "phase": "planned", "sentence": "asked"},)
    assert shown["wishes"] == (
        {
            "verb": "pause",
            "actor": "bea",
            "role": "operator",
            "at": AT,
            "step": ANALYSE + 1,
            "reason": "incident",
            "ends": "",
        },
    )
    progress = shown["progress"]
    assert progress["waits_for"] == "paused by bea: `cp rollouts resume r-1`"
    assert [s["state"] for s in progress["steps"][:4]] == ["done", "done", "current", "ahead"]
    assert progress["steps"][ANALYSE]["since"] == "2027-01-15T07:59:00.000Z"
    assert progress["rollback"] == {"words": "v1 is loaded: under a second", "seconds": 1.0}


@pytest.mark.parametrize(
    ("observed", "weights"),
    [
        (seen({"v1": 0.75, "v2": 0.25}), {"v1": 0.75, "v2": 0.25}),
        (seen({"v1": 1.0}, {"v1": 0.5, "v2": 0.5}), {"v1": 0.75, "v2": 0.25}),
        (seen({"v1": 1.0}, pending="not applied yet"), None),
        (TrafficObservation("chat", (BackendObservation(A, False, {}, {}, {}, "no route"),)), None),
        (None, None),
    ],
    ids=["one backend", "their mean", "not known to hold", "silent", "never observed"],
)
def test_weights_are_known_or_null(observed: TrafficObservation | None, weights: dict[str, float] | None) -> None:
    assert whole(observed)["weights"] == weights


def test_findings_are_oldest_first_with_numbers_that_json_has() -> None:
    shown = whole(works=(LOOK, WARM))["findings"]
    assert [f["words"] for f in shown] == [f"warm-up on {A}", "look 7"]
    assert (shown[0]["outcome"], shown[0]["at"]) == (None, None)
    (sample,) = shown[1]["samples"]
    assert (sample["candidate"], sample["evidence"], sample["fails_at"]) == (0.08, None, 600.0)
    assert (sample["outcome"], sample["candidate_requests"]) == ("fail", 812.0)


def test_missing_data_has_its_count_and_time() -> None:
    few = Finding(Outcome.NOT_ENOUGH, ("60 of 100",), more_requests=40, enough_at=NOW)
    shown = finding_view(replace(LOOK, finding=few))
    assert (shown.outcome, shown.more_requests, shown.enough_at) == ("not-enough-data", 40, AT)


def test_a_rollout_that_went_back_has_its_aftermath_and_no_weights() -> None:
    ended = {"phase": Phase.ROLLED_BACK, "reason": "errors", "finished_at": NOW, "turned_at": NOW - 1}
    shown = whole(seen({"v1": 1.0}), quarantined=True, **ended)
    assert shown["aftermath"]["cause"] == "errors"
    assert "v2 is in quarantine" in shown["aftermath"]["consequence"]
    assert shown["weights"] is None


def test_a_rollout_that_cannot_be_read_has_no_steps_to_show() -> None:
    unreadable = replace(rollout(), plan=replace(plan(), steps=()), step=0)
    recorded = RecordedRollout(unreadable)
    assert whole_rollout_view(recorded, None, NO_PAST, False, NOW).progress is None


def test_a_plan_is_shown_with_its_time_and_without_the_drivers_private_data() -> None:
    shown = plan_view(replace(plan(), config="secret"), None, {"load v2": 300.0})
    assert "secret" not in shown.model_dump_json()
    assert (shown.from_, shown.left) == ("v1", "at least 16 min, and an approval")
    assert shown.rollback.startswith("v1 stays loaded for 1 h after the switch: under a second. Then v1 must load")


def test_a_quarantine_names_its_rollout() -> None:
    shown = quarantine_view(Quarantine("chat", "v2", NOW, "r-1", "errors"))
    assert shown.model_dump() == {
        "model": "chat",
        "version": "v2",
        "since": AT,
        "rollout": "r-1",
        "reason": "errors",
    }
