"""Answers of Triton, good and bad, as they were seen on a real one."""

from __future__ import annotations

import pytest

from controlplane.traffic.driver import Question
from controlplane.traffic.triton.answer import fault

ASKED = Question("generate_stream")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"outputs":[{"name":"y","data":["hi"]}]}', ""),
        (200, b'data: {"text_output":"hi"}\n\n', ""),
        (200, b'data: {"text_output":"hi"}\n\ndata: {"text_output":""}', ""),
        (200, b"", "answered 200 without any output"),
        (200, b"<html>ok</html>", "answered 200 without any output"),
        (200, b"{}", "answered 200 without any output"),
        (200, b"data: \xff\n\n", "answered 200 without any output"),
        (200, b"data: x\nnonsense\n\n", "answered 200 without any output"),
        (200, b"[" * 5000, "answered 200 without any output"),
        (200, b'data: {"text_output":"a"}\n\ndata: {"error":"CUDA\\nerror"}\n\n', "answered with an error: CUDA error"),
        (400, b'{"error":"Stub process is not healthy."}', "answered 400 instead of 200: Stub process is not healthy."),
        (503, b"", "answered 503 instead of 200"),
        (500, b'{"error":"' + b"x" * 999 + b'"}', f"answered 500 instead of 200: {'x' * 299}…"),
    ],
)
def test_faults(status: int, body: bytes, expected: str) -> None:
    assert fault(ASKED, status, body) == expected


def test_another_status_may_be_the_good_one() -> None:
    assert fault(Question("infer", status=400), 400, b'{"error":"input too long"}') == ""
    assert fault(Question("infer", status=400), 200, b'{"outputs":[1]}') == "answered 200 instead of 400"
