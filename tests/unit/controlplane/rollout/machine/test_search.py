"""No state without a way out, no clients for a version that is not ready, no effect left out: for each strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.model import Check, Plan, RolloutKind, RolloutLimits, StepKind
from controlplane.rollout.options import (
    Analysis,
    Approval,
    CanaryStep,
    CanaryStepKind,
    CheckItem,
    Golden,
    Hook,
    Moment,
    OnFailure,
    Options,
    Warm,
)
from controlplane.rollout.strategies import STRATEGIES, Setting, steps
from controlplane.traffic.driver import Question
from tests.unit.controlplane.rollout.machine.invariants import holds
from tests.unit.controlplane.rollout.machine.search import Found, search
from tests.unit.controlplane.rollout.machine.world import JUMPS, NEW, OLD, begin

LIMITS = RolloutLimits(load_s=13.0, drain_s=13.0, verify_s=5.0)
CHECK = Check((Question("infer", {}, 200, 5.0),), 1, 0, origin="`verify:`")
ANALYSIS = Analysis(interval_s=5.0, patience_s=10.0)
WEIGHT, MIRROR, TESTERS, PAUSE = (
    CanaryStepKind.WEIGHT,
    CanaryStepKind.MIRROR,
    CanaryStepKind.TESTERS,
    CanaryStepKind.PAUSE,
)
PEOPLE = Options(
    approvals=(Approval(Moment.START), Approval(Moment.SWITCH, 2), Approval(Moment.FULL, 1, "admin")),
    hooks=tuple(
        Hook(moment.value, moment, "http://h", on_failure=failure)
        for moment, failure in zip(
            Moment,
            (
                OnFailure.ROLL_BACK,
                OnFailure.PAUSE,
                OnFailure.IGNORE,
                OnFailure.ROLL_BACK,
                OnFailure.PAUSE,
                OnFailure.IGNORE,
                OnFailure.IGNORE,
            ),
            strict=True,
        )
    ),
    checklist=(CheckItem("docs"), CheckItem("load test")),
)
GATES = Options(warm=Warm(), golden=Golden(()), analysis=ANALYSIS, rollback_window_s=5.0)
SHARES = (
    CanaryStep(MIRROR, 0.1, 5.0),
    CanaryStep(TESTERS, for_s=5.0),
    CanaryStep(WEIGHT, 0.05),
    CanaryStep(WEIGHT, 0.5),
)


def plan(strategy: str, options: Options, *, splits: bool, backends: int = 1, resident: bool = True) -> Plan:
    resident = resident and STRATEGIES[strategy].keeps
    setting = Setting(LIMITS, CHECK, options, resident, splits)
    urls = tuple(f"s{number}" for number in range(backends))
    made = steps(strategy, setting)
    return Plan(
        "m", OLD, NEW, RolloutKind.PROMOTE, strategy, urls, resident, "", LIMITS, made, (), (), CHECK, "", options
    )


CASES = {
    "blue-green behind a gateway": (plan("blue-green", GATES, splits=True), True, 2),
    "blue-green on two servers": (plan("blue-green", Options(), splits=False, backends=2), False, 2),
    "blue-green with people": (plan("blue-green", PEOPLE, splits=True), True, 1),
    "canary with every step": (plan("canary", replace(GATES, steps=SHARES), splits=True), True, 2),
    "canary with a deadline": (plan("canary", Options(steps=SHARES[2:3], deadline_s=20.0), splits=True), True, 2),
    "canary with files": (plan("canary", Options(steps=SHARES[2:3], files=True), splits=True), True, 1),
    "rolling with files": (plan("rolling", replace(PEOPLE, files=True), splits=False, backends=2), False, 1),
    "canary with people": (
        plan("canary", replace(PEOPLE, steps=(CanaryStep(WEIGHT, 0.05), CanaryStep(PAUSE))), splits=True),
        True,
        1,
    ),
    "rolling over two servers": (plan("rolling", GATES, splits=False, backends=2, resident=False), False, 2),
    "rolling without gates": (plan("rolling", Options(), splits=False, backends=3, resident=False), False, 2),
    "recreate on two servers": (plan("recreate", Options(), splits=False, backends=2), False, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_every_state_has_a_way_out_and_no_transition_breaks_an_invariant(case: str) -> None:
    made, splits, most = CASES[case]
    found: Found = search(begin(made, splits=splits), holds, most)
    print(case, found.states, found.transitions, sorted(found.ends))
    assert {"succeeded", "rolled-back", "failed"} <= found.ends
    assert found.steps == set(range(len(made.steps))), "a step that no transition enters"


HARMLESS = frozenset(
    (
        "drop",
        "apply and lose",
        "hold",
        "late",
        "hang",
        "too little",
        "no answer",
        "away",
        "crash before sending",
        "crash after sending",
        "freeze",
        "pause",
        "resume",
        "full",
        *(f"resume, then {what}" for what in JUMPS),
    )
)
"""Faults that say nothing against the candidate: replies that are lost or late, deaths of the control plane, people."""


@pytest.mark.parametrize("case", CASES)
def test_lost_replies_deaths_and_pauses_never_cost_a_rollout(case: str) -> None:
    made, splits, most = CASES[case]
    found = search(begin(made, splits=splits), holds, most, HARMLESS)
    assert found.ends == {"succeeded"}


def test_the_cases_have_every_kind_of_step() -> None:
    assert {step.kind for made, _, _ in CASES.values() for step in made.steps} == set(StepKind)
