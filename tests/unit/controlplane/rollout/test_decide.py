"""The step function as tables: what was seen and when, to the phase, the orders and the sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.advance import advance
from controlplane.rollout.decide import decide
from controlplane.rollout.handlers import HANDLERS
from controlplane.rollout.model import Check, Phase, Plan, Rollout, RolloutKind, RolloutLimits, Step, StepKind
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.steps import MAX_ATTEMPTS
from controlplane.rollout.strategies import Setting, blue_green, step_of
from controlplane.rollout.words.step_words import step_sentences
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState, all_to

A, B = "http://a:8000", "http://b:8000"
R, L, U, N = VersionState.READY, VersionState.LOADING, VersionState.UNLOADING, VersionState.UNAVAILABLE
UP, ONLY2, BACK = Order(Verb.PLACE, A, "v2", ("v1",)), Order(Verb.PLACE, A, "v2"), Order(Verb.PLACE, A, "v1")
COMMIT, UNCOMMIT = Order(Verb.COMMIT, "", "v2"), Order(Verb.COMMIT, "", "v1")
ORDERED, TAKEN, REFUSED, LOST, INTERRUPTED = OrderOutcome
P = Phase


def rollout(phase: Phase, *intents: Intent, backends: tuple[str, ...] = (A,), **changes: object) -> Rollout:
    limits = RolloutLimits(load_s=60, drain_s=30, verify_s=5)
    plan = Plan(
        "chat",
        "v1",
        "v2",
        RolloutKind.PROMOTE,
        "blue-green",
        backends,
        True,
        "{}",
        limits,
        tuple(blue_green(Setting(limits, Check()))),
        (),
    )
    base = Rollout("r-1", plan, phase, "so far", "ann", 0, 0, 100, step_of(phase, plan.steps), intents=intents)
    return replace(base, **changes)  # type: ignore[arg-type]  # keyword arguments of any field


def intent(order: Order, outcome: OrderOutcome, attempt: int = 1, detail: str = "") -> Intent:
    return Intent(order, attempt, 100, outcome, detail)


def one(url: str, serving: str | None, v1: VersionState, v2: VersionState, reason: str = "") -> BackendObservation:
    return BackendObservation(url, True, {"v1": v1, "v2": v2}, {"v2": reason} if reason else {}, all_to(serving))


def silent(url: str = A) -> BackendObservation:
    return BackendObservation(url, False, {}, {}, {}, "no route")


def seen(*backends: BackendObservation) -> TrafficObservation:
    return TrafficObservation("chat", backends)


OLD, BOTH, NEW = one(A, "v1", R, N), one(A, "v2", R, R), one(A, "v2", N, R)
LOADING, UNLOADING, NONE = one(A, "v1", R, L), one(A, "v2", U, R), one(A, None, N, N)
DONE = intent(UP, TAKEN)
COMMITTED = intent(COMMIT, TAKEN)


@pytest.mark.parametrize(
    ("state", "backend", "at", "phase", "orders"),
    [
        # bringing the candidate up
        (rollout(P.PLANNED), OLD, 100, P.PREPARING, (UP,)),
        (rollout(P.PLANNED), silent(), 100, P.PREPARING, ()),
        (rollout(P.PLANNED), OLD, 9999, P.PREPARING, (UP,)),
        (rollout(P.PREPARING), silent(), 9999, P.PREPARING, ()),
        (rollout(P.PREPARING, silent_since=200), silent(), 260, P.PREPARING, ()),
        (rollout(P.PREPARING, silent_since=200), silent(), 261, P.FAILED, ()),
        (rollout(P.PREPARING, intent(UP, ORDERED)), OLD, 160, P.PREPARING, ()),
        (rollout(P.PREPARING, intent(UP, ORDERED)), LOADING, 160, P.PREPARING, ()),
        (rollout(P.PREPARING, intent(UP, ORDERED)), LOADING, 161, P.ROLLING_BACK, (BACK,)),
        (rollout(P.PREPARING, intent(UP, ORDERED)), silent(), 160, P.PREPARING, ()),
        (rollout(P.PREPARING, intent(UP, ORDERED)), BOTH, 101, P.VERIFYING, ()),
        (rollout(P.PREPARING, DONE), silent(), 101, P.PREPARING, ()),
        (rollout(P.PREPARING, DONE), LOADING, 101, P.PREPARING, ()),
        (rollout(P.PREPARING, DONE), OLD, 101, P.PREPARING, (UP,)),
        (rollout(P.PREPARING, intent(UP, TAKEN, MAX_ATTEMPTS)), OLD, 101, P.FAILED, ()),
        (rollout(P.PREPARING, intent(UP, LOST)), LOADING, 101, P.PREPARING, ()),
        (rollout(P.PREPARING, intent(UP, LOST)), OLD, 101, P.PREPARING, (UP,)),
        (rollout(P.PREPARING, intent(UP, LOST, MAX_ATTEMPTS)), OLD, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.PREPARING, intent(UP, INTERRUPTED, MAX_ATTEMPTS)), OLD, 101, P.PREPARING, (UP,)),
        (rollout(P.PREPARING, intent(UP, REFUSED)), OLD, 101, P.FAILED, ()),
        (rollout(P.PREPARING, intent(UP, REFUSED)), NONE, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.PREPARING, intent(UP, LOST)), one(A, "v1", R, N, "an old failure"), 101, P.PREPARING, (UP,)),
        # verifying
        (rollout(P.VERIFYING, DONE, verified_since=100), BOTH, 104.9, P.VERIFYING, ()),
        (rollout(P.VERIFYING, DONE, verified_since=100), BOTH, 105, P.DRAINING, (COMMIT,)),
        (rollout(P.VERIFYING, DONE), BOTH, 200, P.VERIFYING, ()),
        (rollout(P.VERIFYING, DONE, verified_since=100), silent(), 9999, P.VERIFYING, ()),
        (rollout(P.VERIFYING, DONE, silent_since=200), silent(), 260, P.VERIFYING, ()),
        (rollout(P.VERIFYING, DONE, silent_since=200), silent(), 261, P.ROLLING_BACK, ()),
        (rollout(P.VERIFYING, DONE, verified_since=100, moved=True), OLD, 104, P.ROLLED_BACK, ()),
        (rollout(P.VERIFYING, DONE, verified_since=100), NONE, 104, P.ROLLING_BACK, (BACK,)),
        # draining
        (rollout(P.DRAINING, DONE, intent(COMMIT, ORDERED)), BOTH, 101, P.DRAINING, ()),
        (rollout(P.DRAINING, DONE, intent(COMMIT, INTERRUPTED)), BOTH, 101, P.DRAINING, (COMMIT,)),
        (rollout(P.DRAINING, DONE, intent(COMMIT, INTERRUPTED, MAX_ATTEMPTS)), BOTH, 101, P.DRAINING, (ONLY2,)),
        (rollout(P.DRAINING, DONE, intent(COMMIT, LOST)), BOTH, 101, P.DRAINING, (COMMIT,)),
        (rollout(P.DRAINING, DONE, intent(COMMIT, LOST, MAX_ATTEMPTS)), BOTH, 101, P.DRAINING, (ONLY2,)),
        (rollout(P.DRAINING, DONE, intent(COMMIT, REFUSED)), BOTH, 101, P.DRAINING, (ONLY2,)),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, ORDERED)), BOTH, 101, P.DRAINING, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, REFUSED)), BOTH, 101, P.DRAINING, (ONLY2,)),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, REFUSED, MAX_ATTEMPTS)), BOTH, 101, P.DRAINING, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), UNLOADING, 130, P.DRAINING, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), UNLOADING, 131, P.SUCCEEDED, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), silent(), 130, P.DRAINING, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), silent(), 131, P.SUCCEEDED, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), NONE, 130, P.DRAINING, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), NONE, 131, P.FAILED, ()),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN)), NEW, 101, P.SUCCEEDED, ()),
        # rolling back
        (rollout(P.ROLLING_BACK, DONE), BOTH, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.ROLLING_BACK, intent(UP, ORDERED)), OLD, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.ROLLING_BACK, intent(UP, LOST)), OLD, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.ROLLING_BACK, intent(BACK, ORDERED)), BOTH, 101, P.ROLLING_BACK, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, ORDERED)), OLD, 101, P.FAILED, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, TAKEN)), LOADING, 101, P.ROLLING_BACK, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, TAKEN)), BOTH, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.ROLLING_BACK, intent(BACK, REFUSED)), BOTH, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.ROLLING_BACK, intent(BACK, REFUSED, MAX_ATTEMPTS)), BOTH, 101, P.FAILED, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, TAKEN)), silent(), 160, P.ROLLING_BACK, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, TAKEN)), silent(), 161, P.FAILED, ()),
        (rollout(P.ROLLING_BACK, intent(BACK, TAKEN), moved=True), one(A, "v1", R, U), 101, P.ROLLED_BACK, ()),
        (rollout(P.ROLLING_BACK, COMMITTED, intent(BACK, TAKEN)), OLD, 101, P.ROLLING_BACK, (UNCOMMIT,)),
        (rollout(P.ROLLING_BACK, intent(UNCOMMIT, ORDERED), intent(BACK, TAKEN)), OLD, 101, P.ROLLING_BACK, ()),
        (rollout(P.ROLLING_BACK, intent(UNCOMMIT, TAKEN), intent(BACK, TAKEN)), OLD, 101, P.FAILED, ()),
        (rollout(P.ROLLING_BACK, intent(UNCOMMIT, LOST), intent(BACK, TAKEN)), OLD, 101, P.ROLLING_BACK, (UNCOMMIT,)),
        (rollout(P.ROLLING_BACK, intent(UNCOMMIT, LOST, MAX_ATTEMPTS), intent(BACK, TAKEN)), OLD, 101, P.FAILED, ()),
        # an operator turns it back
        (rollout(P.PLANNED, turn_back="Aborted by bob"), OLD, 101, P.FAILED, ()),
        (rollout(P.PREPARING, intent(UP, ORDERED), turn_back="Aborted by bob"), LOADING, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.VERIFYING, DONE, turn_back="Rollback by bob"), BOTH, 101, P.ROLLING_BACK, (BACK,)),
        (rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN), turn_back="Rollback"), NEW, 101, P.ROLLING_BACK, (BACK,)),
        # the end
        (rollout(P.SUCCEEDED), OLD, 999, P.SUCCEEDED, ()),
        (rollout(P.FAILED, turn_back="Aborted by bob"), BOTH, 999, P.FAILED, ()),
    ],
)
def test_one_backend(
    state: Rollout, backend: BackendObservation, at: float, phase: Phase, orders: tuple[Order, ...]
) -> None:
    decision = decide(state, seen(backend), at)
    assert (decision.phase, decision.orders) == (phase, orders)
    assert decision.sentence


@pytest.mark.parametrize(
    ("state", "backend", "at", "until"),
    [
        (rollout(P.PREPARING, silent_since=200), silent(), 230, 260),
        (rollout(P.PREPARING), silent(), 230, 290),
        (rollout(P.PREPARING, intent(UP, ORDERED)), LOADING, 150, 160),
        (rollout(P.PREPARING, DONE), LOADING, 150, 160),
        (rollout(P.VERIFYING, DONE, silent_since=200), silent(), 230, 260),
    ],
)
def test_a_wait_for_a_backend_says_when_the_rollout_gives_up(
    state: Rollout, backend: BackendObservation, at: float, until: float
) -> None:
    decision = decide(state, seen(backend), at)
    assert decision.wait is not None
    assert decision.wait.until == until


def test_a_backend_that_was_not_observed_is_unknown() -> None:
    decision = decide(rollout(P.VERIFYING, DONE, verified_since=100), seen(), 104)
    assert decision.phase is P.VERIFYING
    assert "it was not observed" in decision.sentence


def test_backends_go_one_after_another() -> None:
    both = rollout(P.PREPARING, DONE, backends=(A, B))
    decision = decide(both, seen(LOADING, one(B, "v1", R, N)), 101)
    assert decision.orders == (), "b waits until a serves"
    decision = decide(both, seen(BOTH, one(B, "v1", R, N)), 101)
    assert (decision.phase, decision.moved) == (P.SWITCHING, True)
    assert decision.orders == (replace(UP, backend=B),)


def test_each_backend_has_a_load_deadline_of_its_own() -> None:
    """The first one was slow but made it; the second must still be ordered long after the phase began."""
    slow = rollout(P.SWITCHING, DONE, backends=(A, B), moved=True)
    decision = decide(slow, seen(BOTH, one(B, "v1", R, N)), 100 + 59 * 2)
    assert decision.orders == (replace(UP, backend=B),)
    decision = decide(slow, seen(BOTH, silent(B)), 100 + 59 * 2)
    assert (decision.phase, decision.silent_since) == (P.SWITCHING, 218)


def test_an_answer_ends_the_silence() -> None:
    state = rollout(P.VERIFYING, DONE, silent_since=100)
    assert decide(state, seen(BOTH), 150).silent_since is None


def test_going_back_leaves_untouched_backends_alone() -> None:
    state = rollout(P.SWITCHING, DONE, backends=(A, B), turn_back="Aborted by bob", moved=True)
    decision = decide(state, seen(BOTH, silent(B)), 101)
    assert (decision.phase, decision.orders) == (P.ROLLING_BACK, (BACK,))
    state = replace(rollout(P.ROLLING_BACK, intent(BACK, TAKEN), backends=(A, B), moved=True), reason="Aborted by bob")
    decision = decide(state, seen(OLD, silent(B)), 102)
    assert (decision.phase, decision.sentence) == (P.ROLLED_BACK, "Aborted by bob. v1 serves again")


def test_another_version_above_the_candidate_is_named() -> None:
    higher = BackendObservation(A, True, {"v1": R, "v2": R, "v3": R}, {}, all_to("v3"))
    decision = decide(rollout(P.VERIFYING, DONE, verified_since=100), seen(higher), 101)
    assert "v2 is ready but v3 gets the traffic" in decision.sentence


def test_a_commit_that_was_refused_is_said_at_the_end() -> None:
    state = rollout(P.DRAINING, intent(COMMIT, REFUSED, detail="config.pbtxt is read-only"), intent(ONLY2, TAKEN))
    decision = decide(state, seen(NEW), 101)
    assert decision.phase is P.SUCCEEDED
    assert decision.sentence.endswith("; warning: config.pbtxt is read-only")


def test_advance_counts_attempts_but_not_interruptions() -> None:
    state = rollout(P.PREPARING, intent(UP, LOST, 1))
    again = advance(state, decide(state, seen(OLD), 107), 107)
    assert again.intents == (Intent(UP, 2, 100, ORDERED),), "the deadline runs from the first order"
    state = rollout(P.PREPARING, intent(UP, INTERRUPTED, 2))
    assert advance(state, decide(state, seen(OLD), 107), 107).intents == (Intent(UP, 2, 100, ORDERED),)


def test_advance_stamps_phases_and_the_end_once() -> None:
    state = rollout(P.DRAINING, COMMITTED, intent(ONLY2, TAKEN), switched=True)
    ended = advance(state, decide(state, seen(NEW), 107), 107)
    assert (ended.phase_at, ended.finished_at, ended.ok, ended.switched) == (107, 107, True, True)
    assert advance(ended, decide(ended, seen(OLD), 200), 200) == ended


def test_switched_is_true_from_draining_on_and_false_again_after_turning_back() -> None:
    state = rollout(P.VERIFYING, DONE, verified_since=100)
    draining = advance(state, decide(state, seen(BOTH), 105), 105)
    assert draining.switched
    back = replace(draining, turn_back="Rollback by bob")
    assert not advance(back, decide(back, seen(BOTH), 106), 106).switched


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (LOADING, "v1 serves, but this needs a person: v2 is still loading on http://a:8000, where v1 serves. Cure"),
        (silent(), "Whether v1 serves again is unknown, and this needs a person: http://a:8000 does not answer"),
        (BOTH, "The rollback to v1 failed: http://a:8000 is loading v1"),
    ],
)
def test_going_back_has_failed_only_where_something_else_is_seen_to_serve(
    backend: BackendObservation, words: str
) -> None:
    state = rollout(P.ROLLING_BACK, intent(BACK, ORDERED), reason="v2 was not ready")
    state = replace(state, plan=replace(state.plan, endless_load="Cure"))
    ended = decide(state, seen(backend), 161)
    assert (ended.phase, ended.needs_person) == (P.FAILED, True)
    assert ended.sentence.startswith(f"v2 was not ready. {words}")


def test_a_strategy_is_its_steps_and_the_machine_knows_no_more_of_it() -> None:
    """Without questions, watching and a commit: a switch for whoever wants no proof."""
    hasty = (
        Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=1.0, within_s=60),
        Step(StepKind.RETIRE, verb=Verb.PLACE, within_s=30),
    )
    before = rollout(P.PREPARING, DONE)
    before = replace(before, plan=replace(before.plan, steps=hasty))
    moved = decide(before, seen(NEW), 101)
    assert (moved.phase, moved.step) == (P.SUCCEEDED, 1)


def test_each_step_is_remembered_and_gone_on_from() -> None:
    watching = decide(rollout(P.PREPARING, DONE), seen(BOTH), 101)
    assert (watching.phase, watching.step) == (P.VERIFYING, 2)
    after = advance(rollout(P.PREPARING, DONE), watching, 101)
    assert (after.step, after.plan.steps[after.step].kind) == (2, StepKind.WATCH)
    committing = decide(after, seen(BOTH), 107)
    assert (committing.phase, committing.step, committing.orders) == (P.DRAINING, 3, (COMMIT,))


@pytest.mark.parametrize("kind", StepKind)
def test_each_kind_of_step_has_a_handler_and_a_sentence(kind: StepKind) -> None:
    assert kind in HANDLERS
    base = rollout(P.PLANNED).plan
    (sentence,) = step_sentences(replace(base, steps=(Step(kind, within_s=60.0),)))
    assert sentence
