"""The options of a request that make a gate of fleet.yaml weaker. Only an admin may choose them. Pure.

OPTIONS declares for every option which change is a weaker gate. A test compares it with the fields of `rollout:`, so a
new option cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from collectors.durations import format_duration
from controlplane.config.rollout.analysis import AnalysisSection, ComparisonSection
from controlplane.config.rollout.section import ApprovalSection, RolloutSection
from controlplane.config.rollout.steps import StepSection
from controlplane.rollout.options import Metric
from controlplane.rollout.planning.building import DEFAULT_TOLERANCES, Combined
from controlplane.rollout.strategies import DEFAULT_SHARES


class Weaker(StrEnum):
    """The change of an option that makes a gate weaker."""

    LESS = "less"
    MORE = "more"
    """A larger value, or none where there was one."""
    SOONER = "shorter duration"
    LATER = "longer duration, or none"
    LEFT_OUT = "left out"
    """The section, or an item of the list, is missing or is another one."""
    SET = "set"
    """It is switched on."""
    COMPARED = "compared"
    """A function of this module compares it."""
    NEVER = "never"
    """The option is no gate, or a request cannot set it."""


OPTIONS: Mapping[str, Weaker] = MappingProxyType(
    {
        "hooks": Weaker.COMPARED,
        "approvals": Weaker.COMPARED,
        "checklist": Weaker.COMPARED,
        "strategy": Weaker.COMPARED,
        "steps": Weaker.COMPARED,
        "analysis": Weaker.LEFT_OUT,
        "analysis.interval": Weaker.LATER,
        "analysis.minimum_requests": Weaker.LESS,
        "analysis.failures": Weaker.MORE,
        "analysis.patience": Weaker.SOONER,
        "analysis.false_alarms": Weaker.LESS,
        "analysis.compare": Weaker.COMPARED,
        "analysis.thresholds": Weaker.COMPARED,
        "analysis.dry_run": Weaker.COMPARED,
        "warm": Weaker.LEFT_OUT,
        "warm.prompts": Weaker.LEFT_OUT,
        "warm.at_least": Weaker.LESS,
        "warm.at_most": Weaker.MORE,
        "warm.within": Weaker.MORE,
        "warm.timeout": Weaker.LATER,
        "golden": Weaker.LEFT_OUT,
        "golden.prompts": Weaker.LEFT_OUT,
        "golden.file": Weaker.LEFT_OUT,
        "golden.pass_ratio": Weaker.LESS,
        "golden.judge": Weaker.LEFT_OUT,
        "golden.dry_run": Weaker.SET,
        "golden.excerpt_characters": Weaker.MORE,
        # Synthetic requests count for analysis.minimum_requests. A request may add them; they are bounded.
        "top_up": Weaker.NEVER,
        "top_up.prompts": Weaker.NEVER,
        "top_up.per_minute": Weaker.MORE,
        "top_up.at_most": Weaker.MORE,
        "rollback_on": Weaker.LEFT_OUT,
        "deadline": Weaker.LATER,
        "rollback_window": Weaker.SOONER,
        # It has a flag of its own, and the plan names the downtime. Steps that it takes away are compared.
        "allow_downtime": Weaker.NEVER,
        "after": Weaker.LEFT_OUT,
    }
)
"""Every option of `models[].rollout:`, by its path. Items of lists are compared as wholes, or by a function."""

_DURATIONS = (Weaker.SOONER, Weaker.LATER)


def loosened(
    before: Combined,
    after: Combined,
    own: RolloutSection,
    changed: RolloutSection,
    strategy: str = "",
    full: bool = False,
) -> list[str]:
    """Return what an operator takes away from the gates of fleet.yaml, one phrase each.

    `own` is the model's section, `changed` the one of the request. `strategy` is the chosen one, "" that of `changed`.
    `full`: the request leaves out the steps of the canary.
    """
    strategy = strategy or changed.effective_strategy
    canary = own.effective_strategy == "canary"
    hooks = {hook.name for hook in before.hooks} - {hook.name for hook in after.hooks}
    found = [f"leave out the hook {name}" for name in sorted(hooks)]
    found += [f"leave out the check {item.name}" for item in before.checklist if item not in after.checklist]
    found += [f"ask for less than {_told(one)}" for one in before.approvals if not _covered(one, after.approvals)]
    if canary and strategy != "canary":
        found.append(f"leave out the steps of the canary (strategy {strategy})")
    elif canary and full:
        found.append("leave out the steps of the canary")
    elif canary:
        found += _steps(own.steps, changed.steps)
    old, new = _analysed(own, own.effective_strategy), _analysed(changed, strategy)
    for path, weaker in OPTIONS.items():
        found += _weaker(path, weaker, old, new)
    if old.analysis is not None and new.analysis is not None:
        found += _comparisons(old.analysis, new.analysis)
        found += _thresholds(old.analysis, new.analysis)
    return found


def _analysed(section: RolloutSection, strategy: str) -> RolloutSection:
    """Return the section with the analysis that a canary has by default."""
    if section.analysis is not None or strategy != "canary":
        return section
    return section.model_copy(update={"analysis": AnalysisSection()})


def _weaker(path: str, weaker: Weaker, old: RolloutSection, new: RolloutSection) -> Iterator[str]:
    """Yield the phrase for one option that is weaker than before."""
    *parents, name = path.split(".")
    inner_old: Any = old
    inner_new: Any = new
    for parent in parents:
        inner_old, inner_new = getattr(inner_old, parent), getattr(inner_new, parent)
    if inner_old is None or inner_new is None:
        return  # there was no gate, or leaving the whole section out was told
    was, now = getattr(inner_old, name), getattr(inner_new, name)
    tell: Callable[[Any], str] = format_duration if weaker in _DURATIONS else _number
    if weaker in (Weaker.LESS, Weaker.SOONER) and now < was:
        yield f"lower {path} from {tell(was)} to {tell(now)}"
    elif weaker in (Weaker.MORE, Weaker.LATER) and was is not None and (now is None or now > was):
        yield f"raise {path} from {tell(was)} to {tell(now)}" if now is not None else f"leave out {path} ({tell(was)})"
    elif weaker is Weaker.SET and now and not was:
        yield f"only report {path.rpartition('.')[0]}"
    elif weaker is Weaker.LEFT_OUT:
        yield from _left_out(path, was, now)


def _left_out(path: str, was: Any, now: Any) -> Iterator[str]:
    if path == "after":
        yield from (f"not wait for {name}" for name in was if name not in now)
    elif isinstance(was, tuple):
        missing = [item for item in was if item not in now]
        names = [item if isinstance(item, str) else item.name for item in missing]
        if missing:
            yield f"leave out {path}: {', '.join(str(name)[:40] for name in names if name) or len(missing)}"
    elif was is not None and now is None:
        yield f"leave out {path}"


def _number(value: Any) -> str:
    return f"{value:g}"


def _told(approval: ApprovalSection) -> str:
    return f"{approval.count} approval{'s' if approval.count > 1 else ''} of role {approval.role} at {approval.at}"


def _covered(wanted: ApprovalSection, given: tuple[ApprovalSection, ...]) -> bool:
    """Return whether as many approvals of at least this role are still asked for at that moment."""
    fits = [one for one in given if one.at == wanted.at and one.role in (wanted.role, "admin")]
    return any(one.count >= wanted.count for one in fits)


def _steps(old: Sequence[StepSection], new: Sequence[StepSection]) -> Iterator[str]:
    """Yield a phrase for each step that has no equal or stronger one at the same weight."""
    shares = [StepSection(weight=share) for share in DEFAULT_SHARES]
    left = [(at, step) for at, step in _placed(new or shares)]
    for at, step in _placed(old or shares):
        fits = next((each for each in left if each[0] == at and _as_strong(step, each[1])), None)
        if fits is not None:
            left.remove(fits)
        elif step.weight is not None:
            yield f"leave out the step {100 * step.weight:g}%"
        else:
            yield f"leave out or shorten the step {step.kind} at {100 * at:g}%"


def _placed(steps: Sequence[StepSection]) -> Iterator[tuple[float, StepSection]]:
    """Yield each step with the weight that the candidate has during it. The last one, 100%, follows by itself."""
    at = 0.0
    for step in steps:
        at = at if step.weight is None else step.weight
        if step.weight != 1.0:
            yield at, step


def _as_strong(old: StepSection, new: StepSection) -> bool:
    if old.kind != new.kind or (old.mirror or 0.0) > (new.mirror or 0.0):
        return False
    return all(
        _lasting(getattr(old, name)) <= _lasting(getattr(new, name)) for name in ("analyse", "pause", "testers", "for_")
    )


def _lasting(value: float | str | None) -> float:
    """Return a duration for comparison. `approval` is longer than every time, None shorter."""
    return float("inf") if isinstance(value, str) else -1.0 if value is None else value


def _comparisons(old: AnalysisSection, new: AnalysisSection) -> Iterator[str]:
    was, now = _compared(old), _compared(new)
    for metric, (tolerance, dry_run) in was.items():
        if metric not in now:
            yield f"not compare {metric}"
        elif now[metric][1] and not dry_run:
            yield f"only report {metric}"
        elif now[metric][0] > tolerance:
            yield f"raise the tolerance of {metric} from {tolerance:g} to {now[metric][0]:g}"


def _compared(section: AnalysisSection) -> dict[str, tuple[float, bool]]:
    """Return tolerance and dry run by metric."""
    compare = section.compare
    if compare is None:
        compare = tuple(ComparisonSection(metric=metric.value) for metric in Metric)
    return {
        one.metric: (
            DEFAULT_TOLERANCES[Metric(one.metric)] if one.tolerance is None else one.tolerance,
            one.dry_run or one.metric in section.dry_run,
        )
        for one in compare
    }


def _thresholds(old: AnalysisSection, new: AnalysisSection) -> Iterator[str]:
    now = {limit.name: limit for limit in new.thresholds}
    for limit in old.thresholds:
        after = now.get(limit.name)
        if after is None or after.expr != limit.expr:
            yield f"leave out the threshold {limit.name}"
        elif (after.dry_run or limit.name in new.dry_run) and not (limit.dry_run or limit.name in old.dry_run):
            yield f"only report the threshold {limit.name}"
        elif _wider(limit.at_most, after.at_most, 1.0) or _wider(limit.at_least, after.at_least, -1.0):
            yield f"widen the threshold {limit.name}"


def _wider(old: float | None, new: float | None, sign: float) -> bool:
    return old is not None and (new is None or sign * new > sign * old)
