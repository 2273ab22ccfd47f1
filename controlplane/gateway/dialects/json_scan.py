"""Find the members of a JSON object by hopping from string to string, without building their values.

The time is that of two `bytes.find` for each string, so a megabyte of text costs microseconds. The scan checks strings,
nesting, colons and commas of the outermost object. It does not check the values: an engine refuses a bad one by itself.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import orjson

from controlplane.gateway.dialects.errors import Unreadable

MAX_DEPTH = 500
"""Deepest nesting. Chosen: half of the 1,000 frames at which Python's own parser gives up, which most engines use."""
MAX_MEMBERS = 1000
"""Most members of the outermost object. Chosen: APIs have some 50."""
BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\n\r"
_PLAIN_GAPS = frozenset((b":", b",", b": ", b", "))
_NEXT_OBJECT = frozenset((b"},{", b"}, {"))
_BRACKET = re.compile(rb"[\[\]{}]")
_NO_SPACE = re.compile(rb"[^ \t\n\r]")


class Member(NamedTuple):
    """One member of the outermost object. `data[start:end]` is its value, without the space around it."""

    name: str
    start: int
    end: int


def begins_object(data: bytes) -> bool:
    """Return whether a text begins as a JSON object, behind a byte order mark or space."""
    root = _skip_space(data, 3 if data.startswith(BOM) else 0)
    return data[root : root + 1] == b"{"


def members(data: bytes) -> list[Member]:
    """Return the members of the outermost object in their order, repeated names included.

    Raises Unreadable when the text is no object, when its strings or its nesting do not close, when it is nested deeper
    than MAX_DEPTH, or when it has more than MAX_MEMBERS members.
    """
    root = _skip_space(data, 3 if data.startswith(BOM) else 0)
    if data[root : root + 1] != b"{":
        raise Unreadable("the body is no JSON object")
    masked = _masked(data)
    found: list[Member] = []
    name, start, depth, at = None, 0, 1, root + 1
    find = masked.find
    while (quote := find(b'"', at)) >= 0:
        gap = data[at:quote]
        if gap not in _PLAIN_GAPS and (depth < 3 or gap not in _NEXT_OBJECT):
            depth = _depth_after(data, at, quote, depth)
        at = find(b'"', quote + 1) + 1
        if at == 0:
            raise Unreadable(f"the body is no valid JSON: the string at byte {quote} does not end")
        if depth > 1 or (name is not None and quote == start):
            continue
        if name is not None:
            found.append(Member(name, start, _value_end(data, start, quote)))
        elif _skip_space(data, root + 1) != quote:
            raise Unreadable(f"the body is no valid JSON at byte {quote}")
        if len(found) == MAX_MEMBERS:
            raise Unreadable(f"the body has more than {MAX_MEMBERS:,} members")
        name, start = _name(data, quote, at), _value_start(data, at)
    end = _end_of_object(data, at, depth)
    if name is not None:
        found.append(Member(name, start, _last_value_end(data, start, end)))
    elif _skip_space(data, root + 1) != end:
        raise Unreadable(f"the body is no valid JSON at byte {root + 1}")
    return found


def value(data: bytes, member: Member) -> object:
    """Return the value of a member. NaN and infinities are floats, as in Python's parser.

    Raises Unreadable when the value is no JSON.
    """
    return parse(data[member.start : member.end])


def parse(data: bytes) -> object:
    """Return the value of a whole JSON text. It accepts what Python's parser accepts, in UTF-8: NaN, a byte order mark.

    Raises Unreadable when the text is no JSON, is not UTF-8, or is nested deeper than MAX_DEPTH.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        parsed: object = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Unreadable(f"the body is no valid JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise Unreadable(f"the body is nested deeper than {MAX_DEPTH} levels") from error
    return parsed


def _masked(data: bytes) -> bytes:
    """Return the text with `..` for each escaped backslash and quote. The other quotes begin and end strings."""
    if b"\\" not in data:
        return data
    return data.replace(b"\\\\", b"..").replace(b'\\"', b"..")


def _depth_after(data: bytes, start: int, end: int, depth: int) -> int:
    """Return the depth after the brackets between two strings. It is not 0: no string follows the object."""
    opened = data.count(b"{", start, end) + data.count(b"[", start, end)
    closed = data.count(b"}", start, end) + data.count(b"]", start, end)
    if closed < depth and depth + opened <= MAX_DEPTH:
        return depth + opened - closed
    for bracket in _BRACKET.finditer(data, start, end):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth == 0:
            raise Unreadable(f"the body is no valid JSON: more follows its object at byte {bracket.end()}")
        if depth > MAX_DEPTH:
            raise Unreadable(f"the body is nested deeper than {MAX_DEPTH} levels")
    return depth


def _end_of_object(data: bytes, start: int, depth: int) -> int:
    """Return the place of the bracket that closes the outermost object. No string follows `start`."""
    for bracket in _BRACKET.finditer(data, start):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable(f"the body is nested deeper than {MAX_DEPTH} levels")
        if depth == 0:
            if _NO_SPACE.search(data, bracket.end()) or bracket.group() != b"}":
                raise Unreadable(f"the body is no valid JSON: more follows its object at byte {bracket.end()}")
            return bracket.start()
    raise Unreadable("the body is no valid JSON: its object does not end")


def _name(data: bytes, quote: int, end: int) -> str:
    text = data[quote:end]
    if b"\\" not in text:
        try:
            return text[1:-1].decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"the body is not UTF-8 at byte {quote + error.start + 1}") from error
    name = parse(text)
    assert isinstance(name, str)
    return name


def _value_start(data: bytes, at: int) -> int:
    colon = _skip_space(data, at)
    if data[colon : colon + 1] != b":":
        raise Unreadable(f"the body is no valid JSON: a colon is missing at byte {colon}")
    return _skip_space(data, colon + 1)


def _value_end(data: bytes, start: int, quote: int) -> int:
    """Return the end of a value that begins at `start`. The next name begins at `quote`."""
    end = quote
    while data[end - 1] in _SPACE:
        end -= 1
    if data[end - 1] != 0x2C or end - 1 <= start:
        raise Unreadable(f"the body is no valid JSON: a comma is missing before byte {quote}")
    end -= 1
    while data[end - 1] in _SPACE:
        end -= 1
    return end


def _last_value_end(data: bytes, start: int, end: int) -> int:
    while end > start and data[end - 1] in _SPACE:
        end -= 1
    if end == start or data[end - 1] == 0x2C:
        raise Unreadable(f"the body is no valid JSON: a value is missing at byte {end}")
    return end


def _skip_space(data: bytes, at: int) -> int:
    if data[at : at + 1] not in (b" ", b"\t", b"\n", b"\r"):
        return at
    found = _NO_SPACE.search(data, at)
    return found.start() if found else len(data)
