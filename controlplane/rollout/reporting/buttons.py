"""Buttons of a rollout's messages, and the sentences of a message that is edited when they change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alerts.interfaces import Button, Notice
from controlplane.rollout.model import Phase, Rollout, RolloutKind, StepKind
from controlplane.rollout.wishes import WishVerb, full_of

APPROVE, BACK, DETAILS = "rollout.approve", "rollout.back", "rollout.details"
"""Names of the actions. The value of APPROVE is `ID STEP`, that of the others is the rollout's id."""
NOT_MOVED = "nothing has moved yet"
_MEANS: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.PLANNED: "No engine has got an order yet",
        Phase.PREPARING: "{new} is loaded and tried; no client's request goes to it",
        Phase.SWITCHING: "{new} gets a part of the requests",
        Phase.VERIFYING: "{new} gets every request and is watched",
        Phase.DRAINING: "{new} is the stable version; {old} ends",
    }
)


def may_go_back(rollout: Rollout) -> bool:
    """Return whether a request to go back changes something now: the rollout is a promotion that goes forward."""
    forward = rollout.plan.kind is RolloutKind.PROMOTE and rollout.ending is None and not rollout.turn_back
    return forward and not rollout.finished and rollout.phase is not Phase.ROLLING_BACK


def buttons_of(rollout: Rollout, back: str) -> tuple[Button, ...]:
    """Return the buttons of the message about a rollout. `back` says how long a rollback takes."""
    if rollout.finished:
        return ()
    return (*_back("Roll back", rollout, back), Button("Details", DETAILS, rollout.id))


def buttons_of_approval(rollout: Rollout, back: str) -> tuple[Button, ...]:
    """Return the buttons of the message that asks for an approval of the rollout's current step."""
    approve = Button("Approve", APPROVE, f"{rollout.id} {rollout.step}", "primary")
    return (approve, *_back("Reject and roll back", rollout, back), Button("Details", DETAILS, rollout.id))


def _back(text: str, rollout: Rollout, back: str) -> tuple[Button, ...]:
    if not may_go_back(rollout):
        return ()
    old, new = rollout.plan.from_version, rollout.plan.to_version
    needs = f" Time needed: {back}." if back else ""
    asks = f"Send every request of {rollout.model} to {old} again and take {new} out?{needs}"
    return (Button(text, BACK, rollout.id, "danger", asks),)


def face(rollout: Rollout) -> tuple[object, ...]:
    """Return the facts that the message about a running rollout shows. When they change, the message is edited."""
    retiring = rollout.plan.steps[rollout.step].kind is StepKind.RETIRE
    return rollout.phase, rollout.switched, rollout.ending, may_go_back(rollout), retiring


def standing(rollout: Rollout) -> Notice:
    """Return the content of the message about a running rollout."""
    model, old, new = rollout.model, rollout.plan.from_version, rollout.plan.to_version
    if rollout.phase is Phase.ROLLING_BACK or rollout.turn_back:
        why = rollout.turn_back or rollout.reason
        text = f"{rollout.sentence}." if why in rollout.sentence else f"{why}. {rollout.sentence}."
        return Notice(f"Rollout of {model} to {new} goes back to {old}", text, "warning")
    # Not the rollout's sentence: it changes with every step, and the message only with the phase.
    text = f"{_MEANS[rollout.phase].format(old=old, new=new)}. Asked for by {rollout.created_by}."
    return Notice(f"Rollout of {model} to {new} is {rollout.phase}", text, "info")


def answered(before: Rollout, after: Rollout) -> Notice:
    """Return the content of a message that asked something at a step which `after` has left: who answered, and how."""
    model, new = after.model, after.plan.to_version
    if after.turn_back or after.phase is Phase.ROLLING_BACK or after.ok is False:
        return Notice(f"Rollout of {model} to {new} goes back", f"{after.turn_back or after.sentence}.", "warning")
    approved = [w.actor for w in after.wishes if w.verb is WishVerb.APPROVE and w.step == before.step]
    if approved:
        who = " and ".join(dict.fromkeys(approved))
        return Notice(f"Rollout of {model} to {new} was approved", f"Approved by {who}.", "info")
    full = full_of(after.wishes)
    how = f"{full.actor} gave {new} every request at once" if full else "Nothing is asked any more"
    return Notice(f"Rollout of {model} to {new} goes on", f"{how}.", "info")
