"""Strict YAML reading that knows its line numbers, so that every refusal can name file and line.

libyaml reads, as Prometheus's own reader is a port of it; readers in Python take thirty times as long.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from alerts.errors import RuleError

MAX_DEPTH = 100
"""Levels of nesting that are read."""

_NULL, _MERGE, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("null", "merge", "str"))
_NULLS = ("", "~", "null", "Null", "NULL")


class Place:
    """A YAML node and where it stands. Reading methods raise RuleError with file, line and path."""

    def __init__(self, file: str, node: Node, path: str = "") -> None:
        self._file, self._node, self.path = file, node, path

    @property
    def line(self) -> int:
        """1-based line of the node."""
        return int(self._node.start_mark.line) + 1

    def error(self, message: str) -> RuleError:
        """Return a RuleError that names this place."""
        return RuleError(": ".join(p for p in (self.path, message) if p), file=self._file, line=self.line)

    def within(self, path: str) -> Place:
        """Return the same node under another name for messages."""
        return Place(self._file, self._node, path)

    @property
    def is_null(self) -> bool:
        """Whether the value is absent (`key:` with nothing behind it)."""
        return isinstance(self._node, ScalarNode) and self._node.tag == _NULL

    @property
    def is_quoted(self) -> bool:
        """Whether the value is written in quotes or as a block: a text, whatever it looks like."""
        return isinstance(self._node, ScalarNode) and bool(self._node.style)

    def fields(self, *known: str) -> dict[str, Place]:
        """Return a mapping's entries, those that it merges with `<<:` included.

        Names outside `known` are refused when any are given, repeats always.
        """
        if self.is_null:
            return {}
        if not isinstance(self._node, MappingNode):
            raise self.error("expected a mapping")
        entries: dict[str, Place] = {}
        # An own field wins, then the first mapping that has it. Each mapping is read once: they may merge each other in
        # a circle, or so often that their number doubles with each.
        waiting, seen = [self._node], {id(self._node)}
        while waiting:
            own: set[str] = set()
            merged: list[MappingNode] = []
            for key, value in waiting.pop().value:
                if key.tag == _MERGE:
                    merged += [node for node in self._merged(value) if id(node) not in seen]
                    seen |= {id(node) for node in merged}
                    continue
                if not isinstance(key, ScalarNode):
                    raise Place(self._file, key, self.path).error("a field's name must be a text")
                name = str(key.value)
                self._check_name(key, name, own, known)
                own.add(name)
                entries.setdefault(name, Place(self._file, value if isinstance(value, Node) else key, self.path))
            waiting += reversed(merged)
        return entries

    def _check_name(self, key: Node, name: str, own: Container[str], known: tuple[str, ...]) -> None:
        here = Place(self._file, key, self.path)
        if name in own:
            raise here.error(f"field {name} is given twice")
        if known and name not in known:
            raise here.error(f"unknown field {name}; known fields are {', '.join(known)}")

    def _merged(self, value: Node) -> list[MappingNode]:
        nodes = value.value if isinstance(value, SequenceNode) else [value]
        for node in nodes:
            if not isinstance(node, MappingNode):
                raise Place(self._file, node, self.path).error("<< takes a mapping or a list of mappings")
        return list(nodes)

    def items(self) -> Iterator[Place]:
        """Yield a sequence's elements."""
        if self.is_null:
            return
        if not isinstance(self._node, SequenceNode):
            raise self.error("expected a list")
        for node in self._node.value:
            yield Place(self._file, node, self.path)

    def text(self) -> str:
        """Return a scalar as it is written (`1` and `"1"` alike, as Prometheus reads label values)."""
        if not isinstance(self._node, ScalarNode):
            raise self.error("expected a text")
        text = "" if self.is_null else str(self._node.value)
        if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
            raise self.error("holds a NUL or half of a character, which no database stores; take it out")
        return text

    def replace_text(self, text: str) -> None:
        """Change a scalar in place (pack variables are filled in before rules are read)."""
        assert isinstance(self._node, ScalarNode)
        self._node.value = text

    def scalars(self) -> Iterator[Place]:
        """Yield every scalar value below this node, keys excluded."""
        if isinstance(self._node, ScalarNode):
            yield self
        elif isinstance(self._node, SequenceNode):
            for node in self._node.value:
                yield from Place(self._file, node, self.path).scalars()
        elif isinstance(self._node, MappingNode):
            for _key, value in self._node.value:
                yield from Place(self._file, value, self.path).scalars()


def read_yaml(text: str, file: str) -> Place:
    """Parse one YAML document. Raises RuleError with the line of the fault."""
    try:
        node = _Composer(text, file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What is missing at the end is missing behind the last line that says something.
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        raise RuleError(f"not YAML: {error.problem or error.context}", file=file, line=line) from error
    except yaml.reader.ReaderError as error:
        at = error.position
        what = f"the character U+{ord(text[at]):04X} is not allowed" if at < len(text) else error.reason
        raise RuleError(f"not YAML: {what}", file=file, line=text.count("\n", 0, at) + 1) from error
    except yaml.YAMLError as error:
        raise RuleError(f"not YAML: {error}", file=file) from error
    if node is None:
        raise RuleError("the file is empty", file=file, line=1)
    return Place(file, node)


class _Composer:
    """Makes nodes of libyaml's events. PyYAML's own goes as deep as the file says, in C, where that ends the process.

    Nor does it take an anchor that is defined twice, which Prometheus reads as YAML has it: the last one before counts.
    """

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._file = file
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        """Return the root of the only document; None where there is none."""
        node: Node | None = None
        for event in self._events:
            if isinstance(event, StreamStartEvent):
                continue
            if isinstance(event, StreamEndEvent):
                break
            assert isinstance(event, DocumentStartEvent)
            if node is not None:
                raise self._error("a second document begins here; a file may have one", event)
            node = self._node(next(self._events), 1)
            next(self._events)  # the document's end
        return node

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(f"not YAML: nothing before is called &{event.anchor}", event)
            return self._anchors[event.anchor]
        if depth > MAX_DEPTH:
            raise self._error(f"not read: it is nested more than {MAX_DEPTH} levels deep", event)
        node = self._empty(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if isinstance(node, SequenceNode):
            while not isinstance(event := next(self._events), SequenceEndEvent):
                node.value.append(self._node(event, depth + 1))
        elif isinstance(node, MappingNode):
            while not isinstance(event := next(self._events), MappingEndEvent):
                key = self._node(event, depth + 1)
                node.value.append((key, self._node(next(self._events), depth + 1)))
        return node

    def _empty(self, event: Any) -> Node:
        """Return the node of an event, without what is below it. Tags say what Place asks: is it null, is it `<<`."""
        start, end = event.start_mark, event.end_mark
        if isinstance(event, ScalarEvent):
            style = event.style or ""
            plain = event.implicit[0] and not style
            tag = _NULL if plain and event.value in _NULLS else _MERGE if plain and event.value == "<<" else event.tag
            return ScalarNode(tag or _TEXT, event.value, start, end, style)
        assert isinstance(event, SequenceStartEvent | MappingStartEvent), event
        kind = SequenceNode if isinstance(event, SequenceStartEvent) else MappingNode
        return kind(event.tag or "", [], start, end)

    def _error(self, reason: str, event: Any) -> RuleError:
        return RuleError(reason, file=self._file, line=event.start_mark.line + 1)
