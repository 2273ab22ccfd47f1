"""Reads YAML strictly, by libyaml.

The parser is libyaml, because Prometheus's own is a port of it, and parsers in Python take ten times as long and more.
Its nodes have their lines, so that every fault can be told with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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

MAX_DEPTH = 100
"""Maximum depth of nesting (chosen)."""
SECOND = "a second document begins here; a file may have one"
NULL, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("null", "merge"))
"""Tags of scalars that are null, and of the key `<<`."""
PLAIN = "?"
"""Tag of other scalars without quotes: their text decides what they are."""
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUTHS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class YamlError(Exception):
    """A text is not YAML, or not read. `reason` says why, `line` is the line of the fault, from 1."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason, self.line = reason, line


def compose(text: str, most: int | None = None) -> list[Node]:
    """Return the root of each document of a text. Raises YamlError.

    `most` is the largest number of documents; None: any number.
    """
    try:
        return list(_Composer(text, most).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # An error at the end of the text belongs to the last line that is not blank.
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        raise YamlError(f"not YAML: {error.problem or error.context}", line) from error
    except yaml.reader.ReaderError as error:
        at = error.position
        what = f"the character U+{ord(text[at]):04X} is not allowed" if at < len(text) else error.reason
        raise YamlError(f"not YAML: {what}", text.count("\n", 0, at) + 1) from error
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {error}", None) from error


def load_texts(text: str) -> Any:
    """Return one document as dicts and lists of texts. Raises YamlError.

    Every scalar is its written text: `version: 1.10` stays "1.10". A text without a document is None.
    """
    return _loaded(text, lambda node: str(node.value))


def load_values(text: str) -> Any:
    """Return one document as dicts, lists and values of YAML 1.2's core schema. Raises YamlError.

    `on` and `no` are texts there, and so are dates.
    """
    return _loaded(text, _value)


def _loaded(text: str, scalar: Callable[[ScalarNode], Any]) -> Any:
    found = compose(text, most=1)
    return _data(found[0], scalar, {}) if found else None


def _data(node: Node, scalar: Callable[[ScalarNode], Any], known: dict[int, Any]) -> Any:
    """Return a node's data. `known` has that of nodes which have an alias, and which may hold themselves."""
    if isinstance(node, ScalarNode):
        return scalar(node)
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, SequenceNode):
        items: list[Any] = []
        known[id(node)] = items
        items.extend(_data(one, scalar, known) for one in node.value)
        return items
    fields: dict[Any, Any] = {}
    known[id(node)] = fields
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise YamlError("not YAML: a field's name must be a text", line)
        name = scalar(key)
        if name in fields:
            raise YamlError(f"not YAML: {key.value!r} is given twice", line)
        fields[name] = _data(value, scalar, known)
    return fields


def _value(node: ScalarNode) -> Any:
    """Return a scalar's value by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    text = str(node.value)
    if node.tag == NULL:
        return None
    if node.tag != PLAIN:
        return text
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").replace(".nan", "nan"))
    return text


class _Composer:
    """Makes nodes from libyaml's events. PyYAML's own composer cannot be used, for two reasons.

    It recurses in C as deep as the file is nested, which can crash the process. It also refuses an anchor that is
    defined twice; YAML and Prometheus allow that, and an alias refers to the last definition before it.
    """

    def __init__(self, text: str, most: int | None) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._most = most
        self._anchors: dict[str, Node] = {}

    def documents(self) -> Iterator[Node]:
        """Yield the root of each document. Raises YamlError for one too many."""
        read = 0
        for event in self._events:
            if isinstance(event, StreamStartEvent):
                continue
            if isinstance(event, StreamEndEvent):
                break
            assert isinstance(event, DocumentStartEvent)
            if read == self._most:
                raise self._error(SECOND, event)
            read += 1
            self._anchors = {}  # an anchor ends with its document
            yield self._node(next(self._events), 1)
            next(self._events)  # the document's end

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(f"not YAML: no anchor before it is named &{event.anchor}", event)
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
        """Return the node of an event, without children. Its tag says whether it is null or `<<`, as Place needs."""
        start, end = event.start_mark, event.end_mark
        if isinstance(event, ScalarEvent):
            style = event.style or ""
            plain = event.implicit[0] and not style
            tag = NULL if plain and event.value in _NULLS else MERGE if plain and event.value == "<<" else event.tag
            return ScalarNode(tag or (PLAIN if plain else ""), event.value, start, end, style)
        assert isinstance(event, SequenceStartEvent | MappingStartEvent), event
        kind = SequenceNode if isinstance(event, SequenceStartEvent) else MappingNode
        return kind(event.tag or "", [], start, end)

    def _error(self, reason: str, event: Any) -> YamlError:
        return YamlError(reason, event.start_mark.line + 1)
