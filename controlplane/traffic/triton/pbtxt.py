"""Editing the version policy in a Triton config.pbtxt as text. Comments and all other text stay as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_MARK = "# before the control plane's last switch: "


class _Token(NamedTuple):
    text: str
    start: int
    end: int


def with_versions(text: str, versions: Iterable[int]) -> str:
    """Return `text` with a `version_policy` that names exactly `versions`.

    A comment line above it keeps the replaced block. A file without a policy gets one at its end. A text that already
    names these versions is returned unchanged. Raises ValueError when the text is not well-formed protobuf text.
    """
    policy = f"version_policy: {{ specific: {{ versions: [ {', '.join(map(str, sorted(versions)))} ] }} }}"
    block = _find_policy(text)
    if block is None:
        return f"{text.rstrip()}\n{_MARK}no version_policy\n{policy}\n" if text.strip() else f"{policy}\n"
    start, end = block
    before = " ".join(token.text for token in _tokens(text[start:end]))
    if _normal(before) == _normal(policy):
        return text
    line = text.rfind("\n", 0, start) + 1
    head = text[:line]
    previous = head.rstrip("\n").rfind("\n") + 1
    if head[previous:].startswith(_MARK):
        head = head[:previous]
    return f"{head}{_MARK}{before}\n{text[line:start]}{policy}{text[end:]}"


def minimal(name: str, running: dict[str, Any]) -> str:
    """Return a config.pbtxt for a model without one: its name and its backend or platform. Triton adds the rest."""
    key = "backend" if running.get("backend") else "platform"
    return (
        "# Written by the control plane: this model had no config.pbtxt. Triton completes the rest by itself.\n"
        f"name: {json.dumps(name)}\n{key}: {json.dumps(running.get(key, ''))}\n"
    )


def _find_policy(text: str) -> tuple[int, int] | None:
    """Return start and end of the top-level version_policy, from its name to its closing brace, or None.

    Raises ValueError when braces do not match.
    """
    depth, start = 0, None
    for token in _tokens(text):
        if token.text in "{<[":
            depth += 1
        elif token.text in "}>]":
            depth -= 1
            if depth < 0:
                raise ValueError(f"unbalanced {token.text!r} at character {token.start}")
            if depth == 0 and start is not None:
                return start, token.end
        elif depth == 0 and token.text == "version_policy":
            start = token.start
    if depth or start is not None:
        raise ValueError("a block is not closed")
    return None


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        char, begin = text[position], position
        if char == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
            continue
        if char in "\"'":
            position = _end_of_string(text, position)
        elif char.isalnum() or char in "_-.+":
            while position < len(text) and (text[position].isalnum() or text[position] in "_-.+"):
                position += 1
        else:
            position += 1
            if char.isspace():
                continue
        yield _Token(text[begin:position], begin, position)


def _end_of_string(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] != text[start]:
        position += 2 if text[position] == "\\" else 1
    if position >= len(text):
        raise ValueError(f"a string that starts at character {start} is not closed")
    return position + 1


def _normal(block: str) -> list[str]:
    """Return a block's tokens without the optional ones: colons before braces, commas, brackets around one value."""
    return [token.text for token in _tokens(block) if token.text not in ":,[]"]
