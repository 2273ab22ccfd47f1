"""Notifications of a rollout: it began, it waits, it asks a person, it ended. Pure.

Each notification has its own id. A step that is repeated after a crash therefore notifies nobody twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.interfaces import Message, Notice
from controlplane.rollout.model import Phase, Rollout, RolloutKind
from controlplane.rollout.reporting.aftermath import aftermath
from controlplane.rollout.reporting.words import question, waits_for
from controlplane.rollout.wishes import Wait, WaitKind

STUCK_S = 60.0
"""Seconds until a notification is sent about a silent backend or an unfinished rollback. Chosen."""
_BEGUN, _STUCK, _ENDED, _QUESTIONS = 1, 2, 3, 10
_KINDS = (WaitKind.APPROVAL, WaitKind.OPERATOR)
"""Waits for a person. Each is announced once for each step: its sequence is _QUESTIONS and more."""


@dataclass(frozen=True)
class Announcer:
    """The notifications of a rollout's steps. Without a receiver there are none."""

    receiver: str = ""
    console_url: str = ""

    def messages(self, before: Rollout | None, after: Rollout, now: float) -> tuple[Message, ...]:
        """Return the notifications of a step from `before` to `after`. `before` is None for a new rollout."""
        if not self.receiver:
            return ()
        if before is None:
            return (self._message(after, _BEGUN, _begun(after), now),)
        found = []
        if after.finished and not before.finished:
            found.append(self._message(after, _ENDED, _ended(after), now))
        elif after.told_stuck and not before.told_stuck:
            found.append(self._message(after, _STUCK, _stuck(after), now))
        asked = question(after)
        if asked is not None and (after.step, asked.kind) != (before.step, _kind(question(before))):
            sequence = _QUESTIONS + len(_KINDS) * after.step + _KINDS.index(asked.kind)
            found.append(self._message(after, sequence, _asked(after, asked), now))
        return tuple(found)

    def _message(self, rollout: Rollout, sequence: int, notice: Notice, now: float) -> Message:
        link = f"{self.console_url}/rollouts/{rollout.id}" if self.console_url else ""
        return Message(
            group_key=f"rollout {rollout.id}",
            receiver=self.receiver,
            status="notice",
            group_labels=(("model", rollout.model),),
            firing=(),
            resolved=(),
            sequence=sequence,
            generation=int(rollout.created_at),
            console_url=link,
            sent_at=datetime.fromtimestamp(now, UTC),
            notice=replace(notice, subject=f"{rollout.plan.from_version} -> {rollout.plan.to_version}"),
        )


def stuck(rollout: Rollout, now: float) -> bool:
    """Return whether a running rollout waits so long that a person should look at it."""
    if rollout.finished:
        return False
    silent = rollout.silent_since is not None and now - rollout.silent_since >= STUCK_S
    return silent or (rollout.phase is Phase.ROLLING_BACK and now - rollout.phase_at >= STUCK_S)


def _kind(wait: Wait | None) -> WaitKind | None:
    return None if wait is None else wait.kind


def _asked(rollout: Rollout, wait: Wait) -> Notice:
    model, new = rollout.model, rollout.plan.to_version
    if wait.kind is WaitKind.APPROVAL:
        return Notice(f"Rollout of {model} to {new} waits for an approval", f"{waits_for(rollout)}.", "info")
    return Notice(f"Rollout of {model} to {new} needs a decision", f"{waits_for(rollout)}.", "warning")


def _begun(rollout: Rollout) -> Notice:
    verb = "Promotion" if rollout.plan.kind is RolloutKind.PROMOTE else "Rollback"
    return Notice(f"{verb} of {rollout.model} to {rollout.plan.to_version} began", f"{rollout.sentence}.", "info")


def _stuck(rollout: Rollout) -> Notice:
    title = f"Rollout of {rollout.model} to {rollout.plan.to_version} waits"
    return Notice(title, rollout.sentence, "warning")


def _left_behind(rollout: Rollout) -> str:
    """Return what became of the version that a rollback left, as the end of a sentence."""
    if not rollout.plan.options.quarantine:
        return ""
    old = rollout.plan.from_version
    return f". {old} is in quarantine: `cp quarantine lift {rollout.model} {old} --reason TEXT` lifts it"


def _ended(rollout: Rollout) -> Notice:
    model, old, new = rollout.model, rollout.plan.from_version, rollout.plan.to_version
    promoted = rollout.plan.kind is RolloutKind.PROMOTE
    if rollout.needs_person:
        return Notice(f"Rollout of {model} to {new} needs a person", rollout.sentence, "critical")
    if rollout.ok:
        how = "" if rollout.verified else ", loaded and not tried"
        return Notice(f"{model} is on {new}{how}", f"{rollout.sentence}{_left_behind(rollout)}", "info")
    after = aftermath(rollout, quarantined=rollout.phase is Phase.ROLLED_BACK and promoted)
    assert after is not None  # the rollout has ended, and not well
    text = f"{rollout.sentence}. {after.consequence}. Next step: {after.next}"
    if rollout.wished:
        return Notice(f"{model} is back on {old}, as asked", text, "info")
    return Notice(f"{new} of {model} failed; {old} serves", text, "warning")
