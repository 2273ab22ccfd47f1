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
from collectors.probe.protocol import BadAnswer, Dialect
from collectors.probe.question import Expectation, Tensors
from collectors.probe.question import Question as Probed
from collectors.probe.triton import Infer
from collectors.probe.whole import said_in
from controlplane.rollout.model import Check
from controlplane.traffic.driver import Answer, Driver, Question

SHOWN = 100
"""Most characters of a question, of an expected text and of an answer in a sentence. Chosen: one line each."""


class Judged(NamedTuple):
    """An answer and its judgement. `fault` is "" for a good one."""

    fault: str
    seconds: float


async def judged(driver: Driver, backend: str, version: str, check: Check, number: int, timeout_s: float) -> Judged:
    """Ask the check's question of this number, counted from 0. Raises NotSent when it could not be sent."""
    question = check.questions[number]
    answer = await driver.ask(backend, version, replace(question, timeout_s=timeout_s))
    fault = answer.fault
    if not fault and question.expect != Expectation():
        # An answer may have megabytes, and the loop serves everyone.
        fault = await asyncio.to_thread(unexpected, question, answer)
    return Judged(f"{_which(check, number)}{fault}" if fault else "", answer.seconds)


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
