"""Sentences for the steps of a plan. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controlplane.rollout.model import Plan, Step, StepKind
from controlplane.rollout.options import Analysis, Moment
from controlplane.telling import lasting


def step_sentences(plan: Plan) -> tuple[str, ...]:
    """Return one sentence for each step of the plan."""
    return tuple(_WORDS[step.kind](plan, step) for step in plan.steps)


def _bring_up(plan: Plan, step: Step) -> str:
    to, stable, urls = plan.to_version, plan.from_version, plan.backends
    if step.at_once:
        return (
            f"load {to} on {_all(plan)} at once, within {_limit(step)}; nothing serves {plan.model} until it is ready"
        )
    where = urls[0] if len(urls) == 1 else f"{len(urls)} backends one after another ({', '.join(urls)})"
    if step.weight == 0.0:
        return f"have {to} ready beside {stable} on {where}, within {_limit(step)}; it gets no requests yet"
    if plan.resident:
        return f"load {to} beside {stable} on {where}, within {_limit(step)}; {stable} serves until {to} is ready"
    return f"load {to} on {where}, within {_limit(step)}; {stable} serves until {to} is ready, then goes"


def _limit(step: Step) -> str:
    return lasting(step.within_s or 0.0)


def _all(plan: Plan) -> str:
    return plan.backends[0] if len(plan.backends) == 1 else f"all {len(plan.backends)} backends"


def _hooks(plan: Plan, step: Step) -> str:
    names = [hook.name for hook in plan.options.hooks if hook.at is step.moment]
    return f"call {'hook' if len(names) == 1 else 'hooks'} {', '.join(names)} {_MOMENTS[step.moment]}"


def _check(plan: Plan, step: Step) -> str:
    names = ", ".join(item.name for item in plan.options.checklist)
    return f"check the pre-launch checklist ({names}); an item that does not hold ends the rollout"


def _approve(plan: Plan, step: Step) -> str:
    wanted = [approval for approval in plan.options.approvals if approval.at is step.moment]
    many = " and ".join(f"{a.count} approval{'' if a.count == 1 else 's'} by role {a.role}" for a in wanted)
    return f"wait for {many} {_MOMENTS[step.moment]}"


def _files(plan: Plan, step: Step) -> str:
    return f"check that the files of {plan.to_version} are those that were approved"


def _warm(plan: Plan, step: Step) -> str:
    return f"send fixed prompts to {plan.to_version} on {_all(plan)} until its time to first token settles"


def _golden(plan: Plan, step: Step) -> str:
    golden = plan.options.golden
    if golden is None:
        return f"ask {plan.to_version} the golden set"
    least = "; the result is only reported" if golden.dry_run else f"; at least {100 * golden.pass_ratio:g}% must hold"
    count = len(golden.prompts)
    return f"ask {plan.to_version} the {count} prompt{'' if count == 1 else 's'} of the golden set{least}"


def _mirror(plan: Plan, step: Step) -> str:
    return (
        f"send copies of {100 * step.mirror:g}% of the requests to {plan.to_version} for {lasting(step.hold_s)}, and "
        f"compare its answers; clients get those of {plan.from_version}"
    )


def _testers(plan: Plan, step: Step) -> str:
    return f"let testers reach {plan.to_version} by a header{_until(step)}; it gets no other requests"


def _pause(plan: Plan, step: Step) -> str:
    return "pause until it is approved or resumed" if step.until_approved else f"pause for {lasting(step.hold_s)}"


def _until(step: Step) -> str:
    return " until it is approved or resumed" if step.until_approved else f" for {lasting(step.hold_s)}"


def _analyse(plan: Plan, step: Step) -> str:
    analysis = plan.options.analysis or Analysis()
    return (
        f"analyse {plan.to_version} for {lasting(step.hold_s)}, with a look every {lasting(analysis.interval_s)}; the "
        f"last look must pass, with at least {analysis.minimum_requests} requests"
    )


def _keep(plan: Plan, step: Step) -> str:
    return f"keep {plan.from_version} loaded for {lasting(step.hold_s)}, so that a rollback is instant"


_MOMENTS: Mapping[Moment | None, str] = {
    Moment.START: "before anything is loaded",
    Moment.SWITCH: "before the first request goes to the candidate",
    Moment.STEP: "before the next share",
    Moment.FULL: "before every request goes to the candidate",
    Moment.RETIRE: "before the old version is unloaded",
    Moment.ROLLBACK: "when a rollback begins",
    Moment.END: "after the end",
    None: "",
}
"""The moments of hooks and approvals, in words."""


def _shift(plan: Plan, step: Step) -> str:
    part = "every request" if step.weight == 1.0 else f"{100 * (step.weight or 0.0):g}% of the requests"
    return f"send {part} to {plan.to_version} within {_limit(step)}, and wait until requests are counted there"


def _ask(plan: Plan, step: Step) -> str:
    stable = plan.from_version
    back = f"{stable} stays loaded meanwhile" if plan.resident else f"a rollback would have to load {stable} again"
    return f"{_questions(plan)}; {back}"


def _questions(plan: Plan) -> str:
    to, check = plan.to_version, plan.check
    if not check.questions:
        return f"ask {to} no question: fleet.yaml has neither a `verify:` nor a probe for this model"
    each = "" if len(plan.backends) == 1 else " on each"
    many = len(check.questions)
    what = "the question" if many == 1 else f"the {many} questions"
    within_s = max(question.timeout_s for question in check.questions)
    return (
        f"ask {to} {check.requests} times{each} with {what} of {check.origin}, within {within_s:g} s each; at most "
        f"{check.failures} bad answers are allowed"
    )


def _watch(plan: Plan, step: Step) -> str:
    check = plan.check
    slow = "" if check.latency_s is None else f" or takes longer than {check.latency_s:g} s on average"
    return (
        f"watch {plan.to_version} for {lasting(step.hold_s)}: it must serve without a break, and no alert may fire on "
        f"it; it is rolled back when more than {100 * check.error_ratio:g}% of requests fail{slow}"
    )


def _commit(plan: Plan, step: Step) -> str:
    return f"make {plan.to_version} the stable version, also across a restart of the engine"


def _retire(plan: Plan, step: Step) -> str:
    if any(each.kind is StepKind.SHIFT for each in plan.steps):
        end = "unload it where its server can"
        return f"let {plan.from_version} finish its requests and {end}, waiting at most {_limit(step)}"
    return f"unload {plan.from_version} when its requests are finished, waiting at most {_limit(step)}"


_WORDS: Mapping[StepKind, Callable[[Plan, Step], str]] = {
    StepKind.BRING_UP: _bring_up,
    StepKind.ASK: _ask,
    StepKind.SHIFT: _shift,
    StepKind.WATCH: _watch,
    StepKind.COMMIT: _commit,
    StepKind.RETIRE: _retire,
    StepKind.HOOK: _hooks,
    StepKind.CHECK: _check,
    StepKind.FILES: _files,
    StepKind.APPROVE: _approve,
    StepKind.WARM: _warm,
    StepKind.GOLDEN: _golden,
    StepKind.MIRROR: _mirror,
    StepKind.TESTERS: _testers,
    StepKind.PAUSE: _pause,
    StepKind.ANALYSE: _analyse,
    StepKind.KEEP: _keep,
}
