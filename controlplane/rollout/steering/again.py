"""The request of a rollout that is tried again. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from controlplane.errors import Conflict
from controlplane.rollout.model import Rollout, RolloutKind
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.plan import PROMOTION, Request


def again(rollout: Rollout, actor: str, role: str) -> Request:
    """Return the same request by another person. Raises Conflict for a rollout that is running or has succeeded."""
    plan = rollout.plan
    if not rollout.finished:
        raise Conflict(
            f"rollout {rollout.id} of model {rollout.model} is running ({rollout.phase}: {rollout.sentence}); it can "
            "be retried when it has ended"
        )
    if rollout.ok:
        raise Conflict(f"rollout {rollout.id} of model {rollout.model} succeeded, so there is nothing to retry")
    strategy, overrides = _asked(rollout)
    if plan.kind is RolloutKind.ROLLBACK:
        reason, quarantine = plan.options.reason, plan.options.quarantine
        return Request(
            plan.model, plan.to_version, plan.kind, actor=actor, role=role, reason=reason, quarantine=quarantine
        )
    return Request(plan.model, plan.to_version, plan.kind, strategy, _copied(rollout, overrides), actor, role)


def _copied(rollout: Rollout, overrides: Overrides) -> Overrides:
    """Return the overrides for a retry by another person.

    An attestation stays that of its author, with its time. An override of a freeze was for its own moment: it is not
    copied.
    """
    given = datetime.fromtimestamp(rollout.created_at, UTC)
    origin = f"attested by {rollout.created_by} at {given:%Y-%m-%d %H:%M} UTC for rollout {rollout.id}"
    copied = {name: overrides.copied.get(name, origin) for name in overrides.attest}
    return replace(overrides, copied=copied, override_freeze="")


def _asked(rollout: Rollout) -> tuple[str, Overrides]:
    """Return the strategy and the overrides of a rollout's request, from the text of its fingerprint."""
    plan = rollout.plan
    rest = rollout.request.removeprefix(f"{plan.kind.value} {plan.model} {plan.to_version} ")
    strategy, _, text = rest.partition(" ")
    try:
        overrides = Overrides.from_json(json.loads(text)) if text else Overrides()
    except (ValueError, TypeError):
        return plan.strategy, Overrides()  # the text of another release
    # A request without a strategy has that of fleet.yaml, also the next time.
    by_default = strategy == PROMOTION and plan.strategy != PROMOTION
    return ("" if by_default else strategy), overrides
