"""The invariants of every transition, written without the machine's own code."""

from __future__ import annotations

from controlplane.rollout.findings import Outcome, WorkKind
from controlplane.rollout.model import TERMINAL, Phase, Plan, Rollout, StepKind
from controlplane.rollout.options import Moment, OnFailure
from controlplane.rollout.orders import Order, OrderOutcome, Verb
from controlplane.rollout.wishes import PAUSED, WaitKind, WishVerb, of_hook
from controlplane.traffic.driver import VersionState
from tests.unit.controlplane.rollout.machine.search import describe
from tests.unit.controlplane.rollout.machine.world import NEW, OLD, Fault, State

_GONE_BACK = (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED)


def holds(before: State, fault: Fault | None, after: State) -> None:
    """Raise AssertionError when a transition breaks an invariant."""
    said = f"{describe(before)}\n--{fault}-->\n{describe(after)}"
    _orders(after, said)
    _steps(before.rollout, after.rollout, after.now, said)
    _switch(before, after, said)
    _copies(before, after, said)
    _resumes(before.rollout, after.rollout, said)
    _end(before, fault, after, said)
    assert not (before.rollout.reason and after.rollout.phase not in _GONE_BACK), f"a rollback was undone: {said}"
    works = [(s.work.kind, s.work.name) for s in after.rollout.works]
    assert len(works) == len(set(works)), f"a work is there twice: {said}"
    looks = [work for work in after.running if work.kind is WorkKind.LOOK]
    assert len(looks) <= 1, f"two looks at a time: {said}"


def _orders(state: State, said: str) -> None:
    """Check the orders that a transition gave: each once at a time, and only what its state allows."""
    rollout, decision = state.rollout, state.decision
    assert decision is not None
    for order in decision.orders:
        assert state.sent.count(order) == 1, f"an order is out twice: {said}"
        if order.verb is not Verb.PLACE:
            continue
        if decision.phase in (Phase.ROLLING_BACK, *TERMINAL):
            assert order.serve == OLD, f"a rollback that orders the candidate: {said}"
            others = [i for i in rollout.intents if i.order.backend == order.backend]
            assert others, f"a rollback reached a backend that got no order: {said}"
        elif order.serve == NEW and not rollout.switched:
            _forward(state, order, said)


def _forward(state: State, order: Order, said: str) -> None:
    """Check an order that sends clients to the candidate."""
    rollout = state.rollout
    seen = state.observed().backend(order.backend)
    assert seen.reachable, f"an order to a backend that does not answer: {said}"
    if not _apart(rollout.plan):
        return
    if order.share > 0.0:
        assert seen.versions.get(NEW) is VersionState.READY, f"clients for a candidate that is not ready: {said}"
        _gates_before(rollout, rollout.step, said)


def _apart(plan: Plan) -> bool:
    return any(step.kind is StepKind.BRING_UP and step.weight == 0.0 for step in plan.steps)


def _gates_before(rollout: Rollout, step: int, said: str) -> None:
    """Check that every gate before a step was passed."""
    plan = rollout.plan
    full = any(wish.verb is WishVerb.FULL for wish in rollout.wishes)
    for number, each in enumerate(plan.steps[:step]):
        passed = {s.work.name: s.finding for s in rollout.works if s.work.kind.value == each.kind.value and s.finding}
        if each.kind is StepKind.ASK and plan.check.questions:
            assert all(t.finished and not t.failed for t in rollout.trials if not t.of_stable), said
            assert {t.backend for t in rollout.trials} >= set(plan.backends), f"not every backend was asked: {said}"
        elif each.kind in (StepKind.WARM, StepKind.CHECK, StepKind.GOLDEN):
            assert passed, f"gate {each.kind} was not even tried: {said}"
            bad = [f for f in passed.values() if f.outcome is Outcome.FAIL]
            assert not bad, f"gate {each.kind} failed and was passed: {said}"
            if each.kind is not StepKind.GOLDEN:
                assert all(f.outcome is Outcome.PASS for f in passed.values()), f"gate {each.kind}: {said}"
        elif each.kind is StepKind.APPROVE and not (full and each.moment is Moment.STEP):
            people = {w.actor for w in rollout.wishes if w.verb is WishVerb.APPROVE and w.step == number}
            needed = max(a.count for a in plan.options.approvals if a.at is each.moment)
            assert len(people - {rollout.created_by}) >= needed, f"approvals are missing: {said}"


