"""The time to the first token is that of the read that completes the first event with output."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.traffic.engine_server import Reply
from controlplane.traffic.engines.first_token import first_token_s

ROLE, TEXT, DONE = b'data: {"text":""}', b'data: {"text":"hi"}', b"data: [DONE]"


def has_output(message: Any) -> bool:
    return isinstance(message, dict) and bool(message.get("text"))


def reply(*reads: bytes) -> Reply:
    """Return a reply of which each read came a second after the one before."""
    sizes = [len(b"".join(reads[: number + 1])) for number in range(len(reads))]
    return Reply(200, b"".join(reads), 99.0, tuple((size, float(at)) for at, size in enumerate(sizes, 1)))


@pytest.mark.parametrize(
    ("reads", "seconds"),
    [
        ((ROLE + b"\n\n", TEXT + b"\n\n", DONE + b"\n\n"), 2.0),
        ((ROLE + b"\n\n" + TEXT, b"\n\n" + DONE + b"\n\n"), 2.0),
        ((ROLE + b"\n\n" + TEXT + b"\n\n",), 1.0),
        ((b": ping\r\n\r\n", b"event: x\r\n" + TEXT + b"\r\n\r\n"), 2.0),
        ((b"data: {\n\n", b"data: [[[\n\n", TEXT + b"\n\n"), 3.0),
        ((b'data: {"text":\ndata: "hi"}\n\n',), 1.0),
        ((ROLE + b"\n\n", DONE + b"\n\n"), None),
        ((b'{"text":"hi"}',), None),
        ((), None),
    ],
)
def test_the_first_output(reads: tuple[bytes, ...], seconds: float | None) -> None:
    assert first_token_s(reply(*reads), has_output) == seconds
