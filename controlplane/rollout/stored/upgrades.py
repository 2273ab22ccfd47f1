"""Upgrades of the states of rollouts that earlier releases stored. Pure."""

from __future__ import annotations

from dataclasses import asdict

from alerts.stored import Document, Upgrade, items, reading
from collectors.probe.question import Expectation
from controlplane.rollout.model import Check, RolloutLimits
from controlplane.rollout.strategies import Setting, blue_green
from controlplane.traffic.driver import Question


def check_of(item: Document) -> Check:
    """Return the check of a stored one in the newest format. Raises what a malformed document raises."""
    questions = tuple(map(_question, items(item["questions"])))
    return Check(**{**item, "questions": questions, "answered": items(item.get("answered", ()))})


def _question(item: Document) -> Question:
    return Question(**{**item, "expect": Expectation(**item["expect"])})


def _to_1(state: Document) -> Document:
    """Upgrade a state without a format number: it has no questions, no evidence and no notifications."""
    trial: Document = {"known": (), "check": {}, "endless_load": "", "trials": (), "verified": None, "evidence": ""}
    return {**trial, "needs_person": False, "told_stuck": False, "standing": False, **state}


def _to_2(state: Document) -> Document:
    """Upgrade format 1: its steps were sentences, and every plan was blue-green, so the deadlines define the steps."""
    with reading():
        steps = tuple(blue_green(Setting(RolloutLimits(**state["limits"]), check_of(_with_questions(state["check"])))))
    return {**state, "steps": [asdict(step) for step in steps], "step": None}


def _to_3(state: Document) -> Document:
    """Upgrade format 2: every order sent all requests to its version, and no driver counted them."""
    with reading():
        intents = [{**intent, "order": {**intent["order"], "share": 1.0}} for intent in items(state["intents"])]
    return {**state, "intents": intents, "counted": None}


def _to_4(state: Document) -> Document:
    """Upgrade format 3: it had no options, no works beside the state machine, and no copies of requests."""
    with reading():
        intents = [{**intent, "order": {**intent["order"], "mirror": 0.0}} for intent in items(state["intents"])]
        progress = {"progress_at": state["phase_at"], "looks_failed": 0}
    unset = dict.fromkeys(("wait", "turned_at", "held_since", "traffic_since", "weight_since", "ending"))
    return {**state, "intents": intents, "options": {}, "works": [], "steps_at": [], **progress, **unset}


def _to_5(state: Document) -> Document:
    """Upgrade format 4: moves of its times were not stored with it."""
    return {**state, "clock_step": "", "gap_from": None, "gap_until": None}


def _to_6(state: Document) -> Document:
    """Upgrade format 5: the files of versions were not checked."""
    return {**state, "digest": ""}


def _to_7(state: Document) -> Document:
    """Upgrade format 6: a check had one question, and nothing was expected of its answer but that there is one."""
    with reading():
        return {**state, "check": _with_questions(state["check"])}


def _to_8(state: Document) -> Document:
    """Upgrade format 7: a question that does not fit was a failed one, and the stable version was not compared."""
    with reading():
        trials = [{**trial, "misfits": 0, "remark": ""} for trial in items(state["trials"])]
        return {**state, "check": {**state["check"], "answered": []}, "trials": trials}


def _with_questions(check: Document) -> Document:
    """Return a check of format 6, with its only question among its questions."""
    question = check.get("question")
    expected = {"expect": asdict(Expectation()), "output": "", "prompt": ""}
    rest = {name: value for name, value in check.items() if name != "question"}
    return {**rest, "questions": [{**question, **expected}] if question else []}


UPGRADES: tuple[Upgrade, ...] = (_to_1, _to_2, _to_3, _to_4, _to_5, _to_6, _to_7, _to_8)
"""Upgrades by the format that they convert."""
