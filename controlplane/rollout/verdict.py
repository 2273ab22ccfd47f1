"""The verdict on a candidate from its answers, clients' requests to it, and alerts that fire on it. Pure.

There are three outcomes: the candidate failed, it was tried and nothing counts against it, or nothing tried it. A
candidate that nothing tried never counts as good.
"""

from __future__ import annotations

from typing import NamedTuple

from controlplane.rollout.model import Evidence, Rollout, Trial
from controlplane.rollout.words.sentences import questions

MIN_FAILURES = 3
"""Minimum number of failed client requests for a verdict by their share. Chosen: fewer may be chance."""
MIN_REQUESTS = 10
"""Minimum number of client requests for a verdict by their mean. Chosen: fewer say nothing just after a load."""


class Verdict(NamedTuple):
    """The verdict on a candidate at one moment."""

    against: str
    """The reason to roll back; "" while there is none."""
    evidence: str
    """Counts of questions and requests, in words; "" when there were none."""
    asking: tuple[str, ...]
    """Backends whose questions are not all answered yet."""
    tried: bool
    """Whether the candidate gave at least one good answer, to a question or to a client."""


def judge(rollout: Rollout, backends: tuple[str, ...], evidence: Evidence) -> Verdict:
    """Judge the candidate by its answers on `backends` and by `evidence`."""
    check, version = rollout.plan.check, rollout.plan.to_version
    trials = [trial for url in backends if (trial := rollout.trial(url))]
    against = [words for trial in trials if (words := _against(rollout, trial))]
    against += [f"alert on {version} fires: {alert}" for alert in evidence.alerts]
    against += [f"alert {alert} fires, which `rollback_on` names" for alert in evidence.called_off_by]
    against += _numbers_against(rollout, evidence)
    asking = tuple(url for url in backends if not _finished(rollout, url)) if check.questions else ()
    tried = (
        any(trial.asked > trial.failed + trial.misfits for trial in trials)
        or (evidence.requests or 0.0) > evidence.failed
    )
    return Verdict("; ".join(against), _for(trials, evidence), asking, tried)


def nothing_tried(rollout: Rollout, evidence: Evidence) -> str:
    """Return why the candidate is not verified, in words."""
    seen = f"its numbers could not be read: {evidence.unknown}" if evidence.unknown else "no request to it was counted"
    if rollout.plan.check.questions:
        misfit = next((f" ({trial.remark})" for trial in rollout.trials if trial.remark), "")
        return f"no question got a good answer{misfit}, and {seen}"
    return f"fleet.yaml has neither a `verify:` nor a probe for this model, and {seen}"


def _against(rollout: Rollout, trial: Trial) -> str:
    check, version = rollout.plan.check, rollout.plan.to_version
    if trial.failed > check.failures:
        return f"{version} failed {trial.failed} of {questions(trial.asked)} on {trial.backend}: {trial.words}"
    slow = check.latency_s is not None and trial.median_s is not None and trial.median_s > check.latency_s
    if trial.finished and slow:
        return (
            f"{version} is slow on {trial.backend}: the median of {questions(trial.asked)} took "
            f"{trial.median_s:.3g} s, the limit is {check.latency_s:g} s"
        )
    return ""


def _numbers_against(rollout: Rollout, evidence: Evidence) -> list[str]:
    check, version = rollout.plan.check, rollout.plan.to_version
    if not evidence.requests:
        return []
    found = []
    if evidence.failed >= MIN_FAILURES and evidence.failed > check.error_ratio * evidence.requests:
        found.append(
            f"{evidence.failed:.0f} of {evidence.requests:.0f} requests to {version} failed, as the {evidence.source} "
            f"counts them; the limit is {100 * check.error_ratio:g}%"
        )
    slow = check.latency_s is not None and evidence.mean_s is not None and evidence.mean_s > check.latency_s
    if slow and evidence.requests >= MIN_REQUESTS:
        found.append(
            f"requests to {version} take {evidence.mean_s:.3g} s on average, as the {evidence.source} measures them; "
            f"the limit is {check.latency_s:g} s"
        )
    return found


def _for(trials: list[Trial], evidence: Evidence) -> str:
    asked, failed = sum(t.asked for t in trials), sum(t.failed + t.misfits for t in trials)
    words = []
    if asked:
        slowest = max((t.slowest_s for t in trials if t.slowest_s is not None), default=None)
        took = "" if slowest is None else f", the slowest in {slowest:.2g} s"
        words.append(f"{asked - failed} of {questions(asked)} answered well{took}")
    if remark := next((trial.remark for trial in trials if trial.remark), ""):
        words.append(f"{questions(sum(t.misfits for t in trials))} did not fit: {remark}")
    if evidence.requests:
        low = ", which misses many failures" if evidence.source == "engine" else ""
        words.append(
            f"{evidence.failed:.0f} of {evidence.requests:.0f} requests failed by the {evidence.source}'s count{low}"
        )
    return "; ".join(words)


def _finished(rollout: Rollout, url: str) -> bool:
    trial = rollout.trial(url)
    return trial is not None and trial.finished
