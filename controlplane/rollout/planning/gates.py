"""The gates of a planned rollout with their present state, one sentence each. A dry run shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from collectors.durations import format_duration
from controlplane.rollout.findings import Finding, Outcome
from controlplane.rollout.options import Approval, Hook, Moment, OnFailure, Options
from controlplane.rollout.planning.capacity import Capacity
from controlplane.rollout.planning.freeze import Freeze, FreezeWindow

_STATE = {Outcome.PASS: "passes now", Outcome.FAIL: "does not pass now", Outcome.NOT_ENOUGH: "is unknown now"}
_WHEN = {
    Moment.START: "before the candidate is loaded",
    Moment.SWITCH: "before the candidate gets its first request of a client",
    Moment.STEP: "before each further weight",
    Moment.FULL: "before the candidate gets every request",
    Moment.RETIRE: "before the old version is unloaded",
    Moment.ROLLBACK: "when a rollback begins",
    Moment.END: "after the end",
}
_MEANING = {
    OnFailure.ROLL_BACK: "a failure rolls back",
    OnFailure.PAUSE: "a failure pauses the rollout until an operator resumes it",
    OnFailure.IGNORE: "a failure stops nothing",
}


def freeze_sentence(windows: Sequence[FreezeWindow], freeze: Freeze | None) -> str:
    """Return the state of the freeze windows."""
    if freeze is not None:
        return f"freeze: {str(freeze).removeprefix('freeze ')}"
    names = ", ".join(window.name for window in windows)
    return f"freeze: none of the windows holds now ({names})" if names else "freeze: fleet.yaml has no freeze windows"


def approval_sentence(approval: Approval) -> str:
    """Return what an approval waits for."""
    people = f"{approval.count} other {'person' if approval.count == 1 else 'people'}"
    verb = "approves" if approval.count == 1 else "approve"
    return f"approval: {people} of role {approval.role} {verb} {_WHEN[approval.at]}"


def hook_sentence(hook: Hook) -> str:
    """Return when a hook is called, and what its failure means."""
    address = hook.url.partition("?")[0]  # the query may hold a key
    return f"hook {hook.name}: {address} is called {_WHEN[hook.at]}; {_MEANING[hook.on_failure]}"


def sentences(
    options: Options,
    windows: Sequence[FreezeWindow],
    freeze: Freeze | None,
    capacity: Capacity | None,
    checked: Mapping[str, Finding],
) -> Iterator[str]:
    """Yield the gates of a rollout in the order in which they are passed. `checked` holds the checklist's findings."""
    yield freeze_sentence(windows, freeze)
    for model in options.after:
        yield f"order: {model} comes first; it is not rolling, and its last promotion did not fail"
    if capacity is not None:
        yield f"capacity: {capacity.sentence}"
    for item in options.checklist:
        finding = checked.get(item.name)
        state = _STATE[finding.outcome] if finding else "is checked when the rollout starts"
        why = finding.reasons[0].removeprefix(f"{item.name}: ") if finding else ""
        yield f"check {item.name} {state}{f': {why}' if why else ''}"
    yield from map(hook_sentence, options.hooks)
    yield from map(approval_sentence, options.approvals)
    yield from _of_the_candidate(options)


def _of_the_candidate(options: Options) -> Iterator[str]:
    if (warm := options.warm) is not None:
        yield f"warm-up: {warm.at_least} to {warm.at_most} requests until the time to first token settles"
    if (golden := options.golden) is not None:
        number = f"{len(golden.prompts)} prompt{'' if len(golden.prompts) == 1 else 's'}"
        only = ", reported only" if golden.dry_run else ""
        yield f"golden set: {100 * golden.pass_ratio:g}% of {number} must hold{only}"
    if (analysis := options.analysis) is not None:
        metrics = ", ".join(one.metric.value for one in analysis.comparisons if not one.dry_run)
        limits = ", ".join(one.name for one in analysis.thresholds if not one.dry_run)
        yield (
            f"analysis: every {format_duration(analysis.interval_s)}, from {analysis.minimum_requests} requests on; "
            f"compared: {metrics or 'nothing'}; thresholds: {limits or 'none'}"
        )
    if options.rollback_on:
        yield f"alerts: {', '.join(options.rollback_on)} on the model roll back"
    if options.deadline_s is not None:
        yield f"deadline: {format_duration(options.deadline_s)} without progress roll back"
    if options.rollback_window_s:
        yield f"rollback window: the old version stays loaded for {format_duration(options.rollback_window_s)}"
