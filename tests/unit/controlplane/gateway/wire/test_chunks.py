"""Chunks reach the owner the same however reads split them. A read that is one chunk passes as it is."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.gateway.wire.upstream import AnswerHead, KnownAnswers, UpstreamConnection, only_chunk
from tests.fakes.hand_clock import HandClock, wheel_of

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


class Owner:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, bytes]] = []
        self.done = False
        self.why = ""

    def answer(self, head: AnswerHead) -> None:
        assert head.status == 200

    def piece(self, data: bytes, done: bool, chunk: bytes = b"") -> None:
        self.pieces.append((data, chunk))
        self.done = self.done or done

    def lost(self, connection: UpstreamConnection, why: str) -> None:
        self.why = why

    def late(self) -> None:
        raise AssertionError


def read(*reads: bytes) -> Owner:
    """Return the owner of an answer that came in these reads."""
    connection, owner = UpstreamConnection(wheel_of(HandClock()), lambda *_: None, KnownAnswers()), Owner()
    connection.connection_made(Transport())
    connection.send(owner, b"", headless=False)
    for data in reads:
        if not owner.why:
            connection.data_received(data)
    return owner


def chunks(*contents: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents)


def test_a_read_that_is_one_chunk_passes_as_it_is() -> None:
    first, second, both = chunks(b"hello"), chunks(b"x" * 300), chunks(b"a", b"b")
    owner = read(HEAD, first, second, both, first, b"0\r\n\r\n")
    assert owner.pieces == [
        (b"hello", b""),  # the parser reads the first one, and is behind a chunk from then on
        (b"x" * 300, second),
        (b"ab", b""),
        (b"hello", first),
        (b"", b""),
    ]
    assert owner.done


def test_a_chunk_behind_a_part_of_a_line_is_no_chunk_of_its_own() -> None:
    # Read alone, the second read is a whole chunk of one byte. Here the first digit of its size came before.
    whole = chunks(b"1\r\na\r\n" + b"b" * 11)
    assert whole.startswith(b"11\r\n1\r\na\r\n")
    owner = read(HEAD, chunks(b"hello") + b"1", b"1\r\n1\r\na\r\n", b"b" * 11 + b"\r\n0\r\n\r\n")
    assert b"".join(data for data, _ in owner.pieces) == b"hello1\r\na\r\n" + b"b" * 11
    assert owner.done


def test_a_content_that_looks_like_a_chunk_is_content() -> None:
    inner = chunks(b"a")
    owner = read(HEAD, b"%x\r\n" % (2 * len(inner)), inner, inner, b"\r\n", b"0\r\n\r\n")
    assert b"".join(data for data, _ in owner.pieces) == 2 * inner
    assert all(chunk == b"" for _, chunk in owner.pieces)


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhell\r\n",
        b"05\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"5\r\nhelloxx",
        b"",
    ],
)
def test_any_other_read_is_the_parsers(data: bytes) -> None:
    assert only_chunk(data) == b""


SHORT = st.binary(min_size=1, max_size=20) | st.sampled_from([b"\r\n", b"1\r\na\r\n", b"0\r\n\r\n", b"a" * 16])


@given(contents=st.lists(SHORT, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 160), max_size=8))
@example(contents=[b"1\r\na\r\n"], cuts=[3])
def test_reads_may_end_anywhere(contents: list[bytes], cuts: list[int]) -> None:
    body = chunks(*contents) + b"0\r\n\r\n"
    ends = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    parts = [body[start:end] for start, end in pairwise(ends)]
    owner = read(HEAD, *parts)
    assert (owner.done, owner.why) == (True, "")
    assert b"".join(data for data, _ in owner.pieces) == b"".join(contents)
    assert all(only_chunk(chunk) == data for data, chunk in owner.pieces if chunk)


@given(reads=st.lists(st.sampled_from([*b"01a\r\n"]).map(lambda byte: bytes([byte])) | SHORT, max_size=12))
def test_what_is_no_body_ends_as_the_parser_alone_ends_it(reads: list[bytes]) -> None:
    """The same bytes one at a time never take the short way."""
    fast, slow = read(HEAD, *reads), read(HEAD, *(bytes([byte]) for byte in b"".join(reads)))
    assert b"".join(data for data, _ in fast.pieces) == b"".join(data for data, _ in slow.pieces)
    assert (fast.done, bool(fast.why)) == (slow.done, bool(slow.why))
