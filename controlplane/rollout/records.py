"""Rollouts and observations to and from what the store keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from controlplane.errors import Unreadable
from controlplane.rollout.model import (
    Check,
    Intent,
    Kind,
    Limits,
    Order,
    Outcome,
    Phase,
    Plan,
    Rollout,
    Trial,
    Verb,
)
from controlplane.store.rollout_log import RolloutRecord
from controlplane.traffic.driver import BackendObservation, Question, TrafficObservation, VersionState

FORMAT = 1
"""Of `RolloutRecord.state`. Whoever adds or renames a key counts it up and upgrades what was stored before."""

State = dict[str, Any]


def _to_1(state: State) -> State:
    """Before formats were counted there were no questions, no evidence, and nobody was told of a rollout."""
    trial: State = {"known": (), "check": {}, "endless_load": "", "trials": (), "verified": None, "evidence": ""}
    return trial | {"needs_person": False, "told_stuck": False, "standing": False} | state


_UPGRADES: tuple[Callable[[State], State], ...] = (_to_1,)
"""The function at place n makes format n + 1 of format n."""


def to_record(rollout: Rollout) -> RolloutRecord:
    """Return what is stored of a rollout."""
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
        state={
            "format": FORMAT,
            "backends": list(plan.backends),
            "resident": plan.resident,
            "config": plan.config,
            "limits": asdict(plan.limits),
            "steps": list(plan.steps),
            "plan_notes": list(plan.notes),
            "known": list(plan.known),
            "check": asdict(plan.check),
            "endless_load": plan.endless_load,
            "phase_at": rollout.phase_at,
            "reason": rollout.reason,
            "moved": rollout.moved,
            "verified_since": rollout.verified_since,
            "silent_since": rollout.silent_since,
            "intents": [asdict(intent) for intent in rollout.intents],
            "trials": [asdict(trial) for trial in rollout.trials],
            "verified": rollout.verified,
            "evidence": rollout.evidence,
            "needs_person": rollout.needs_person,
            "told_stuck": rollout.told_stuck,
            "standing": rollout.standing,
            "notes": list(rollout.notes),
            "previous": rollout.previous,
        },
    )


def from_record(record: RolloutRecord) -> Rollout:
    """Return the rollout as it was stored, by this release or an earlier one.

    Raises Unreadable for one of a newer release, and for one that is damaged.
    """
    where = f"rollout {record.id} of model {record.model} cannot be read and is left as it is"
    try:
        stored = int(record.state.get("format", 0))
        if stored > FORMAT:
            raise Unreadable(
                f"{where}: it is of format {stored}, and this release knows {FORMAT}; run the release that stored it"
            )
        return _rollout(record, _upgraded(record.state, stored))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise Unreadable(f"{where} ({fault}); run the release that stored it, or restore the database") from error


def readable(found: Iterable[RolloutRecord]) -> tuple[list[Rollout], list[Unreadable]]:
    """Return the rollouts that can be read, and what is wrong with each of the others."""
    rollouts: list[Rollout] = []
    faults: list[Unreadable] = []
    for record in found:
        try:
            rollouts.append(from_record(record))
        except Unreadable as fault:
            faults.append(fault)
    return rollouts, faults


def _upgraded(state: State, stored: int) -> State:
    for upgrade in _UPGRADES[stored:]:
        state = upgrade(state)
    return state


def _rollout(record: RolloutRecord, state: State) -> Rollout:
    plan = Plan(
        model=record.model,
        from_version=record.from_version,
        to_version=record.to_version,
        kind=Kind(record.kind),
        strategy=record.strategy,
        backends=tuple(state["backends"]),
        resident=state["resident"],
        config=state["config"],
        limits=Limits(**state["limits"]),
        steps=tuple(state["steps"]),
        notes=tuple(state["plan_notes"]),
        known=tuple(state["known"]),
        check=_check(state["check"]),
        endless_load=state["endless_load"],
    )
    return Rollout(
        id=record.id,
        plan=plan,
        phase=Phase(record.phase),
        sentence=record.sentence,
        created_by=record.created_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
        phase_at=state["phase_at"],
        finished_at=record.finished_at,
        turn_back=record.turn_back,
        reason=state["reason"],
        moved=state["moved"],
        switched=record.switched,
        verified_since=state["verified_since"],
        silent_since=state["silent_since"],
        intents=tuple(_intent(item) for item in state["intents"]),
        trials=tuple(Trial(**trial) for trial in state["trials"]),
        verified=state["verified"],
        evidence=state["evidence"],
        needs_person=state["needs_person"],
        told_stuck=state["told_stuck"],
        standing=state["standing"],
        notes=tuple(state["notes"]),
        previous=state["previous"],
        idempotency_key=record.idempotency_key,
        request=record.request,
    )


def observation_to_json(seen: TrafficObservation) -> dict[str, Any]:
    """Return the observation as plain JSON."""
    return asdict(seen)


def observation_from_json(data: dict[str, Any]) -> TrafficObservation:
    """Return the observation that `observation_to_json` gave."""
    return TrafficObservation(
        data["model"],
        tuple(
            BackendObservation(**{**b, "versions": {v: VersionState(s) for v, s in b["versions"].items()}})
            for b in data["backends"]
        ),
    )


def _check(item: dict[str, Any]) -> Check:
    question = item.get("question")
    return Check(**{**item, "question": Question(**question) if question else None})


def _intent(item: dict[str, Any]) -> Intent:
    order = item["order"]
    return Intent(
        Order(Verb(order["verb"]), order["backend"], order["serve"], tuple(order["keep"])),
        item["attempt"],
        item["since"],
        Outcome(item["outcome"]),
        item["detail"],
    )
