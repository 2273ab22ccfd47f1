"""The options of one rollout from fleet.yaml, and from what an operator sets beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
from controlplane.config.rollout.analysis import AnalysisSection
from controlplane.config.rollout.golden import GoldenPromptSection, GoldenSection
from controlplane.config.rollout.section import ApprovalSection, CheckSection, Gates, HookSection, RolloutSection
from controlplane.config.rollout.steps import StepSection
from controlplane.rollout.options import (
    BACKUP,
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
    Judge,
    Metric,
    Moment,
    OnFailure,
    Options,
    Threshold,
    TopUp,
    Warm,
)
from controlplane.rollout.verification import asked

DEFAULT_TOLERANCES: Mapping[Metric, float] = MappingProxyType(
    {
        Metric.ERRORS: 0.005,
        Metric.TTFT: 0.05,
        Metric.INTER_TOKEN: 0.05,
        Metric.DURATION: 0.05,
        Metric.TRUNCATED: 0.02,
        Metric.EMPTY: 0.005,
        Metric.REFUSED: 0.01,
        Metric.OUTPUT_TOKENS: 0.1,
    }
)
"""Differences that are no fault. Chosen: half a percent of errors. For times |AUC - 0.5| of 0.05: a shift of 30% has
0.073 where the logarithm of times spreads with a sigma of 1.0, and 0.145 with 0.5."""
GOLDEN_TOKENS = 1024
"""Most tokens of an answer to a golden prompt that is given as text. Chosen: a page of text or JSON."""
_AFTER_ALL = (Moment.ROLLBACK, Moment.END)
"""Moments of the hooks that a rollback calls too."""


@dataclass(frozen=True)
class Combined:
    """The gates of one rollout: those of fleet.yaml for all models, and those of the model."""

    hooks: tuple[HookSection, ...] = ()
    approvals: tuple[ApprovalSection, ...] = ()
    checklist: tuple[CheckSection, ...] = ()


def combined(shared: Gates, own: Gates) -> Combined:
    """Return the gates of both. A model's hook or check replaces the shared one of its name."""
    hooks = {hook.name: hook for hook in (*shared.hooks, *own.hooks)}
    items = {item.name: item for item in (*shared.checklist, *own.checklist)}
    counts: dict[tuple[str, str], ApprovalSection] = {}
    for approval in (*shared.approvals, *own.approvals):
        key = (approval.at, approval.role)
        if key not in counts or counts[key].count < approval.count:
            counts[key] = approval
    return Combined(tuple(hooks.values()), tuple(counts.values()), tuple(items.values()))


def options_of(
    section: ModelSection,
    rollout: RolloutSection,
    gates: Combined,
    prompts: Sequence[GoldenPromptSection],
    strategy: str,
    attest: Mapping[str, str],
) -> Options:
    """Return the options of a promotion. `prompts` is the golden set, read from its file if it has one."""
    canary = strategy == "canary"
    analysis = rollout.analysis or (AnalysisSection() if canary else None)
    warm, top = rollout.warm, rollout.top_up
    return Options(
        steps=_steps(rollout.steps) if canary else (),
        analysis=_analysis(analysis) if analysis else None,
        warm=Warm(warm.prompts, warm.at_least, warm.at_most, warm.within, warm.timeout) if warm else None,
        golden=_golden(section, rollout.golden, prompts) if rollout.golden else None,
        top_up=TopUp(top.prompts, top.per_minute, top.at_most) if top else None,
        hooks=tuple(_hook(hook) for hook in gates.hooks),
        approvals=tuple(Approval(Moment(each.at), each.count, each.role) for each in gates.approvals),
        checklist=tuple(_item(item, attest.get(item.name, "")) for item in gates.checklist),
        rollback_on=rollout.rollback_on,
        deadline_s=rollout.deadline,
        rollback_window_s=rollout.rollback_window,
        allow_downtime=rollout.allow_downtime,
        after=rollout.after,
    )


