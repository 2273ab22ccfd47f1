"""The text and the facts of a reply, in each API that questions are asked in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.gateway.request import Content, Finish
from controlplane.rollout.work.replies import Said, said

STOP, LENGTH = Content(Finish.STOP, said=True), Content(Finish.LENGTH, said=True)


def whole(**message: Any) -> bytes:
    return json.dumps(message).encode()


def stream(*messages: Any) -> bytes:
    return b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in messages) + b"data: [DONE]\n\n"


def choice(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
OTHER = {"choices": [{"index": 1, "delta": {"content": "another"}}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            whole(
                choices=[{"message": {"content": "hi"}, "finish_reason": "stop"}],
                usage={"prompt_tokens": 3, "completion_tokens": 2},
            ),
            Said("hi", STOP, 2),
        ),
        (whole(choices=[{"text": "hi", "finish_reason": "length"}]), Said("hi", LENGTH, None)),
        (
            whole(choices=[{"message": {"content": [{"type": "text", "text": "hi"}]}}]),
            Said("hi", Content(said=True), None),
        ),
        (
            stream(
                choice(role="assistant", content=""),
                choice(content="h"),
                OTHER,
                choice(content="i"),
                choice("stop"),
                USAGE,
            ),
            Said("hi", STOP, 2),
        ),
        (b": ping\n\n" + stream(choice(content="hi")), Said("hi", Content(said=True), None)),
        (stream(choice(reasoning_content="hm"), choice("length")), Said("", LENGTH, None)),
        (
            whole(choices=[{"message": {"content": None, "refusal": "No."}}]),
            Said("", Content(said=True, refused=True), None),
        ),
        (
            whole(object="response", status="completed", output=[{"type": "message", "content": [{"text": "hi"}]}]),
            Said("hi", STOP, None),
        ),
        (whole(model_name="m", text_output="hi"), Said("hi", Content(said=True), None)),
        (stream({"text_output": "h"}, {"text_output": "i"}), Said("hi", Content(said=True), None)),
        (whole(outputs=[{"name": "y", "data": ["h", "i"]}]), Said("hi", Content(), None)),
        (b"<html>", Said("", Content(), None)),
        (b"data: a\nnonsense\n\n", Said("", Content(), None)),
        (b"[" * 100_000, Said("", Content(), None)),
        (whole(choices="a"), Said("", Content(), None)),
        (whole(choices=[7]), Said("", Content(), None)),
        (b"", Said("", Content(), None)),
    ],
)
def test_a_reply(body: bytes, expected: Said) -> None:
    assert said(body) == expected
