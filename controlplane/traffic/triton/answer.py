"""Judging Triton's answer to a question. Pure.

Status 200 is not enough: a stream answers 200 before its first response, and reports an error as an event.
"""

from __future__ import annotations

from typing import Any

from collectors.probe.protocol import BadAnswer, EventStream
from controlplane.traffic.driver import Question, ServerReply
from controlplane.traffic.engine_server import Reply
from controlplane.traffic.engines.first_token import first_token_s
from controlplane.traffic.engines.judging import fault_of, json_values
from controlplane.traffic.triton.api import error_in


def judged(url: str, question: Question, reply: Reply) -> ServerReply:
    """Return a server's reply with its fault and its time to the first token."""
    found = fault(question, reply.status, reply.body)
    return ServerReply(url, found, reply.seconds, first_token_s(reply, _has_output), reply.body, reply.status)


def fault(question: Question, status: int, body: bytes) -> str:
    """Return the fault of an answer, in the engine's words if there are any; "" for a good answer."""
    answers = _answers(body)
    words = next((found for answer in answers if (found := error_in(answer))), "")
    return fault_of(question, status, _short(words), has_output=any(map(_has_output, answers)))


def _has_output(answer: Any) -> bool:
    return isinstance(answer, dict) and bool(answer)


def _answers(body: bytes) -> list[Any]:
    """Return the JSON values of an answer: one, or one for each event of a stream. Other texts are left out."""
    texts = [body.decode("utf-8", "replace")]
    if body.lstrip().startswith(b"data:"):
        try:
            texts = EventStream().feed(body + b"\n\n")
        except BadAnswer:
            return []
    return json_values(texts)


def _short(words: str, limit: int = 300) -> str:
    return words if len(words) <= limit else words[: limit - 1] + "…"
