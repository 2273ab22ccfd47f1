"""Asking one version one question, and comparing the answer with what the question expects.

Drivers judge whether an answer is one. The words of a fault name the question, what was expected, and what came: both
short, and without keys.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NamedTuple

from collectors.logs.masking import masked
from collectors.probe.dialects import dialect_for
from collectors.probe.misfit import DENIED, MISFITS
from collectors.probe.protocol import BadAnswer, Dialect
from collectors.probe.question import Expectation, Tensors
from collectors.probe.question import Question as Probed
from collectors.probe.triton import Infer
from collectors.probe.whole import said_in
from controlplane.errors import Unavailable
from controlplane.rollout.model import Check
from controlplane.traffic.driver import Answer, Driver, NotSent, Question, VersionState

SHOWN = 100
"""Most characters of a question, of an expected text and of an answer in a sentence. Chosen: one line each."""


class Judged(NamedTuple):
    """An answer and its judgement. `fault` is "" for a good one."""

    fault: str
    seconds: float
    refused: bool = False
    """Whether a server that works did not take the question, by its status."""


async def judged(driver: Driver, backend: str, version: str, check: Check, number: int, timeout_s: float) -> Judged:
    """Ask the check's question of this number, counted from 0. Raises NotSent when it could not be sent."""
    question = check.questions[number]
    answer = await driver.ask(backend, version, replace(question, timeout_s=timeout_s))
    fault = answer.fault
    if not fault and question.expect != Expectation():
        # An answer may have megabytes, and the loop serves everyone.
        fault = await asyncio.to_thread(unexpected, question, answer)
    return Judged(f"{_which(check, number)}{fault}" if fault else "", answer.seconds, _is_refusal(answer))


class Control(NamedTuple):
    """The answer of the stable version to a question that the candidate refused."""

    well: bool
    """Whether it answers the question well. If not, the question is not known to fit."""
    words: str


async def control(driver: Driver, backend: str, stable: str, check: Check, number: int) -> Control:
    """Ask the stable version the same question, on `backend` or else on another one where it is ready.

    Where it is ready nowhere, cannot be reached, or gives a bad answer that is no refusal, its answer at the time of
    planning counts.
    """
    for url in sorted(await _ready_on(driver, stable), key=lambda url: url != backend):
        try:
            answer = await judged(driver, url, stable, check, number, check.questions[number].timeout_s)
        except NotSent:
            continue
        if not answer.fault:
            return Control(True, f"{stable} answers it well")
        if answer.refused:
            return Control(False, f"{stable} refuses it too")
        break  # one timeout of the stable version is no excuse for the candidate
    known = check.answered[number] if number < len(check.answered) else None
    if known is None:
        return Control(False, f"{stable} is not known to answer it well")
    return Control(known, f"{stable} {'answered it well' if known else 'did not answer it well'} before the rollout")


async def _ready_on(driver: Driver, version: str) -> list[str]:
    """Return the backends where a version is ready. Any engine refuses the questions to one that is not loaded."""
    try:
        seen = await driver.observe()
    except Unavailable:
        return []
    return [each.url for each in seen.backends if each.versions.get(version) is VersionState.READY]


def _is_refusal(answer: Answer) -> bool:
    faulty = [reply for reply in answer.replies if reply.fault]
    return bool(faulty) and all(reply.status in MISFITS | DENIED for reply in faulty)


def unexpected(question: Question, answer: Answer) -> str:
    """Return what was expected and what came instead, of the first server with a wrong answer; "" without one."""
    if not answer.replies:
        return "the driver of this model shows no answers, so nothing can be expected of them"
    dialect = _dialect(question)
    for reply in answer.replies:
        try:
            text, dimension = said_in(dialect, reply.body)
        except BadAnswer as error:
            return f"expected {_wanted(question.expect)}, and {reply.url} gave no answer of {question.path} ({error})"
        if not question.expect.holds(text, dimension):
            came = f"{_quoted(text)} came" if dimension is None else f"a vector of {dimension} numbers came"
            return f"expected {_wanted(question.expect)}, and {came} from {reply.url}"
    return ""


def _which(check: Check, number: int) -> str:
    """Return the question in words, as the begin of a sentence. "": it is the only one, and nothing is expected."""
    question = check.questions[number]
    if len(check.questions) == 1 and question.expect == Expectation():
        return ""
    prompt = f" ({_quoted(question.prompt)})" if question.prompt else ""
    of = "the question" if len(check.questions) == 1 else f"question {number + 1} of {len(check.questions)}"
    return f"{of}{prompt}: "


def _wanted(expect: Expectation) -> str:
    words = []
    if expect.contains:
        words.append(f"a text with {_quoted(expect.contains)}")
    if expect.regex:
        words.append(f"a text that matches {_quoted(expect.regex)}")
    if expect.dimension is not None:
        words.append(f"a vector of {expect.dimension} numbers")
    return " and ".join(words)


def _quoted(text: str) -> str:
    return f'"{masked(" ".join(text.split()), SHOWN)}"'


def _dialect(question: Question) -> Dialect:
    """Return the protocol of a question. Its body is made already, so only answers are read with it."""
    probed = Probed(tensors=Tensors(output=question.output))
    return Infer("-", probed) if question.path == "infer" else dialect_for(f"/{question.path}", None, "-", probed)
