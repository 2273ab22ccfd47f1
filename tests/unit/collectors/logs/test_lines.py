"""Bytes become lines, and lines the engine's own text."""

from __future__ import annotations

import json

import pytest

from collectors.logs.formats import Unwrapper, cursor_of, ns_of
from collectors.logs.lines import LineSplitter, text_of


def test_a_line_in_three_chunks_is_one_line() -> None:
    lines = LineSplitter()
    assert list(lines.feed(b"one\ntw")) == [b"one"]
    assert list(lines.feed(b"o")) == []
    assert list(lines.feed(b"\n\nthree\n")) == [b"two", b"", b"three"]
    assert lines.rest() == b""


def test_of_a_long_line_the_beginning_is_kept_and_the_next_line_is_whole() -> None:
    lines = LineSplitter(limit=4)
    assert list(lines.feed(b"abcdef")) == []
    assert list(lines.feed(b"gh" * 100)) == []
    assert list(lines.feed(b"\nij\n")) == [b"abcd", b"ij"]
    assert lines.cut == 1
    assert list(lines.feed(b"abcd\n")) == [b"abcd"]
    assert lines.cut == 1


def test_the_rest_of_a_line_that_began_earlier_is_skipped() -> None:
    lines = LineSplitter(amid=True)
    assert list(lines.feed(b"d of a line\nnext\n")) == [b"next"]


def test_nuls_at_the_beginning_take_no_room() -> None:
    lines = LineSplitter(limit=8)
    assert list(lines.feed(b"\0" * 100)) == []
    assert list(lines.feed(b"\0" * 100 + b"begins\n\0\0next\n")) == [b"begins", b"next"]
    assert lines.cut == 0


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain", "plain"),
        (b"windows\r", "windows"),
        (b"10%\r20%\rerror", "error"),
        (b"bin\0ary", None),
        (b"caf\xe9", "caf\ufffd"),
        (b"\x1b[36m(Worker pid=1)\x1b[0m text", "(Worker pid=1) text"),
    ],
)
def test_a_line_as_text(line: bytes, text: str | None) -> None:
    assert text_of(line) == text


def test_cri_joins_the_parts_of_each_stream() -> None:
    unwrap = Unwrapper()
    assert unwrap.text_of("2026-11-29T15:00:00.123456789Z stderr F whole") == "whole"
    assert unwrap.text_of("2026-11-29T15:00:00.123456789Z stderr P one ") is None
    assert unwrap.text_of("2026-11-29T15:00:00.123456789Z stdout F other") == "other"
    assert unwrap.text_of("2026-11-29T15:00:01.123456789+02:00 stderr P two ") is None
    assert unwrap.text_of("2026-11-29T15:00:01.123456789Z stderr F three") == "one two three"
    assert unwrap.text_of("2026-11-29T15:00:01.123456789Z stdout F ") == ""


def test_docker_joins_parts_without_a_line_break() -> None:
    unwrap = Unwrapper()
    assert unwrap.text_of('{"log":"a whole line\\n","stream":"stderr","time":"2026-11-29T15:00:00Z"}') == "a whole line"
    coloured = (
        '{"log":"\\u001b[36m(Worker pid=1)\\u001b[0m ERROR x\\n","stream":"stderr","time":"2026-11-29T15:00:00Z"}'
    )
    assert unwrap.text_of(coloured) == "(Worker pid=1) ERROR x"
    assert unwrap.text_of('{"log":"half ","stream":"stderr","time":"2026-11-29T15:00:00Z"}') is None
    assert unwrap.text_of('{"log":"a line\\n","stream":"stderr","time":"2026-11-29T15:00:00Z"}') == "half a line"


def test_the_journal_gives_its_message() -> None:
    line = json.dumps({"__CURSOR": "s=1;i=2", "MESSAGE": "NVRM: Xid", "_TRANSPORT": "kernel"})
    assert (Unwrapper().text_of(line), cursor_of(line)) == ("NVRM: Xid", "s=1;i=2")
    assert Unwrapper().text_of(json.dumps({"__CURSOR": "s=1", "MESSAGE": list(b"caf\xe9")})) == "caf\ufffd"
    assert Unwrapper().text_of(json.dumps({"__CURSOR": "s=1", "MESSAGE": None})) == ""


def test_an_engines_json_gives_level_and_message_also_within_a_containers_line() -> None:
    own = '{"timestamp":"2026-11-29T15:00:00Z","level":"ERROR","fields":{"message":"Shard 0 failed to start"}}'
    assert Unwrapper().text_of(own) == "ERROR Shard 0 failed to start"
    assert Unwrapper().text_of(f"2026-11-29T15:00:00Z stdout F {own}") == "ERROR Shard 0 failed to start"
    assert Unwrapper().text_of('{"msg":"x","level":"info"}') == "INFO x"


@pytest.mark.parametrize("line", ["{not json", '{"prompt":"x"}', "[]", "", "{" * 100_000])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert Unwrapper().text_of(line) == line


def test_parts_that_never_end_take_bounded_memory() -> None:
    unwrap = Unwrapper()
    for number in range(1000):
        unwrap.text_of(json.dumps({"log": "x" * 1000, "stream": f"s{number}"}))
        unwrap.text_of("2026-11-29T15:00:00Z stderr P " + "x" * 1000)
    assert len(unwrap._parts) <= 4
    assert len(unwrap.text_of("2026-11-29T15:00:00Z stderr F end") or "") == 64 << 10


NS = 1_795_964_400 * 10**9
"""2026-11-29T15:00:00Z in nanoseconds of unix time."""


@pytest.mark.parametrize(
    ("line", "written_ns"),
    [
        ("2026-11-29T15:00:00.000000007Z stderr F whole", NS + 7),
        ("2026-11-29T17:00:00.5+02:00 stderr F whole", NS + 500_000_000),
        ('{"log":"whole\\n","stream":"stderr","time":"2026-11-29T15:00:00.000000007Z"}', NS + 7),
        ('{"__CURSOR":"s=1","MESSAGE":"whole","__REALTIME_TIMESTAMP":"1795964400000001"}', NS + 1_000),
        ('{"__CURSOR":"s=1","MESSAGE":"whole","__REALTIME_TIMESTAMP":"soon"}', 0),
        ('{"log":"whole\\n","stream":"stderr","time":7}', 0),
        ("INFO 11-29 15:00:00 an engine's own time has no year", 0),
    ],
)
def test_the_form_of_a_line_tells_when_it_was_written(line: str, written_ns: int) -> None:
    unwrap = Unwrapper()
    unwrap.text_of("2026-11-29T15:00:59Z stdout F before")
    unwrap.text_of(line)
    assert unwrap.written_ns == written_ns


@pytest.mark.parametrize(
    "stamp", ["", "2026-11-29T15:00:00", "2026-13-29T15:00:00Z", "2026-11-29T15:00:00.1234567890Z"]
)
def test_what_is_no_time_of_rfc_3339_is_none(stamp: str) -> None:
    assert ns_of(stamp) == 0
