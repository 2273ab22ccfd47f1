"""Notifications of a rollout: it began, it waits, it asks a person, it ended. Pure.

Each notification has its own id. A step that is repeated after a crash therefore notifies nobody twice.

With buttons, messages are also edited in place when a step changes what they show: a button that no longer works
vanishes, and the message says who answered. The messages about a rollout are one group, and each question is another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.interfaces import Button, Message, Notice
from controlplane.rollout.model import Phase, Rollout, RolloutKind, StepKind
from controlplane.rollout.reporting.aftermath import aftermath
from controlplane.rollout.reporting.buttons import (
    NOT_MOVED,
    answered,
    buttons_of,
    buttons_of_approval,
    face,
    standing,
)
from controlplane.rollout.reporting.words import question, waits_for
from controlplane.rollout.wishes import Wait, WaitKind

STUCK_S = 60.0
"""Seconds until a notification is sent about a silent backend or an unfinished rollback. Chosen."""
_BEGUN, _STUCK, _ENDED = 1, 2, 3
_FIRST = 1
"""Number of the message that asks. Edits have the milliseconds of their time as number, so each is another message."""
_KINDS = (WaitKind.APPROVAL, WaitKind.OPERATOR)
"""Waits for a person. Each is announced once for each step, as a group of its own."""


@dataclass(frozen=True)
class Announcer:
    """The notifications of a rollout's steps. Without a receiver there are none."""

    receiver: str = ""
    console_url: str = ""
    buttons: bool = False
    """Whether the receiver's messages have buttons that come back to this control plane."""

    def offers(self, before: Rollout | None, after: Rollout) -> bool:
        """Return whether a message of this step says how long a rollback takes, which costs a query."""
        if not (self.receiver and self.buttons) or before is None or after.finished:
            return False
        return face(after) != face(before) or after.told_stuck != before.told_stuck or _asks(before) != _asks(after)

    def messages(self, before: Rollout | None, after: Rollout, now: float, back: str = "") -> tuple[Message, ...]:
        """Return the notifications of a step from `before` to `after`. `before` is None for a new rollout.

        `back` says how long a rollback would take now. It is needed where `offers`.
        """
        if not self.receiver:
            return ()
        if before is None:
            return (self._about(after, _BEGUN, _begun(after), now, NOT_MOVED),)
        found = []
        if after.finished and not before.finished:
            found.append(self._about(after, _ENDED, _ended(after), now, back))
        elif after.told_stuck and not before.told_stuck:
            found.append(self._about(after, _STUCK, _stuck(after), now, back))
        elif self.buttons and face(after) != face(before):
            found.append(replace(self._about(after, _edit(now), standing(after), now, back), edit=True))
        if self.buttons and _left(before, after):
            found += [
                replace(self._question(before, kind, _edit(now), answered(before, after), now, ()), edit=True)
                for kind in _asked_at(before)
            ]
        asked = question(after)
        if asked is not None and _asks(before) != _asks(after):
            new = (after.step, asked.kind) != (before.step, _kind(question(before)))
            if new or self.buttons:
                number = _FIRST if new else _edit(now)
                buttons = self._answers(after, asked, back)
                message = self._question(after, asked.kind, number, _asked(after, asked), now, buttons)
                found.append(replace(message, edit=not new))
        return tuple(found)

    def _about(self, rollout: Rollout, number: int, notice: Notice, now: float, back: str) -> Message:
        """Return a message about the rollout as a whole."""
        buttons = buttons_of(rollout, back) if self.buttons else ()
        return self._message(f"rollout {rollout.id}", rollout, number, notice, now, buttons)

    def _question(
        self, rollout: Rollout, kind: WaitKind, number: int, notice: Notice, now: float, buttons: tuple[Button, ...]
    ) -> Message:
        """Return a message of the group that asks a person at the rollout's current step."""
        key = f"rollout {rollout.id} step {rollout.step + 1} {kind.value}"
        return self._message(key, rollout, number, notice, now, buttons)

    def _answers(self, rollout: Rollout, asked: Wait, back: str) -> tuple[Button, ...]:
        if not self.buttons:
            return ()
        return buttons_of_approval(rollout, back) if asked.kind is WaitKind.APPROVAL else buttons_of(rollout, back)

    def _message(
        self, key: str, rollout: Rollout, sequence: int, notice: Notice, now: float, buttons: tuple[Button, ...]
    ) -> Message:
        link = f"{self.console_url}/rollouts/{rollout.id}" if self.console_url else ""
        return Message(
            group_key=key,
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
            buttons=buttons,
        )


def stuck(rollout: Rollout, now: float) -> bool:
    """Return whether a running rollout waits so long that a person should look at it."""
    if rollout.finished:
        return False
    silent = rollout.silent_since is not None and now - rollout.silent_since >= STUCK_S
    return silent or (rollout.phase is Phase.ROLLING_BACK and now - rollout.phase_at >= STUCK_S)


def _kind(wait: Wait | None) -> WaitKind | None:
    return None if wait is None else wait.kind


def _edit(now: float) -> int:
    return int(now * 1000)


def _asks(rollout: Rollout) -> tuple[int, WaitKind, str] | None:
    """Return the facts that the message of a question shows, or None when nothing is asked."""
    asked = question(rollout)
    return None if asked is None else (rollout.step, asked.kind, asked.words)


def _left(before: Rollout, after: Rollout) -> bool:
    """Return whether `after` no longer waits at the step of `before`: it went on, went back or ended."""
    turned = after.phase is Phase.ROLLING_BACK and before.phase is not Phase.ROLLING_BACK
    return after.step != before.step or turned or (after.finished and not before.finished)


def _asked_at(rollout: Rollout) -> tuple[WaitKind, ...]:
    """Return the kinds of questions that the rollout's current step asked, also before a pause."""
    step = rollout.plan.steps[rollout.step]
    kind = _kind(question(rollout))
    approves = step.kind is StepKind.APPROVE or step.until_approved
    return tuple(each for each in _KINDS if each is kind or (approves and each is WaitKind.APPROVAL))


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
