"""Conversion of rollouts and observations to and from stored records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from alerts.errors import NotReadable
from alerts.stored import Document, Upgrade, checked, items, only, reading, upgraded
from controlplane.errors import Unreadable
from controlplane.rollout.model import (
    Check,
    Gate,
    Intent,
    Order,
    OrderOutcome,
    Phase,
    Plan,
    Rollout,
    RolloutKind,
    RolloutLimits,
    Step,
    StepKind,
    Trial,
    Verb,
)
from controlplane.rollout.strategies import blue_green, step_of
from controlplane.store.rollout_log import RolloutRecord
from controlplane.traffic.driver import BackendObservation, Question, TrafficObservation, VersionState, all_to


def _to_1(state: Document) -> Document:
    """Upgrade a state without a format number: it has no questions, no evidence and no notifications."""
    trial: Document = {"known": (), "check": {}, "endless_load": "", "trials": (), "verified": None, "evidence": ""}
    return {**trial, "needs_person": False, "told_stuck": False, "standing": False, **state}


def _to_2(state: Document) -> Document:
    """Upgrade format 1: its steps were sentences, and every plan was blue-green, so the deadlines define the steps."""
    with reading():
        steps = blue_green(RolloutLimits(**state["limits"]), _check(state["check"]))
    return {**state, "steps": [asdict(step) for step in steps], "step": None}


def _to_3(state: Document) -> Document:
    """Upgrade format 2: every order sent all requests to its version, and no driver counted them."""
    with reading():
        intents = [{**intent, "order": {**intent["order"], "share": 1.0}} for intent in items(state["intents"])]
    return {**state, "intents": intents, "counted": None}


_UPGRADES: tuple[Upgrade, ...] = (_to_1, _to_2, _to_3)
FORMAT = len(_UPGRADES)
"""Format number of `RolloutRecord.state`. A change that adds or renames a key must append an upgrade to _UPGRADES."""

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
        state={
            "format": FORMAT,
            "backends": list(plan.backends),
            "resident": plan.resident,
            "config": plan.config,
            "limits": asdict(plan.limits),
            "step": rollout.step,
            "steps": [asdict(step) for step in plan.steps],
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
            "counted": rollout.counted,
            "needs_person": rollout.needs_person,
            "told_stuck": rollout.told_stuck,
            "standing": rollout.standing,
            "notes": list(rollout.notes),
            "previous": rollout.previous,
        },
    )


def from_record(record: RolloutRecord) -> Rollout:
    """Return the rollout as it was stored, by this release or an earlier one.

    Raises Unreadable when a newer release stored it, and when it is damaged.
    """
    try:
        state = upgraded(record.state, _UPGRADES)
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


def _rollout(record: RolloutRecord, state: Document) -> Rollout:
    plan = Plan(
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
    )


_COUNTS = ("requests", "open")


def observation_to_json(seen: TrafficObservation) -> dict[str, Any]:
    """Return the observation as plain JSON. Counts of requests are left out: they change at every observation."""
    backends = [
        {name: value for name, value in asdict(backend).items() if name not in _COUNTS} for backend in seen.backends
    ]
    return {"model": seen.model, "backends": backends}


def observation_from_json(data: Any) -> TrafficObservation:
    """Return the observation from the JSON of `observation_to_json`. Raises alerts.errors.NotReadable."""
    with reading():
        return checked(
            TrafficObservation(
                data["model"],
                tuple(_backend(item) for item in items(data["backends"])),
            )
        )


def _backend(item: Document) -> BackendObservation:
    # Earlier releases stored one serving version and no weights.
    shares = {"weights": all_to(item["serving"])} if "serving" in item else {}
    rest = {key: value for key, value in item.items() if key != "serving"}
    versions = {version: VersionState(state) for version, state in item["versions"].items()}
    stays = items(item.get("stays", ()))
    return BackendObservation(**{**rest, **shares, "versions": versions, "stays": stays})


def _check(item: Document) -> Check:
    question = item.get("question")
    return Check(**{**item, "question": Question(**question) if question else None})


def _step(item: Document) -> Step:
    verb, gate = item["verb"], item["gate"]
    typed = {"kind": StepKind(item["kind"]), "verb": verb and Verb(verb), "gate": gate and Gate(gate)}
    return Step(**{**item, **typed})


def _intent(item: Document) -> Intent:
    order = item["order"]
    return Intent(
        Order(Verb(order["verb"]), order["backend"], order["serve"], items(order["keep"]), order["share"]),
        item["attempt"],
        item["since"],
        OrderOutcome(item["outcome"]),
        item["detail"],
    )
