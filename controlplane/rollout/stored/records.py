"""Conversion of rollouts to and from stored records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import msgspec

from alerts.errors import NotReadable
from alerts.stored import Document, checked, items, only, reading, upgraded
from controlplane.errors import Unreadable
from controlplane.rollout.findings import WorkState
from controlplane.rollout.model import (
    Gate,
    Phase,
    Plan,
    Rollout,
    RolloutKind,
    RolloutLimits,
    Step,
    StepKind,
    Trial,
)
from controlplane.rollout.options import Moment, Options
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.stored.shape import Shape
from controlplane.rollout.stored.upgrades import UPGRADES, check_of
from controlplane.rollout.strategies import step_of
from controlplane.rollout.wishes import Wait, Wish
from controlplane.store.rollout_rows.records import RolloutRecord

_OPTIONS: Shape[Options] = Shape(Options, "options")
_WISH: Shape[Wish] = Shape(Wish, "wishes")
_WORK: Shape[WorkState] = Shape(WorkState, "works")
_WAIT: Shape[Wait | None] = Shape(Wait | None, "wait")
FORMAT = len(UPGRADES)
"""Format number of `RolloutRecord.state`. A change that adds or renames a key must append an upgrade to UPGRADES."""

_KEYS = frozenset(
    [
        "backends",
        "resident",
        "config",
        "limits",
        "step",
        "steps",
        "plan_notes",
        "known",
        "check",
        "endless_load",
        "phase_at",
        "reason",
        "moved",
        "verified_since",
        "silent_since",
        "intents",
        "trials",
        "verified",
        "evidence",
        "counted",
        "needs_person",
        "told_stuck",
        "standing",
        "notes",
        "previous",
        "options",
        "works",
        "wait",
        "looks_failed",
        "progress_at",
        "steps_at",
        "turned_at",
        "held_since",
        "traffic_since",
        "weight_since",
        "ending",
        "clock_step",
        "gap_from",
        "gap_until",
        "digest",
    ]
)


def to_record(rollout: Rollout) -> RolloutRecord:
    """Return the record that stores a rollout."""
    plan = rollout.plan
    return RolloutRecord(
        id=rollout.id,
        model=plan.model,
        from_version=plan.from_version,
        to_version=plan.to_version,
        kind=plan.kind.value,
        strategy=plan.strategy,
        phase=rollout.phase.value,
        ok=rollout.ok,
        switched=rollout.switched,
        sentence=rollout.sentence,
        turn_back=rollout.turn_back,
        created_by=rollout.created_by,
        created_at=rollout.created_at,
        updated_at=rollout.updated_at,
        finished_at=rollout.finished_at,
        idempotency_key=rollout.idempotency_key,
        request=rollout.request,
        state={"format": FORMAT, **_state_of_plan(plan), **_state(rollout)},
    )


def _state_of_plan(plan: Plan) -> Document:
    return {
        "backends": list(plan.backends),
        "resident": plan.resident,
        "config": plan.config,
        "limits": msgspec.to_builtins(plan.limits),
        "steps": msgspec.to_builtins(plan.steps),
        "plan_notes": list(plan.notes),
        "known": list(plan.known),
        "check": msgspec.to_builtins(plan.check),
        "endless_load": plan.endless_load,
        "options": msgspec.to_builtins(plan.options),
    }


def _state(rollout: Rollout) -> Document:
    return {
        "step": rollout.step,
        "phase_at": rollout.phase_at,
        "reason": rollout.reason,
        "moved": rollout.moved,
        "verified_since": rollout.verified_since,
        "silent_since": rollout.silent_since,
        "intents": msgspec.to_builtins(rollout.intents),
        "trials": msgspec.to_builtins(rollout.trials),
        "verified": rollout.verified,
        "evidence": rollout.evidence,
        "counted": rollout.counted,
        "needs_person": rollout.needs_person,
        "told_stuck": rollout.told_stuck,
        "standing": rollout.standing,
        "notes": list(rollout.notes),
        "previous": rollout.previous,
        "works": [msgspec.to_builtins(without_carry(state)) for state in rollout.works],
        "wait": msgspec.to_builtins(rollout.wait),
        "looks_failed": rollout.looks_failed,
        "progress_at": rollout.progress_at,
        "steps_at": list(rollout.steps_at),
        "turned_at": rollout.turned_at,
        "held_since": rollout.held_since,
        "traffic_since": rollout.traffic_since,
        "weight_since": rollout.weight_since,
        "ending": rollout.ending,
        "clock_step": rollout.clock_step,
        "gap_from": rollout.gap_from,
        "gap_until": rollout.gap_until,
        "digest": rollout.digest,
    }


def from_record(record: RolloutRecord) -> Rollout:
    """Return the rollout as it was stored, by this release or an earlier one.

    Raises Unreadable when a newer release stored it, and when it is damaged.
    """
    try:
        state = upgraded(record.state, UPGRADES)
        only(state, _KEYS)
        with reading():
            return checked(_rollout(record, state))
    except NotReadable as fault:
        raise Unreadable(
            f"rollout {record.id} of model {record.model} cannot be read and is left as it is ({fault}); run the "
            f"release that stored it, restore the database, or give it up: cp rollouts close {record.id}"
        ) from fault


class UnreadRollout(NamedTuple):
    """A stored rollout that cannot be read, and its fault."""

    record: RolloutRecord
    fault: Unreadable


def readable(found: Iterable[RolloutRecord]) -> tuple[list[Rollout], list[UnreadRollout]]:
    """Return the readable rollouts, and the unreadable ones with their faults."""
    rollouts: list[Rollout] = []
    others: list[UnreadRollout] = []
    for record in found:
        try:
            rollouts.append(from_record(record))
        except Unreadable as fault:
            others.append(UnreadRollout(record, fault))
    return rollouts, others


def outline(record: RolloutRecord, sentence: str) -> Rollout | None:
    """Return a rollout with an unreadable state from its columns alone, with `sentence` instead of its own.

    The result is only for display: no order may follow from it. None when the columns cannot be read either.
    """
    try:
        with reading():
            plan = Plan(
                model=record.model,
                from_version=record.from_version,
                to_version=record.to_version,
                kind=RolloutKind(record.kind),
                strategy=record.strategy,
                backends=(),
                resident=False,
                config="",
                limits=RolloutLimits(0.0, 0.0, 0.0),
                steps=(),
                notes=(),
            )
            return checked(
                Rollout(
                    id=record.id,
                    plan=plan,
                    phase=Phase(record.phase),
                    sentence=sentence,
                    created_by=record.created_by,
                    created_at=record.created_at,
                    updated_at=record.updated_at,
                    phase_at=record.updated_at,
                    finished_at=record.finished_at,
                    turn_back=record.turn_back,
                    switched=record.switched,
                    needs_person=True,
                )
            )
    except NotReadable:
        return None


def _plan(record: RolloutRecord, state: Document) -> Plan:
    return Plan(
        model=record.model,
        from_version=record.from_version,
        to_version=record.to_version,
        kind=RolloutKind(record.kind),
        strategy=record.strategy,
        backends=items(state["backends"]),
        resident=state["resident"],
        config=state["config"],
        limits=RolloutLimits(**state["limits"]),
        steps=tuple(_step(item) for item in items(state["steps"])),
        notes=items(state["plan_notes"]),
        known=items(state["known"]),
        check=check_of(state["check"]),
        endless_load=state["endless_load"],
        options=_OPTIONS.read(state["options"]),
    )


def _rollout(record: RolloutRecord, state: Document) -> Rollout:
    plan, ending = _plan(record, state), state["ending"]
    return Rollout(
        id=record.id,
        plan=plan,
        phase=Phase(record.phase),
        sentence=record.sentence,
        created_by=record.created_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
        phase_at=state["phase_at"],
        step=step_of(Phase(record.phase), plan.steps) if state["step"] is None else state["step"],
        finished_at=record.finished_at,
        turn_back=record.turn_back,
        reason=state["reason"],
        moved=state["moved"],
        switched=record.switched,
        verified_since=state["verified_since"],
        silent_since=state["silent_since"],
        intents=tuple(_intent(item) for item in items(state["intents"])),
        trials=tuple(Trial(**trial) for trial in items(state["trials"])),
        verified=state["verified"],
        evidence=state["evidence"],
        counted=state["counted"],
        needs_person=state["needs_person"],
        told_stuck=state["told_stuck"],
        standing=state["standing"],
        notes=items(state["notes"]),
        previous=state["previous"],
        idempotency_key=record.idempotency_key,
        request=record.request,
        wishes=tuple(_WISH.read(wish._asdict()) for wish in record.wishes),
        works=tuple(_WORK.read(item) for item in items(state["works"])),
        wait=_WAIT.read(state["wait"]),
        looks_failed=state["looks_failed"],
        progress_at=state["progress_at"],
        steps_at=items(state["steps_at"]),
        turned_at=state["turned_at"],
        held_since=state["held_since"],
        traffic_since=state["traffic_since"],
        weight_since=state["weight_since"],
        ending=None if ending is None else Phase(ending),
        clock_step=state["clock_step"],
        gap_from=state["gap_from"],
        gap_until=state["gap_until"],
        digest=state["digest"],
    )


def without_carry(state: WorkState) -> WorkState:
    """Return the state without the worker's own data, which is stored with the finding alone."""
    return state if state.finding is None else replace(state, finding=replace(state.finding, carry=""))


def _step(item: Document) -> Step:
    verb, gate = item["verb"], item["gate"]
    moment = item.get("moment")
    enums = {"kind": StepKind(item["kind"]), "verb": verb and Verb(verb), "gate": gate and Gate(gate)}
    return Step(**{**item, **enums, "moment": moment and Moment(moment)})


def _intent(item: Document) -> Intent:
    order = item["order"]
    return Intent(
        Order(**{**order, "verb": Verb(order["verb"]), "keep": items(order["keep"])}),
        item["attempt"],
        item["since"],
        OrderOutcome(item["outcome"]),
        item["detail"],
    )
