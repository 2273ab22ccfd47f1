"""Sentences for the steps of a plan. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controlplane.rollout.model import Plan, Step, StepKind


def step_sentences(plan: Plan) -> tuple[str, ...]:
    """Return one sentence for each step of the plan."""
    return tuple(_WORDS[step.kind](plan, step) for step in plan.steps)


def _bring_up(plan: Plan, step: Step) -> str:
    to, stable, urls = plan.to_version, plan.from_version, plan.backends
    where = urls[0] if len(urls) == 1 else f"{len(urls)} backends one after another ({', '.join(urls)})"
    if step.weight == 0.0:
        return f"have {to} ready beside {stable} on {where}, within {step.within_s:g} s; it gets no requests yet"
    if plan.resident:
        return f"load {to} beside {stable} on {where}, within {step.within_s:g} s; {stable} serves until {to} is ready"
    return f"load {to} on {where}, within {step.within_s:g} s; {stable} serves until {to} is ready, then goes"


def _shift(plan: Plan, step: Step) -> str:
    part = "every request" if step.weight == 1.0 else f"{100 * (step.weight or 0.0):g}% of the requests"
    return f"send {part} to {plan.to_version} within {step.within_s:g} s, and wait until requests are counted there"


def _ask(plan: Plan, step: Step) -> str:
    stable = plan.from_version
    back = f"{stable} stays loaded meanwhile" if plan.resident else f"a rollback would have to load {stable} again"
    return f"{_questions(plan)}; {back}"


def _questions(plan: Plan) -> str:
    to, check = plan.to_version, plan.check
    if check.question is None:
        return f"ask {to} no question: fleet.yaml has neither a `verify:` nor a probe for this model"
    each = "" if len(plan.backends) == 1 else " on each"
    return (
        f"ask {to} {check.requests} times{each} with the question of {check.origin}, within "
        f"{check.question.timeout_s:g} s each; at most {check.failures} bad answers are allowed"
    )


def _watch(plan: Plan, step: Step) -> str:
    check = plan.check
    slow = "" if check.latency_s is None else f" or takes longer than {check.latency_s:g} s on average"
    return (
        f"watch {plan.to_version} for {step.hold_s:g} s: it must serve without a break, and no alert may fire on it; "
        f"it is rolled back when more than {100 * check.error_ratio:g}% of requests fail{slow}"
    )


def _commit(plan: Plan, step: Step) -> str:
    return f"make {plan.to_version} the stable version, also across a restart of the engine"


def _retire(plan: Plan, step: Step) -> str:
    if any(each.kind is StepKind.SHIFT for each in plan.steps):
        end = "unload it where its server can"
        return f"let {plan.from_version} finish its requests and {end}, waiting at most {step.within_s:g} s"
    return f"unload {plan.from_version} when its requests are finished, waiting at most {step.within_s:g} s"


_WORDS: Mapping[StepKind, Callable[[Plan, Step], str]] = {
    StepKind.BRING_UP: _bring_up,
    StepKind.ASK: _ask,
    StepKind.SHIFT: _shift,
    StepKind.WATCH: _watch,
    StepKind.COMMIT: _commit,
    StepKind.RETIRE: _retire,
}
