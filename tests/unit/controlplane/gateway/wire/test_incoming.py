"""The parser of requests: the same heads, bodies and refusals, however the bytes are cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import RequestHead
from controlplane.gateway.wire.head import MAX_FIELDS, read_head
from controlplane.gateway.wire.incoming import Incoming

LIMIT = 2048


@dataclass
class Taken:
    """Keeps what was parsed."""

    heads: list[RequestHead] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    whole: int = 0

    def head(self, head: RequestHead) -> None:
        self.heads.append(head)
        self.bodies.append(b"")

    def body(self, data: bytes) -> None:
        self.bodies[-1] += data

    def complete(self) -> None:
        self.whole += 1


def parse(*pieces: bytes) -> tuple[Taken, Refusal | None]:
    """Parse pieces until one is refused."""
    taken = Taken()
    incoming = Incoming(taken, LIMIT)
    for piece in pieces:
        if (refusal := incoming.feed(piece)) is not None:
            return taken, refusal
    return taken, None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at some places."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


SEVERAL = (
    b"POST /v1/a?b=c HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nContent-Length: 7\r\n\r\nGET / H"
    b"GET /two HTTP/1.1\r\nhost: a\r\n\r\n"
    b"POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n2\r\n\r\n\r\n0\r\nT: 1\r\n\r\n"
    b"POST /four HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nxyz"
    b"\r\nPOST http://b/five HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
)


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_requests_are_the_same_however_they_are_cut(places: list[int]) -> None:
    taken, refusal = parse(*cut(SEVERAL, places))
    assert refusal is None
    assert [head.target for head in taken.heads] == [b"/v1/a?b=c", b"/two", b"/three", b"/four", b"/five"]
    assert taken.bodies == [b"GET / H", b"", b"abc\r\n", b"xyz", b""]
    assert taken.whole == 5
    assert [head.content_length for head in taken.heads] == [7, None, None, 3, 0]
    assert [head.chunked for head in taken.heads] == [False, False, True, False, False]


TWO_READINGS = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX:" + b"y" * LIMIT + b"\r\n\r\n",
    b"GET /" + b"y" * LIMIT + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * MAX_FIELDS + b"\r\n",
)


@given(st.sampled_from(TWO_READINGS), st.lists(st.integers(0, 10_000), max_size=20))
def test_what_is_refused_is_refused_however_it_is_cut(data: bytes, places: list[int]) -> None:
    taken, refusal = parse(*cut(data, places))
    assert refusal is not None
    assert taken.heads == []
    assert refusal.kind in (RefusalKind.MALFORMED, RefusalKind.HEAD_TOO_LARGE)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_noise_is_refused_or_awaited_and_never_a_fault(data: bytes, places: list[int]) -> None:
    taken, _ = parse(*cut(data, places))
    assert taken.whole == len(taken.heads) == 0 or data.count(b"HTTP/1.") >= len(taken.heads)


def test_a_trailer_is_bounded() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    for trailer in ([b"X: y\r\n"] * (MAX_FIELDS + 2), [b"X: ", *[b"y" * 100] * 30], [b"y" * 100] * 30):
        taken, refusal = parse(head, *trailer)
        assert refusal is not None
        assert refusal.kind is RefusalKind.HEAD_TOO_LARGE
        assert taken.whole == 0


def test_an_endless_mark_of_a_chunk_is_refused() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;"
    _, refusal = parse(head, *[b"y" * 100] * 30)
    assert refusal is not None


def test_a_long_body_is_no_head() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    taken, refusal = parse(head, *[b"64\r\n" + b"y" * 100 + b"\r\n"] * 100, b"0\r\n\r\n")
    assert refusal is None
    assert (taken.whole, len(taken.bodies[0])) == (1, 10_000)
    length = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n"
    taken, refusal = parse(length, *[b"y" * 100] * 100)
    assert refusal is None
    assert (taken.whole, len(taken.bodies[0])) == (1, 10_000)


def test_nothing_is_parsed_behind_a_refusal_or_a_close() -> None:
    taken = Taken()
    incoming = Incoming(taken, LIMIT)
    assert incoming.feed(b"nonsense\r\n\r\n") is not None
    assert incoming.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is None
    assert taken.heads == []
    other = Incoming(taken, LIMIT)
    other.closed = True
    assert other.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is None
    assert taken.heads == []


def test_a_fault_of_the_receiver_is_not_the_clients() -> None:
    class Failing(Taken):
        def head(self, head: RequestHead) -> None:
            raise KeyError("x")

    with pytest.raises(KeyError):
        Incoming(Failing(), LIMIT).feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "read"),
    [
        (b"http://h/a?b", b"/a?b"),
        (b"HTTPS://h:1/a", b"/a"),
        (b"http://h", b"/"),
        (b"http://h?a=/b", b"/?a=/b"),
        (b"http:///a", None),
        (b"ftp://h/a", None),
        (b"*", None),
        (b"a/b", None),
        (b"/a#b", None),
    ],
)
def test_targets(target: bytes, read: bytes | None) -> None:
    head = read_head(b"GET", target, [(b"host", b"h")], "1.1", True)
    assert (head.target if isinstance(head, RequestHead) else None) == read


def test_of_a_repeated_field_the_first_value_is_known() -> None:
    fields = [(b"host", b"h"), (b"x", b"1"), (b"x", b"2")]
    head = read_head(b"GET", b"/", fields, "1.1", True)
    assert isinstance(head, RequestHead)
    assert (head.get(b"x"), head.fields, head.get(b"y")) == (b"1", fields, b"")


@pytest.mark.parametrize("length", [b"1" * 19, b"", b"1a", b"\xb2"])
def test_a_length_is_digits(length: bytes) -> None:
    head = read_head(b"POST", b"/", [(b"host", b"h"), (b"content-length", length)], "1.1", True)
    assert isinstance(head, Refusal)
