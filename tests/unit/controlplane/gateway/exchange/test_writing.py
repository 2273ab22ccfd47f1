"""How the end of an answer is marked, for each kind of client and body."""

from __future__ import annotations

import pytest

from controlplane.gateway.exchange.writing import Framing, answer_head
from controlplane.gateway.request import RequestHead
from controlplane.gateway.wire.upstream import AnswerHead


def head(minor: int = 1) -> RequestHead:
    return RequestHead(b"POST", b"/", b"/", [], None, False, True, {}, minor)


@pytest.mark.parametrize(
    ("minor", "length", "keep", "bodiless", "lines", "piece"),
    [
        (1, None, True, False, b"transfer-encoding: chunked\r\n\r\n", b"3\r\nabc\r\n"),
        (1, None, False, False, b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n", b"3\r\nabc\r\n"),
        (1, 3, True, False, b"content-length: 3\r\n\r\n", b"abc"),
        (0, 3, True, False, b"content-length: 3\r\nconnection: keep-alive\r\n\r\n", b"abc"),
        (0, None, True, False, b"connection: close\r\n\r\n", b"abc"),
        (1, 3, True, True, b"content-length: 3\r\n\r\n", b""),
        (1, None, True, True, b"\r\n", b""),
    ],
)
def test_framing(minor: int, length: int | None, keep: bool, bodiless: bool, lines: bytes, piece: bytes) -> None:
    framing = Framing(head(minor), length=length, keep_alive=keep, bodiless=bodiless)
    assert framing.lines() == lines
    assert framing.piece(b"abc") == piece
    assert framing.by_end == (minor == 0 and length is None and not bodiless)
    assert framing.keep_alive == (keep and not framing.by_end)


def test_an_empty_piece_is_no_last_chunk() -> None:
    assert Framing(head(), length=None, keep_alive=True, bodiless=False).piece(b"") == b""


def test_a_stream_keeps_its_own_word_on_caches() -> None:
    framing = Framing(head(), length=None, keep_alive=True, bodiless=False)
    fields = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    text = answer_head(AnswerHead(200, fields, None, True, True), b"", framing)
    assert text.count(b"cache-control") == 1
    assert b"x-accel-buffering: no\r\n" in text
    plain = AnswerHead(200, [(b"content-type", b"application/json")], None, True, True)
    assert b"x-accel-buffering" not in answer_head(plain, b"", framing)
