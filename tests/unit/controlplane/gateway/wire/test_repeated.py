"""A head that comes again is read without the parser, and as the parser would read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.request import RequestHead
from controlplane.gateway.wire.incoming import MOST_LEARNED, Incoming
from controlplane.gateway.wire.repeated import MOST_BYTES, outline_of
from controlplane.gateway.wire.upstream import MOST_VAIN, AnswerHead, KnownAnswers


class Taken:
    """Keeps the last request that was parsed."""

    head_: RequestHead

    def __init__(self) -> None:
        self.body_ = b""
        self.whole = 0

    def head(self, head: RequestHead) -> None:
        self.head_, self.body_ = head, b""

    def body(self, data: bytes) -> None:
        self.body_ += data

    def complete(self) -> None:
        self.whole += 1


LINES = b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nAuthorization: Bearer k\r\n\r\n%b"


def post(body: bytes, lines: bytes = LINES) -> bytes:
    return lines % (len(body), body)


def connection(*before: bytes) -> Incoming:
    """Return a connection that got these requests, each in one read."""
    incoming = Incoming(Taken(), 4096)
    for data in before:
        assert incoming.again(data) is None and incoming.feed(data) is None
    return incoming


def parsed(data: bytes) -> tuple[RequestHead, bytes] | None:
    """Return what the parser alone makes of a read, if that is one whole request."""
    taken = Taken()
    if Incoming(taken, 4096).feed(data) is not None or taken.whole != 1:
        return None
    return taken.head_, taken.body_


def plain(found: tuple[RequestHead, bytes] | None) -> tuple[RequestHead, bytes] | None:
    return None if found is None else (replace(found[0], facts=None), found[1])


@pytest.mark.parametrize("body", [b"abc", b"xyz", b"a longer one", b""])
def test_a_head_that_comes_again_reads_as_the_parser_reads_it(body: bytes) -> None:
    incoming = connection(post(b"abc"), post(b"abc"))
    found = incoming.again(post(body))
    assert found is not None
    assert plain(found) == parsed(post(body))


def test_facts_stay_with_the_head_whatever_the_length() -> None:
    incoming = connection(post(b"abc"), post(b"abc"))
    one, other, third = (incoming.again(post(body)) for body in (b"abc", b"abcd", b"abc"))
    assert one is not None and other is not None and third is not None
    assert one[0].facts is not None and one[0].facts is other[0].facts is third[0].facts
    assert (one[0].content_length, other[0].content_length) == (3, 4)


def test_the_first_request_of_a_connection_is_not_kept() -> None:
    assert connection(post(b"abc")).again(post(b"abc")) is None


@pytest.mark.parametrize(
    "lines",
    [
        b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n%b",
        b"POST /v1/chat HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b",
        b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 0%d\r\n\r\n%b",
        b"\r\n\r\nPOST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b",
    ],
    ids=["expects", "old", "zero", "empty lines"],
)
def test_an_unusual_head_is_parsed_each_time(lines: bytes) -> None:
    incoming = Incoming(Taken(), 4096)
    for _ in range(3):
        assert incoming.again(post(b"abc", lines)) is None
        assert incoming.feed(post(b"abc", lines)) is None


@pytest.mark.parametrize(
    "data",
    [
        post(b"abc")[:-1],
        post(b"abc") + b"G",
        post(b"abc") + post(b"abc"),
        post(b"abc").replace(b"Bearer k", b"Bearer l"),
        post(b"abc").replace(b"Bearer k", b"Bearer kk"),
        post(b"abc").replace(b": 3", b": +3"),
        post(b"abc").replace(b": 3", b": 03"),
        post(b"abc").replace(b": 3\r\n", b": 3\r\nContent-Length: 3\r\n"),
        post(b"abc").replace(b": 3", b":3"),
        post(b"x" * MOST_BYTES),
    ],
)
def test_any_other_read_is_the_parsers(data: bytes) -> None:
    assert connection(post(b"abc"), post(b"abc")).again(data) is None


def test_within_a_request_every_read_belongs_to_it() -> None:
    inner = post(b"abc")
    incoming = connection(inner, inner)
    outer = post(inner)
    assert incoming.feed(outer[: -len(inner)]) is None
    assert incoming.again(inner) is None
    part = connection(inner, inner)
    assert part.feed(b"POST ") is None
    assert part.again(inner) is None


def test_a_connection_whose_heads_all_differ_is_soon_not_learned_from() -> None:
    differing = [post(b"abc").replace(b"Bearer k", b"Bearer %d" % number) for number in range(MOST_LEARNED + 2)]
    incoming = connection(*differing)
    assert incoming.again(differing[-1]) is None
    other = connection(*differing[:MOST_LEARNED])
    assert other.again(differing[MOST_LEARNED - 1]) is not None, "each new head takes the place of the one before"
    for data in differing:
        other.feed(data)
    assert other.again(differing[MOST_LEARNED]) is None


def traced(body: bytes, trace: bytes, request_id: bytes) -> bytes:
    more = b"\r\ntraceparent: %b\r\nX-Request-Id: %b\r\nAuth" % (trace, request_id)
    return post(body).replace(b"\r\nAuth", more)


@pytest.mark.parametrize("trace", [b"a", b"b" * 32, b"%"])
@pytest.mark.parametrize("request_id", [b"1", b"2-3"])
def test_values_that_decide_nothing_may_differ(trace: bytes, request_id: bytes) -> None:
    incoming = connection(traced(b"abc", b"a", b"1"), traced(b"abc", b"a", b"1"))
    data = traced(b"abcd", trace, request_id)
    found = incoming.again(data)
    assert found is not None and plain(found) == parsed(data)
    assert found[0].known[b"x-request-id"] == request_id


@pytest.mark.parametrize("trace", [b"", b" a", b"a ", b"a\tb", b"a\nb", b"a\x00", b"\xff", b"a" * 600])
def test_a_value_that_parsers_may_read_in_two_ways_is_the_parsers(trace: bytes) -> None:
    incoming = connection(traced(b"abc", b"a", b"1"), traced(b"abc", b"a", b"1"))
    assert incoming.again(traced(b"abc", trace, b"1")) is None


def test_a_field_that_may_differ_and_comes_twice_is_the_parsers() -> None:
    twice = traced(b"abc", b"a", b"1").replace(b"X-Request-Id", b"traceparent")
    assert connection(twice, twice).again(twice) is None


@given(at=st.integers(0, len(post(b"abc")) - 1), byte=st.integers(0, 255), more=st.booleans())
def test_no_read_is_taken_for_another(at: int, byte: int, more: bool) -> None:
    """One byte of a known request is changed or added: it is read as the parser reads it, or by the parser."""
    known = post(b"abc")
    data = known[:at] + bytes([byte]) + known[at + (not more) :]
    found = connection(known, known).again(data)
    assert found is None or plain(found) == parsed(data)


ANSWER = b"HTTP/1.1 200 OK\r\ndate: %b\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b"


def learned(known: KnownAnswers, date: bytes, body: bytes = b"{}") -> bytes:
    data = ANSWER % (date, len(body), body)
    fields = [(b"date", date), (b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    known.learn(data, AnswerHead(200, fields, len(body), True, True))
    return data


def test_an_engines_answer_comes_again_with_another_length() -> None:
    known = KnownAnswers()
    assert known.again(learned(known, b"1")) is not None
    found = known.again(ANSWER % (b"1", 3, b"[1]"))
    assert found is not None
    head, body = found
    assert (head.status, head.length, body) == (200, 3, b"[1]")
    assert (b"content-length", b"3") in head.fields
    assert known.again(ANSWER % (b"2", 3, b"[1]")) is None
    assert known.again(ANSWER % (b"1", 4, b"[1]")) is None


def test_an_engine_whose_heads_all_differ_is_seldom_learned_from() -> None:
    known = KnownAnswers()
    reads = [learned(known, b"%d" % number) for number in range(MOST_VAIN + 2)]
    assert known.again(reads[-1]) is None
    assert known.again(reads[MOST_VAIN - 1]) is not None
    assert known.again(learned(known, b"new")) is not None, "an answer that came again is learned from anew"


def test_an_interim_answer_is_no_part_of_an_outline() -> None:
    fields = [(b"date", b"1"), (b"content-length", b"2"), (b"content-type", b"application/json")]
    whole = ANSWER % (b"1", 2, b"{}")
    assert outline_of(whole, fields, frozenset((b"content-length",))) is not None
    assert outline_of(b"HTTP/1.1 100 Continue\r\n\r\n" + whole, fields, frozenset((b"content-length",))) is None
