"""Steps that wait: for a time, for approvals, for an analysis, for the end of the rollback window. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import Outcome, WorkKind, WorkState
from controlplane.rollout.handlers.situation import NOTHING, Situation, for_operator, must_carry, standing, waiting
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.options import Analysis, Approval
from controlplane.rollout.steps import at, phase_of, share_of
from controlplane.rollout.verdict import judge, nothing_tried
from controlplane.rollout.wishes import DATA, TIME, Wait, WaitKind, approvers, resumed
from controlplane.rollout.words.sentences import count, uncounted
from controlplane.telling import lasting


def over(now_is: Situation) -> bool:
    """Return whether the current step's own time is over, or whether it was approved or resumed."""
    rollout = now_is.rollout
    if resumed(rollout.wishes, rollout.step, TIME):
        return True
    if now_is.step.until_approved:
        return bool(approvers(rollout.wishes, rollout.step, "operator", ""))
    return now_is.now - now_is.since >= now_is.step.hold_s


def time_left(now_is: Situation, doing: str) -> Decision:
    """Return the decision to wait until the current step's time is over."""
    step, rollout = now_is.step, now_is.rollout
    if step.until_approved:
        words = f"{doing} until it is approved (`cp rollouts approve {rollout.id}`)"
        return waiting(now_is, Wait(WaitKind.APPROVAL, words))
    return waiting(now_is, Wait(WaitKind.TIME, f"{doing} for {lasting(step.hold_s)}", now_is.since + step.hold_s))


def has(rollout: Rollout) -> str:
    """Return the candidate's part of the requests during the current step, in words."""
    share, version = share_of(rollout), rollout.plan.to_version
    return f"{version} gets {100 * share:g}% of the requests" if share else f"{version} is ready and gets no requests"


def pause(now_is: Situation) -> Decision | Rollout:
    """Wait for a time, or until an operator approves or resumes."""
    if (broken := must_carry(now_is)) is not None:
        return broken
    return now_is.rollout if over(now_is) else time_left(now_is, f"{has(now_is.rollout)}; pausing")


def approve(now_is: Situation) -> Decision | Rollout:
    """Wait for the approvals of the step's moment. The person who started the rollout cannot approve it."""
    rollout = now_is.rollout
    if standing(rollout) is not Phase.PLANNED and (broken := must_carry(now_is)) is not None:
        return broken
    wanted = [each for each in rollout.plan.options.approvals if each.at is now_is.step.moment]
    missing = [words for each in wanted if (words := _missing(rollout, each))]
    if not missing:
        return rollout
    words = f"Waiting for {' and '.join(missing)} (`cp rollouts approve {rollout.id}`)"
    return waiting(now_is, Wait(WaitKind.APPROVAL, words))


def _missing(rollout: Rollout, approval: Approval) -> str:
    """Return the approvals that are missing, in words, or ""."""
    people = approvers(rollout.wishes, rollout.step, approval.role, rollout.created_by)
    left = approval.count - len(people)
    if left <= 0:
        return ""
    so_far = f", so far {', '.join(people)}" if people else ""
    return f"{left} approval{'' if left == 1 else 's'} by role {approval.role}{so_far}, not by {rollout.created_by}"


def analyse(now_is: Situation) -> Decision | Rollout:
    """Wait for the step's time, and until the latest look since the share was set has passed."""
    rollout = now_is.rollout
    if (broken := must_carry(now_is)) is not None:
        return broken
    look = latest_look(rollout)
    if now_is.now - now_is.since < now_is.step.hold_s:
        return time_left(now_is, f"{has(rollout)}; analysing{_says(look)}")
    if look is not None and look.finding is not None and look.finding.outcome is Outcome.PASS:
        return rollout
    if resumed(rollout.wishes, rollout.step, DATA):
        return rollout
    impatient = now_is.since + now_is.step.hold_s + (rollout.plan.options.analysis or Analysis()).patience_s
    words = f"{has(rollout)}; the analysis has no verdict yet{_says(look)}"
    if now_is.now <= impatient:
        until = look.finding.enough_at if look and look.finding else None
        return waiting(now_is, Wait(WaitKind.DATA, words, until))
    return for_operator(now_is, words, DATA)


def latest_look(rollout: Rollout) -> WorkState | None:
    """Return the latest look that began after the candidate got its present share, or None."""
    look = rollout.latest_work(WorkKind.LOOK)
    began = rollout.weight_since
    return look if look is not None and began is not None and look.since >= began else None


def _says(look: WorkState | None) -> str:
    """Return the outcome of a look, as a part of a sentence. Its numbers change with every look: findings hold them."""
    return "" if look is None or look.finding is None else f" (the last look: {look.finding.outcome})"


def watch(now_is: Situation) -> Decision | Rollout:
    """Wait until the candidate has had its share for `hold_s` seconds without a break.

    With all requests it is the stable version then.
    """
    rollout, seen, now, evidence = now_is.rollout, now_is.seen, now_is.now, now_is.evidence
    plan, version, hold_s = rollout.plan, rollout.plan.to_version, now_is.step.hold_s
    share = share_of(rollout)
    if (broken := must_carry(now_is)) is not None:
        return broken
    since = now if rollout.verified_since is None else rollout.verified_since
    if now - since < hold_s:
        backends = [seen.backend(url) for url in plan.backends]
        answered = f"{judge(rollout, plan.backends, NOTHING).evidence}; " if rollout.trials else ""
        part = "" if share == 1.0 else f" {100 * share:g}% of the requests"
        words = (
            f"{version} serves{part} on {count(backends)}{uncounted(rollout)}; {answered}"
            f"it must serve without a break for {hold_s:g} s"
        )
        wait = Wait(WaitKind.TIME, words, since + hold_s)
        return replace(at(rollout, phase_of(share), words), verified_since=since, wait=wait)
    if share < 1.0:
        return replace(rollout, verified_since=None)
    verdict = judge(rollout, plan.backends, evidence)
    verified = verdict.tried and not verdict.against
    why = verdict.evidence if verdict.tried else nothing_tried(rollout, evidence)
    warning = f"warning: {verdict.against}" if verdict.against else ""
    judged_now = replace(rollout, verified=verified, evidence="; ".join(filter(None, (warning, why))))
    return replace(judged_now, phase=Phase.DRAINING, phase_at=now, switched=True)


def keep(now_is: Situation) -> Decision | Rollout:
    """Keep the old version loaded until the rollback window is over."""
    rollout = now_is.rollout
    if (broken := must_carry(now_is)) is not None:
        return broken
    if over(now_is):
        return rollout
    old, version = rollout.plan.from_version, rollout.plan.to_version
    return time_left(now_is, f"{version} serves; {old} stays loaded")
