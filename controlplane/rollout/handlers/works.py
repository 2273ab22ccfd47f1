"""Steps that need slow work: hooks, the checklist, the warm gate, the golden set, mirrored answers. Pure."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind, WorkState
from controlplane.rollout.going_back import turn_back
from controlplane.rollout.handlers.situation import AGAIN_S, Situation, for_operator, must_carry, waiting
from controlplane.rollout.model import Decision, Rollout
from controlplane.rollout.options import Analysis, Hook, OnFailure
from controlplane.rollout.wishes import DATA, Wait, WaitKind, of_hook, resumed
from controlplane.telling import lasting

MAX_WARMINGS = 30
"""Number of warm-ups of a backend that find too little before the rollout goes back. Chosen: five minutes."""


BACKUP_S = 86400.0
"""Seconds that a rollout waits for a backup. Chosen: a run that hangs is stopped long before."""


class Progress(NamedTuple):
    """The progress of one work of a step."""

    finding: Finding | None
    """The finding on which the step can go on. None: the work runs, or is repeated because it found too little."""
    works: tuple[Work, ...] = ()
    """The work to run now."""
    words: str = ""
    """Why the latest attempt found too little; "" when there was none."""
    attempts: int = 1


def progress(now_is: Situation, kind: WorkKind, name: str = "", *, of_any_step: bool = False) -> Progress:
    """Return the progress of a work. A work that found too little is repeated after AGAIN_S seconds.

    `of_any_step`: a finding of an earlier step counts too.
    """
    rollout = now_is.rollout
    state = rollout.latest_work(kind, name)
    if state is None or (state.work.step != rollout.step and not (of_any_step and _final(state))):
        return Progress(None, (Work(kind, rollout.step, name),))
    if state.finding is None or state.at is None:
        return Progress(None, (state.work,), attempts=state.work.number)
    if _final(state):
        return Progress(state.finding, attempts=state.work.number)
    words = _first(state.finding)
    if now_is.now - state.at < AGAIN_S:
        return Progress(None, (), words, state.work.number)
    again = Work(kind, rollout.step, name, state.work.number + 1)
    return Progress(None, (again,), words, state.work.number)


def _final(state: WorkState) -> bool:
    return state.finding is not None and state.finding.outcome is not Outcome.NOT_ENOUGH


def _first(finding: Finding) -> str:
    return finding.reasons[0] if finding.reasons else "no reason was given"


def _working(now_is: Situation, doing: str, *found: Progress) -> Decision:
    """Return the decision to wait for works that are not done."""
    why = "; ".join(each.words for each in found if each.words)
    words = f"{doing}{f': {why}' if why else ''}"
    works = tuple(work for each in found for work in each.works)
    return replace(waiting(now_is, Wait(WaitKind.WORK, words)), works=works)


def call_hooks(now_is: Situation) -> Decision | Rollout:
    """Call the hooks of the step's moment, one after another."""
    rollout = now_is.rollout
    for hook in rollout.plan.options.hooks:
        if hook.at is now_is.step.moment and (open_yet := _hook(now_is, hook)) is not None:
            return open_yet
    return rollout


def _hook(now_is: Situation, hook: Hook) -> Decision | None:
    """Return the decision about a hook that does not let the rollout go on, or None."""
    rollout = now_is.rollout
    work = Work(WorkKind.HOOK, rollout.step, hook.name)
    state = rollout.work(work)
    if state is None or state.finding is None or state.at is None:
        return _working(now_is, f"Calling hook {hook.name}", Progress(None, (work,)))
    if state.finding.outcome is Outcome.PASS or hook.on_failure is OnFailure.IGNORE:
        return None
    fault = f"hook {hook.name} failed: {_first(state.finding)}"
    if hook.on_failure is OnFailure.ROLL_BACK:
        return turn_back(rollout, now_is.seen, now_is.now, fault)
    name = of_hook(hook.name)
    return None if resumed(rollout.wishes, rollout.step, name) else for_operator(now_is, fault, name)


