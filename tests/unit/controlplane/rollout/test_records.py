"""Rollouts as documents: every field comes back, and every field is checked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from alerts.errors import NotReadable
from collectors.probe.question import Expectation
from controlplane.errors import Unreadable
from controlplane.rollout.findings import Finding, Outcome, Sample, Work, WorkKind, WorkState
from controlplane.rollout.model import Check, Phase, Plan, Rollout, RolloutKind, RolloutLimits, Trial
from controlplane.rollout.options import (
    Analysis,
    Approval,
    CanaryStep,
    CanaryStepKind,
    CheckItem,
    Comparison,
    Expected,
    Golden,
    GoldenPrompt,
    Hook,
    Metric,
    Moment,
    OnFailure,
    Options,
    Threshold,
    TopUp,
    Warm,
)
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.stored.observations import observation_from_json, observation_to_json
from controlplane.rollout.stored.records import (
    FORMAT,
    from_record,
    outline,
    readable,
    to_record,
)
from controlplane.rollout.strategies import Setting, blue_green
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.rollout_rows.records import RolloutRecord
from controlplane.store.stored import Damaged
from controlplane.traffic.driver import BackendObservation, Question, TrafficObservation, VersionState

OPTIONS = Options(
    steps=(CanaryStep(CanaryStepKind.WEIGHT, 0.05), CanaryStep(CanaryStepKind.PAUSE)),
    analysis=Analysis(
        comparisons=(Comparison(Metric.TTFT, 0.1, dry_run=True),), thresholds=(Threshold("t", "up", at_least=1.0),)
    ),
    warm=Warm(("hi",)),
    golden=Golden((GoldenPrompt("g", "infer", {"x": [1]}, Expected(("a",), json_schema={"type": "object"})),)),
    top_up=TopUp(("hi",)),
    hooks=(Hook("h", Moment.START, "http://h", on_failure=OnFailure.PAUSE),),
    approvals=(Approval(Moment.FULL, 2, "admin"),),
    checklist=(CheckItem("docs", attested="http://d"),),
    rollback_on=("LLMErrorRateHigh",),
    deadline_s=600.0,
    rollback_window_s=60.0,
    allow_downtime=True,
    after=("other",),
    reason="it cuts answers",
    quarantine=True,
    notes=("ann overrode the freeze",),
)
QUESTIONS = (
    Question("infer", {"inputs": [1]}, 200, 2.0),
    Question("generate", {"text_input": "hi"}, expect=Expectation("h", "i$", 3), output="answer", prompt="hi"),
)
PLAN = Plan(
    model="chat",
    from_version="v1",
    to_version="v2",
    kind=RolloutKind.PROMOTE,
    strategy="blue-green",
    backends=("http://a:8000", "http://b:8000"),
    resident=True,
    config="{}",
    limits=RolloutLimits(60.0, 30.0, 12.5),
    steps=tuple(blue_green(Setting(RolloutLimits(60.0, 30.0, 12.5), Check()))),
    notes=("cold",),
    known=("no weights",),
    check=Check(QUESTIONS, 3, 1, 0.5, 0.1, "`verify:`", (True, False)),
    endless_load="restart it",
    options=OPTIONS,
)
OLD_CHECK: dict[str, Any] = {
    "question": {"path": "infer", "body": {"inputs": [1]}, "status": 200, "timeout_s": 2.0},
    "requests": 3,
    "failures": 1,
    "latency_s": 0.5,
    "error_ratio": 0.1,
    "origin": "`verify:`",
}
"""The check as releases stored it that knew one question."""
OLD_PLAN = replace(PLAN, check=replace(PLAN.check, questions=QUESTIONS[:1], answered=()))
ROLLOUT = Rollout(
    id="r-1",
    plan=PLAN,
    phase=Phase.VERIFYING,
    sentence="v2 is asked",
    created_by="ann",
    created_at=100.0,
    updated_at=110.0,
    phase_at=105.5,
    reason="why",
    moved=True,
    verified_since=106.0,
    silent_since=107.0,
    intents=(Intent(Order(Verb.PLACE, "http://a:8000", "v2", ("v1",), 0.05), 2, 101.0, OrderOutcome.TAKEN, "ok"),),
    trials=(Trial("http://a:8000", 102.0, 3, 1, 1, "late", "no fit", 0.1, 0.4, True),),
    verified=True,
    evidence="3 of 3",
    counted=False,
    needs_person=True,
    told_stuck=True,
    standing=True,
    notes=("cold",),
    previous="v0",
    idempotency_key="k",
    request="promote chat v2",
    works=(
        WorkState(
            Work(WorkKind.LOOK, 3, number=2),
            108.0,
            Finding(Outcome.FAIL, ("slow",), (Sample("ttft", "seconds", 1.0, None, 10, 0, effect=0.2),), 5, 120.0),
            109.0,
        ),
        WorkState(Work(WorkKind.HOOK, 3, "h"), 108.0),
    ),
    wait=Wait(WaitKind.DATA, "12 requests are missing", 130.0),
    looks_failed=1,
    progress_at=104.0,
    steps_at=(101.0, 102.0),
    turned_at=107.0,
    held_since=102.0,
    traffic_since=103.0,
    weight_since=104.0,
    ending=Phase.ROLLED_BACK,
    clock_step="c0ffee",
    gap_from=108.0,
    gap_until=109.0,
    digest="ab" * 32,
)


OLD_TRIALS = tuple(replace(trial, misfits=0, remark="") for trial in ROLLOUT.trials)
OLD = replace(ROLLOUT, plan=OLD_PLAN, trials=OLD_TRIALS)
"""The rollout as releases knew it that asked one question."""
UNSET: dict[str, Any] = {
    **dict.fromkeys(("wait", "turned_at", "held_since", "traffic_since", "weight_since", "ending")),
    **dict.fromkeys(("gap_from", "gap_until")),
    "clock_step": "",
    "digest": "",
    "works": (),
    "steps_at": (),
    "looks_failed": 0,
    "progress_at": ROLLOUT.phase_at,
}


def stored(rollout: Rollout = ROLLOUT, /, **state: Any) -> RolloutRecord:
    """The record as a database gives it back."""
    record = to_record(rollout)
    return replace(record, state=json.loads(json.dumps(record.state)) | state)


def test_every_field_comes_back() -> None:
    assert from_record(stored()) == ROLLOUT
    bare = replace(ROLLOUT, plan=replace(PLAN, check=Check()), intents=(), trials=(), verified=None, previous=None)
    assert from_record(stored(bare)) == bare


@pytest.mark.parametrize("key", sorted(set(to_record(ROLLOUT).state) - {"format"}))
def test_every_key_is_needed_and_checked(key: str) -> None:
    lacking = {name: value for name, value in stored().state.items() if name != key}
    with pytest.raises(Unreadable, match=f"KeyError: '{key}'"):
        from_record(replace(stored(), state=lacking))
    with pytest.raises(Unreadable, match="rollout r-1 of model chat cannot be read"):
        from_record(stored(**{key: object()}))


@pytest.mark.parametrize("column", ["kind", "phase", "sentence", "created_at", "updated_at", "turn_back", "switched"])
def test_columns_are_checked_too(column: str) -> None:
    changes: dict[str, Any] = {column: Damaged("?")}
    damaged = replace(stored(), **changes)
    with pytest.raises(Unreadable, match="cannot be read"):
        from_record(damaged)
    assert outline(damaged, "said") is None or column == "sentence"


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("options", {"deadline_s": "long"}, r"options: Expected `float \| null`, got `str` - at `\$.deadline_s`"),
        ("options", {"hooks": [{"name": "h", "at": "noon", "url": "u"}]}, r"options: Invalid enum value 'noon'"),
        ("options", {"analysis": {"colour": 1}}, "options: this release does not know colour"),
        ("works", [{"work": {"kind": "look", "step": 1}}], r"works: Object missing required field `since`"),
        ("wait", {"kind": "time"}, "wait: Object missing required field `words`"),
        ("ending", "noon", "'noon' is not a valid Phase"),
    ],
)
def test_a_fault_inside_the_options_and_the_works_is_named(key: str, value: Any, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        from_record(stored(**{key: value}))


def test_the_own_data_of_a_worker_is_not_part_of_the_state() -> None:
    finding = Finding(Outcome.PASS, ("fine",), carry="x" * 1000)
    state = WorkState(Work(WorkKind.LOOK, 3), 1.0, finding, 2.0)
    read = from_record(stored(replace(ROLLOUT, works=(state,))))
    assert read.works == (replace(state, finding=replace(finding, carry="")),)


def test_a_rollout_of_a_release_without_options_goes_on() -> None:
    state = {key: value for key, value in stored().state.items() if key not in {*UNSET, "options"}}
    (intent,) = state["intents"]
    order = {key: value for key, value in intent["order"].items() if key != "mirror"}
    old = {"format": 3, "intents": [{**intent, "order": order}], "check": OLD_CHECK}
    assert from_record(replace(stored(), state=state | old)) == replace(
        OLD, **UNSET, plan=replace(OLD_PLAN, options=Options())
    )


def test_a_rollout_of_a_release_that_checked_no_files_goes_on_without_a_digest() -> None:
    state = {key: value for key, value in stored().state.items() if key != "digest"}
    options = {key: value for key, value in state["options"].items() if key != "files"}
    read = from_record(replace(stored(), state=state | {"format": 5, "options": options, "check": OLD_CHECK}))
    assert read == replace(OLD, digest="")


def test_a_rollout_of_a_release_that_asked_one_question_goes_on_with_it() -> None:
    assert from_record(stored(format=6, check=OLD_CHECK)) == OLD
    unasked = from_record(stored(format=6, check={**OLD_CHECK, "question": None, "requests": 0}))
    assert unasked.plan.check == replace(OLD_PLAN.check, questions=(), requests=0)
    with pytest.raises(Unreadable, match="unexpected keyword argument 'colour'"):
        from_record(stored(format=6, check={**OLD_CHECK, "colour": 1}))


def test_a_rollout_of_a_release_that_compared_no_refusals_goes_on_without_the_stable_versions_answers() -> None:
    state = stored().state
    check = {name: value for name, value in state["check"].items() if name != "answered"}
    trials = [{name: trial[name] for name in trial if name not in ("misfits", "remark")} for trial in state["trials"]]
    read = from_record(stored(format=7, check=check, trials=trials))
    plan = replace(PLAN, check=replace(PLAN.check, answered=()))
    assert read == replace(ROLLOUT, plan=plan, trials=OLD_TRIALS)


def test_the_readable_ones_are_told_from_the_others() -> None:
    newer = replace(stored(format=FORMAT + 1), id="r-2")
    (rollout,), (other,) = readable([newer, stored()])
    assert rollout == ROLLOUT
    assert other.record is newer
    assert str(other.fault) == (
        f"rollout r-2 of model chat cannot be read and is left as it is (it is of format {FORMAT + 1}, and this "
        f"release knows {FORMAT}); run the release that stored it, restore the database, or give it up: "
        "cp rollouts close r-2"
    )


def test_an_outline_has_what_the_columns_say_and_nothing_to_act_on() -> None:
    shown = outline(replace(stored(), state={}), "said")
    assert shown is not None
    assert (shown.id, shown.model, shown.phase, shown.sentence) == ("r-1", "chat", Phase.VERIFYING, "said")
    assert (shown.plan.backends, shown.intents, shown.trials, shown.needs_person) == ((), (), (), True)


SEEN = TrafficObservation(
    "chat",
    (BackendObservation("http://a:8000", True, {"v1": VersionState.READY}, {"v1": "why"}, {"v1": 0.9, "v2": 0.1}),),
)


def test_an_observation_comes_back() -> None:
    assert observation_from_json(json.loads(json.dumps(observation_to_json(SEEN)))) == SEEN


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        [],
        None,
        Damaged("x"),
        {"model": 1, "backends": []},
        {"model": "chat", "backends": "abc"},
        {"model": "chat", "backends": [{"url": "a"}]},
        {"model": "chat", "backends": [observation_to_json(SEEN)["backends"][0] | {"versions": {"v1": "melted"}}]},
        {"model": "chat", "backends": [observation_to_json(SEEN)["backends"][0] | {"weight": 1}]},
    ],
)
def test_a_damaged_observation_is_refused(damaged: Any) -> None:
    with pytest.raises(NotReadable):
        observation_from_json(damaged)


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.PLANNED, "bring-up"),
        (Phase.PREPARING, "bring-up"),
        (Phase.SWITCHING, "bring-up"),
        (Phase.VERIFYING, "ask"),
        (Phase.DRAINING, "commit"),
        (Phase.ROLLING_BACK, "bring-up"),
        (Phase.SUCCEEDED, "bring-up"),
    ],
)
def test_a_rollout_whose_steps_were_sentences_goes_on_at_the_first_step_of_its_phase(phase: Phase, kind: str) -> None:
    record = to_record(replace(ROLLOUT, phase=phase))
    state = {key: value for key, value in record.state.items() if key != "step"}
    before = {"format": 1, "steps": ["load v2 beside v1", "unload v1"], "check": OLD_CHECK}
    old = replace(record, state=state | before)
    read = from_record(old)
    assert read.plan.steps == tuple(blue_green(Setting(read.plan.limits, read.plan.check)))
    assert read.plan.steps[read.step].kind == kind


def test_a_rollout_of_a_release_that_knew_no_shares_of_orders_goes_on() -> None:
    """Its orders sent all requests to their version, and nothing counted them."""
    state = dict(stored().state)
    (intent,) = state["intents"]
    order = {key: value for key, value in intent["order"].items() if key != "share"}
    del state["counted"]
    before = {"format": 2, "intents": [{**intent, "order": order}], "check": OLD_CHECK}
    old = replace(stored(), state=state | before)
    read = from_record(old)
    assert (read.intents[0].order.share, read.counted) == (1.0, None)
    older = replace(OLD, **UNSET, plan=replace(OLD_PLAN, options=Options()))
    assert read == replace(older, counted=None, intents=(replace(ROLLOUT.intents[0], order=read.intents[0].order),))


def test_counts_of_an_observation_are_not_stored_and_the_rest_comes_back() -> None:
    seen = BackendObservation(
        "gateway",
        True,
        {"v1": VersionState.READY, "v2": VersionState.UNKNOWN},
        {"v2": "it does not answer"},
        {"v1": 0.95, "v2": 0.05},
        pending="gateway g2 applies generation 1",
        requests={"v1": 7},
        open={"v1": 1},
        stays=("v1", "v2"),
        holds=True,
    )
    stored_now = json.loads(json.dumps(observation_to_json(TrafficObservation("chat", (seen,)))))
    assert observation_from_json(stored_now).backends == (replace(seen, requests=None, open=None),)


def test_an_observation_of_a_release_that_knew_no_shares_is_read() -> None:
    old = {"url": "u", "reachable": True, "versions": {"v1": "ready"}, "reasons": {}, "serving": "v1", "error": ""}
    (backend,) = observation_from_json({"model": "chat", "backends": [old]}).backends
    assert (backend.serving, dict(backend.weights)) == ("v1", {"v1": 1.0})