def options_of_rollback(gates: Combined, reason: str = "", quarantine: bool = False) -> Options:
    """Return the options of a rollback. No gate delays it; it calls the hooks that tell of its beginning and end."""
    hooks = tuple(_hook(hook) for hook in gates.hooks if Moment(hook.at) in _AFTER_ALL)
    return Options(hooks=hooks, allow_downtime=True, through_freeze=True, reason=reason, quarantine=quarantine)


def _steps(sections: Sequence[StepSection]) -> tuple[CanaryStep, ...]:
    # A last step of 100% is what follows every canary's steps by itself.
    given = sections[:-1] if sections and sections[-1].weight == 1.0 else sections
    return tuple(_step(step) for step in given)


def _step(step: StepSection) -> CanaryStep:
    kind = CanaryStepKind(step.kind)
    lasting = {
        CanaryStepKind.MIRROR: step.for_,
        CanaryStepKind.TESTERS: step.testers,
        CanaryStepKind.PAUSE: step.pause,
        CanaryStepKind.ANALYSE: step.analyse,
    }.get(kind)
    return CanaryStep(kind, step.weight or step.mirror, lasting if isinstance(lasting, float) else None)


def _analysis(section: AnalysisSection) -> Analysis:
    if section.compare is None:
        wanted = [(metric, DEFAULT_TOLERANCES[metric], False) for metric in Metric]
    else:
        named = [(Metric(one.metric), one) for one in section.compare]
        wanted = [
            (metric, DEFAULT_TOLERANCES[metric] if one.tolerance is None else one.tolerance, one.dry_run)
            for metric, one in named
        ]
    quiet = section.dry_run
    return Analysis(
        interval_s=section.interval,
        minimum_requests=section.minimum_requests,
        failures=section.failures,
        patience_s=section.patience,
        false_alarms=section.false_alarms,
        comparisons=tuple(Comparison(metric, size, dry or metric.value in quiet) for metric, size, dry in wanted),
        thresholds=tuple(
            Threshold(one.name, one.expr, one.at_most, one.at_least, one.dry_run or one.name in quiet)
            for one in section.thresholds
        ),
    )


def _golden(section: ModelSection, golden: GoldenSection, prompts: Sequence[GoldenPromptSection]) -> Golden:
    judge = None
    if (by := golden.judge) is not None:
        judge = Judge(by.url, by.model, str(by.key_file) if by.key_file else "", by.key_env or "", by.timeout)
    made = tuple(_prompt(section, one, f"prompt {number}") for number, one in enumerate(prompts, start=1))
    return Golden(made, golden.pass_ratio, judge, golden.dry_run, golden.excerpt_characters)


def _prompt(section: ModelSection, one: GoldenPromptSection, name: str) -> GoldenPrompt:
    question = asked(section, one.path, one.body, one.prompt, one.timeout)
    expect = one.expect
    expected = Expected(
        expect.contains,
        expect.lacks,
        expect.regex or "",
        expect.exact,
        expect.json_schema,
        expect.at_least_characters,
        expect.at_most_characters,
        expect.judged or "",
    )
    body = question.body
    if one.body is None and "max_tokens" in body:
        body = {**body, "max_tokens": GOLDEN_TOKENS}
    return GoldenPrompt(one.name or name, question.path, body, expected, one.timeout)


def _hook(hook: HookSection) -> Hook:
    at = Moment(hook.at)
    meaning = OnFailure.IGNORE if at in _AFTER_ALL else OnFailure(hook.on_failure)
    return Hook(hook.name, at, hook.url, hook.timeout, meaning, auth_of(hook))


def _item(item: CheckSection, attested: str) -> CheckItem:
    if item.builtin:
        return CheckItem(item.name, builtin=item.name)
    if item.backup is not None:
        return CheckItem(item.name, builtin=f"{BACKUP}{item.backup}")
    return CheckItem(item.name, item.expr or "", attested=attested or item.attested or "")