def check_list(now_is: Situation) -> Decision | Rollout:
    """Check every item of the checklist. An item that does not hold ends the rollout before anything is changed.

    So does an item that cannot be checked for the analysis's patience, and a backup that does not end in BACKUP_S.
    """
    rollout = now_is.rollout
    found = {item.name: progress(now_is, WorkKind.CHECK, item.name) for item in rollout.plan.options.checklist}
    failed = [
        f"{name}: {_first(each.finding)}"
        for name, each in found.items()
        if each.finding and each.finding.outcome is Outcome.FAIL
    ]
    if failed:
        return turn_back(rollout, now_is.seen, now_is.now, f"the checklist is not fulfilled: {'; '.join(failed)}")
    missing = {name: each for name, each in found.items() if each.finding is None}
    if not missing:
        return rollout
    patience_s = (rollout.plan.options.analysis or Analysis()).patience_s
    backups = {item.name for item in rollout.plan.options.checklist if item.backup}
    limit_s = BACKUP_S if missing.keys() <= backups else patience_s
    if now_is.now - now_is.since > limit_s:
        # A resume must not pass a check, and nothing was changed yet: the end is harmless.
        unknown = "; ".join(f"{name}: {each.words or 'no answer came'}" for name, each in missing.items())
        words = f"the checklist could not be checked within {lasting(limit_s)}: {unknown}"
        return turn_back(rollout, now_is.seen, now_is.now, words)
    return _working(now_is, "Checking the checklist", *missing.values())


def warm_one(now_is: Situation, url: str) -> Decision | None:
    """Return the decision while the candidate on a backend is not warm, or None when it is."""
    rollout = now_is.rollout
    if rollout.plan.options.warm is None:
        return None
    found, version = progress(now_is, WorkKind.WARM, url, of_any_step=True), rollout.plan.to_version
    if found.finding is None:
        if found.words and found.attempts >= MAX_WARMINGS:
            words = f"{version} could not be warmed up on {url} in {found.attempts} attempts: {found.words}"
            return turn_back(rollout, now_is.seen, now_is.now, words)
        return _working(now_is, f"Warming {version} up on {url}", found)
    if found.finding.outcome is Outcome.FAIL:
        words = f"{version} did not get warm on {url}: {_first(found.finding)}"
        return turn_back(rollout, now_is.seen, now_is.now, words)
    return None


def warm(now_is: Situation) -> Decision | Rollout:
    """Warm the candidate up on every backend."""
    if (broken := must_carry(now_is)) is not None:
        return broken
    for url in now_is.rollout.plan.backends:
        if (open_yet := warm_one(now_is, url)) is not None:
            return open_yet
    return now_is.rollout


def ask_golden(now_is: Situation) -> Decision | Rollout:
    """Ask the candidate the golden set."""
    if (broken := must_carry(now_is)) is not None:
        return broken
    golden, version = now_is.rollout.plan.options.golden, now_is.rollout.plan.to_version
    dry_run = golden is not None and golden.dry_run
    failed = f"{version} does not pass the golden set"
    return judged_by(now_is, WorkKind.GOLDEN, f"Asking {version} the golden set", failed, dry_run=dry_run)


def check_files(now_is: Situation) -> Decision | Rollout:
    """Check that the candidate's files are those that were approved."""
    version = now_is.rollout.plan.to_version
    doing, failed = f"Reading the files of {version}", f"{version} is refused"
    return judged_by(now_is, WorkKind.FILES, doing, failed)


def judged_by(
    now_is: Situation, kind: WorkKind, doing: str, failed: str, *, dry_run: bool = False
) -> Decision | Rollout:
    """Wait for the finding of a work that judges the candidate. FAIL rolls back, unless it is a dry run.

    Where it finds too little for the analysis's patience, the rollout waits for an operator.
    """
    rollout, found = now_is.rollout, progress(now_is, kind)
    if found.finding is not None:
        if found.finding.outcome is Outcome.FAIL and not dry_run:
            return turn_back(rollout, now_is.seen, now_is.now, f"{failed}: {_first(found.finding)}")
        return rollout
    if resumed(rollout.wishes, rollout.step, DATA):
        return rollout
    impatient = now_is.since + (rollout.plan.options.analysis or Analysis()).patience_s
    if not found.words or now_is.now <= impatient:
        return _working(now_is, doing, found)
    # It is repeated while the operator thinks: what was missing may come.
    return replace(for_operator(now_is, f"{doing} found too little: {found.words}", DATA), works=found.works)