def _steps(before: Rollout, after: Rollout, now: float, said: str) -> None:
    """Check that steps only go forward, and that none with an effect is left out."""
    assert after.step >= before.step, f"a step back: {said}"
    forward = after.phase not in _GONE_BACK
    if not forward:
        return
    full = any(wish.verb is WishVerb.FULL for wish in after.wishes)
    passed = after.plan.steps[before.step : after.step]
    for number, step in enumerate(passed, before.step):
        if step.kind is StepKind.HOOK and not (full and step.moment is Moment.STEP):
            for hook in after.plan.options.hooks:
                called = [s for s in after.works if s.work.kind is WorkKind.HOOK and s.work.name == hook.name]
                done = any(s.finding is not None for s in called)
                assert hook.at is not step.moment or done, f"hook {hook.name} was left out: {said}"
        if step.kind is StepKind.COMMIT:
            commits = [i for i in after.intents if i.order.verb is Verb.COMMIT]
            assert commits, f"the commit was left out: {said}"
        # A watch counts the time since the candidate serves, which may have begun in the step before.
        if step.hold_s and not full and step.kind not in (StepKind.BRING_UP, StepKind.WATCH):
            since = after.steps_at[number]
            resumed = any(wish.verb is WishVerb.RESUME and wish.step == number for wish in after.wishes)
            assert resumed or now - since >= step.hold_s, f"step {number} was too short: {said}"
    if not full:
        orders = [step for step in passed if step.kind in (StepKind.SHIFT, StepKind.MIRROR, StepKind.BRING_UP)]
        assert len(orders) <= 1, f"an order was left out: {said}"
    if after.phase is Phase.SUCCEEDED:
        assert after.switched, f"it succeeded and did not switch: {said}"


def _resumes(before: Rollout, after: Rollout, said: str) -> None:
    """Check that a resume ends the wait that it names, once and for all, and that it ends no other."""
    resumes = {(wish.step, wish.ends) for wish in after.wishes if wish.verb is WishVerb.RESUME}
    wait = after.wait
    if wait is not None and wait.kind is WaitKind.OPERATOR and wait.name != PAUSED:
        assert (after.step, wait.name) not in resumes, f"a resume was lost: {said}"
    steering = [wish.verb for wish in after.wishes if wish.verb is not WishVerb.APPROVE]
    if wait is not None and wait.name == PAUSED and after.phase not in _GONE_BACK:
        assert steering[-1] is WishVerb.PAUSE, f"the resume of a pause was lost: {said}"
    if after.phase in _GONE_BACK:
        return
    full = any(wish.verb is WishVerb.FULL for wish in after.wishes)
    for number, step in enumerate(after.plan.steps[before.step : after.step], before.step):
        if step.kind is not StepKind.HOOK or (full and step.moment is Moment.STEP):
            continue
        for hook in after.plan.options.hooks:
            state = next((s for s in after.works if (s.work.step, s.work.name) == (number, hook.name)), None)
            pauses = hook.at is step.moment and hook.on_failure is OnFailure.PAUSE
            if pauses and state is not None and state.finding is not None and state.finding.outcome is Outcome.FAIL:
                assert (number, of_hook(hook.name)) in resumes, f"a resume counted for another hook: {said}"


def _copies(before: State, after: State, said: str) -> None:
    """Check that copies of requests are as the last step that was passed says."""
    if after.rollout.phase in _GONE_BACK or before.ghosts or after.ghosts:
        return
    passed = after.rollout.plan.steps[before.rollout.step : after.rollout.step]
    orders = [step for step in passed if step.verb is Verb.PLACE]
    full = any(wish.verb is WishVerb.FULL for wish in after.rollout.wishes)
    if orders and not full:
        assert all(server.mirror == orders[-1].mirror for server in after.servers), f"copies: {said}"


def _switch(before: State, after: State, said: str) -> None:
    """Check that the candidate becomes the stable version only while it serves everywhere, after it was watched."""
    if not after.rollout.switched or before.rollout.switched:
        return
    kinds = [step.kind for step in after.rollout.plan.steps]
    assert after.rollout.step >= kinds.index(StepKind.WATCH), f"switched before it was watched: {said}"
    assert all(s.share == 1.0 and s.candidate is VersionState.READY and not s.away for s in after.servers), said


def _end(before: State, fault: Fault | None, after: State, said: str) -> None:
    """Check what is true of the world when a rollout ends."""
    rollout = after.rollout
    if rollout.phase not in TERMINAL:
        assert rollout.finished_at is None, said
        return
    assert rollout.finished_at is not None, said
    latest = [i for i in rollout.intents if i.order.verb is Verb.PLACE and i.order.serve == NEW]
    known = (OrderOutcome.TAKEN, OrderOutcome.REFUSED)
    if rollout.phase is not Phase.SUCCEEDED and not rollout.needs_person:
        assert all(i.outcome in known for i in latest), f"it went back and an order for the candidate is out: {said}"
    if rollout.needs_person or after.ghosts or before.ghosts:
        return  # an order that arrives after the end is beyond every machine; an end for a person promises nothing
    touched = {i.order.backend for i in rollout.intents if i.order.verb is Verb.PLACE}
    servers = [server for url, server in zip(after.urls, after.servers, strict=True) if url in touched]
    if rollout.phase is Phase.SUCCEEDED:
        assert rollout.switched, said
        return
    assert not rollout.switched, f"it went back and the candidate is the stable version: {said}"
    if rollout.ending is None and before.rollout.ending is not None:
        return  # the world was observed when the end was decided, and hooks were called since
    assert all(server.share == 0.0 and server.mirror == 0.0 for server in servers if not server.away), (
        f"it went back and the candidate still gets requests: {said}"
    )
