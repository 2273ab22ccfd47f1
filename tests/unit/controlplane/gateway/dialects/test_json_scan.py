"""The scan of a JSON object finds what Python's parser finds, wherever the text comes from."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.errors import Unreadable

SPACE = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "\\\\", '","model":"', "}", "{", "]", "model", "mödel", ":", ",", "\u2028", "\U0001f600"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, object]]]:
    """Return the text of an object, with odd space, escapes and repeated names, and its members in order."""
    pairs = draw(st.lists(st.tuples(TEXT | st.sampled_from(["model", "stream", "a"]), VALUES), max_size=6))
    parts = []
    for name, value in pairs:
        key = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if draw(st.booleans()):
            key = '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x80 else c for c in json.loads(key)) + '"'
            if any(ord(c) < 0x20 or c in '"\\' for c in json.loads(key)):
                key = json.dumps(name)
        separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators)
        parts.append(f"{draw(SPACE)}{key}{draw(SPACE)}:{draw(SPACE)}{text}{draw(SPACE)}")
    whole = f"{draw(SPACE)}{{{','.join(parts) or draw(SPACE)}}}{draw(SPACE)}"
    return draw(st.sampled_from([b"", json_scan.BOM])) + whole.encode(), pairs


@given(texts())
def test_the_members_are_those_of_pythons_parser(made: tuple[bytes, list[tuple[str, object]]]) -> None:
    data, pairs = made
    found = json_scan.members(data)
    assert [(member.name, json_scan.value(data, member)) for member in found] == pairs
    assert {m.name: json_scan.value(data, m) for m in found} == json.loads(data)
    for member in found:
        assert data[member.start : member.end].strip() == data[member.start : member.end]


@given(texts(), st.data())
@example((b'{"a":1}', [("a", 1)]), None)
def test_a_damaged_text_is_refused_or_has_the_same_members(
    made: tuple[bytes, list[tuple[str, object]]], data: st.DataObject | None
) -> None:
    text, _ = made
    if data is not None and text:
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.binary(max_size=2)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        expected = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        expected = None
    try:
        found = {member.name: json_scan.value(text, member) for member in json_scan.members(text)}
    except Unreadable:
        assert not isinstance(expected, dict), text
        return
    # The scan leaves some faults for the engine to find. What it accepts it never reads otherwise than the parser does.
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "no JSON object"),
        (b"  ", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b'"model"', "no JSON object"),
        (b"{", "does not end"),
        (b'{"a', "the string at byte 1 does not end"),
        (b'{"a\\"', "the string at byte 1 does not end"),
        (b'{"a":"b\\"}', "the string at byte 5 does not end"),
        (b'{"a":{"b":1}', "does not end"),
        (b'{"a":1}}', "more follows"),
        (b'{"a":1}{"b":2}', "more follows"),
        (b'{"a":1} "b"', "more follows"),
        (b'{"a":1} x', "more follows"),
        (b'{"a" 1}', "a colon is missing at byte 5"),
        (b'{"a"}', "a colon is missing"),
        (b'{"a":1 "b":2}', "a comma is missing before byte 7"),
        (b'{"a":"b" "c":2}', "a comma is missing"),
        (b'{"a":,"b":2}', "a comma is missing"),
        (b'{"a":1,}', "a value is missing"),
        (b'{"a":}', "a value is missing"),
        (b"{1:2}", "no valid JSON at byte 1"),
        (b'{x "a":2}', "no valid JSON at byte 3"),
        (b'{"\xff":2}', "not UTF-8 at byte 2"),
        (b'{"a":1]', "more follows"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "nested deeper than 500"),
        (b'{"a":' + b'["x",' * 600 + b"1" + b"]" * 600 + b"}", "nested deeper than 500"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(1001)) + b"}", "more than 1,000 members"),
    ],
)
def test_a_fault_is_named_with_its_place(text: bytes, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        json_scan.members(text)


def test_the_deepest_nesting_and_the_most_members_are_read() -> None:
    deep = b'{"a":' + b"[" * 499 + b"]" * 499 + b"}"
    assert [member.name for member in json_scan.members(deep)] == ["a"]
    wide = b"{" + b",".join(b'"%d":1' % i for i in range(1000)) + b"}"
    assert len(json_scan.members(wide)) == 1000


def test_nan_and_infinity_are_numbers_as_in_pythons_parser() -> None:
    data = b'{"a":NaN,"b":-Infinity}'
    a, b = (json_scan.value(data, member) for member in json_scan.members(data))
    assert isinstance(a, float) and math.isnan(a) and b == -math.inf


def test_a_lone_surrogate_is_text() -> None:
    data = b'{"a":"\\ud800"}'
    assert [json_scan.value(data, member) for member in json_scan.members(data)] == ["\ud800"]


@pytest.mark.parametrize("text", [b'{"a":tru}', b'{"a":01}', b'{"a":"\x01"}', b'{"a":"\xff"}', b'{"a":"\\x"}'])
def test_a_value_that_is_no_json_is_refused_when_it_is_read(text: bytes) -> None:
    (member,) = json_scan.members(text)
    with pytest.raises(Unreadable):
        json_scan.value(text, member)
