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

from collectors.yaml_reasons import TAB, UNKNOWN, reason_of

_HALVES = "invalid Unicode character escape code"
SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""A character such as an emoji as JSON writes it: two escapes, of which YAML takes none."""
BOM = "\ufeff"
MAX_DEPTH = 100
"""Maximum depth of nesting (chosen)."""
SECOND = "a second document begins here; write everything into one, without '---' in between"
MAX_DIGITS = 1000
"""Maximum length of a whole number (chosen). Python itself refuses more than 4,300 digits."""
MAX_MERGED = 100_000
"""Maximum number of fields that the `<<` of one document copy (chosen): a chain of n maps copies n²/2."""
_YAML = "tag:yaml.org,2002:"
NULL, MERGE, _TEXT, _LIST, _MAP = (f"{_YAML}{name}" for name in ("null", "merge", "str", "seq", "map"))
"""Tags of scalars that are null, of the key `<<`, and of texts, lists and maps."""
_KINDS: dict[str, type] = {f"{_YAML}int": int, f"{_YAML}float": float, f"{_YAML}bool": bool}
_TAG = "a '!' begins a tag, which is not understood here; put the text into quotes"
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

    `most` is the largest number of documents; None: any number. Marks count characters of the text without a byte order
    mark.
    """
    text = text.removeprefix(BOM)
    try:
        return list(_Composer(text, most).documents())
    except yaml.MarkedYAMLError as error:
        if _HALVES in str(error) and (joined := SURROGATES.sub(_joined, text)) != text:
            return compose(joined, most)
        mark = error.problem_mark or error.context_mark
        # An error at the end of the text belongs to the last line that is not blank.
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        at_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        reason = TAB if at_tab else reason_of(f"{error.problem} {error.context}")
        raise YamlError(f"not YAML: {reason}", line) from error
    except yaml.reader.ReaderError as error:
        at = error.position
        what = f"the character U+{ord(text[at]):04X} is not allowed; remove it" if at < len(text) else UNKNOWN
        raise YamlError(f"not YAML: {what}", text.count("\n", 0, at) + 1) from error
    except UnicodeEncodeError as error:
        what = f"the character U+{ord(text[error.start]):04X} is not allowed; remove it"
        raise YamlError(f"not YAML: {what}", text.count("\n", 0, error.start) + 1) from error
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {reason_of(str(error))}", None) from error


def _joined(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):08x}"


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


def values_of(root: Node) -> Any:
    """Return the data of a node of `compose`, as `load_values` does. Raises YamlError."""
    return _Reader(_value).data(root)


def repeated(root: Node) -> Iterator[tuple[int, tuple[int | str, ...]]]:
    """Yield the line, from 1, and the place of each field that repeats another field of its map."""
    waiting: list[tuple[tuple[int | str, ...], Node]] = [((), root)]
    seen: set[int] = set()
    while waiting:
        place, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            waiting += [((*place, number), each) for number, each in enumerate(node.value)]
        elif isinstance(node, MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, ScalarNode):
                    continue
                if key.value in names and key.tag != MERGE:
                    yield key.start_mark.line + 1, (*place, str(key.value))
                names.add(key.value)
                waiting.append(((*place, str(key.value)), value))


def merged_maps(node: MappingNode) -> Iterator[MappingNode]:
    """Yield the map itself and then each map that it merges with `<<`, once. Raises YamlError.

    An own field wins, then the field of the first of them that has it, as in Go's parser. Maps may merge each other in
    a circle, or double in number with each level.
    """
    waiting, seen = [node], {id(node)}
    while waiting:
        one = waiting.pop()
        yield one
        found = [each for key, value in one.value if key.tag == MERGE for each in _merged(value)]
        fresh = {id(each): each for each in found if id(each) not in seen}
        seen |= fresh.keys()
        waiting += reversed(fresh.values())


def _merged(value: Node) -> list[MappingNode]:
    found: list[MappingNode] = []
    for node in value.value if isinstance(value, SequenceNode) else [value]:
        if not isinstance(node, MappingNode):
            raise YamlError("not YAML: '<<' merges maps only", node.start_mark.line + 1)
        found.append(node)
    return found


def _loaded(text: str, scalar: Callable[[ScalarNode], Any]) -> Any:
    found = compose(text, most=1)
    return _Reader(scalar).data(found[0]) if found else None


class _Reader:
    """Makes data of the nodes of one document."""

    def __init__(self, scalar: Callable[[ScalarNode], Any]) -> None:
        self._scalar = scalar
        self._known: dict[int, Any] = {}
        """Data of the lists and maps so far, by their nodes' ids: nodes may have aliases, and hold themselves."""
        self._merged = 0

    def data(self, node: Node) -> Any:
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._known:
            return self._known[id(node)]
        if self._scalar is _value and node.tag not in ("", _LIST, _MAP):
            raise YamlError(f"not YAML: {_TAG}", node.start_mark.line + 1)
        if isinstance(node, SequenceNode):
            items: list[Any] = []
            self._known[id(node)] = items
            items.extend(self.data(one) for one in node.value)
            return items
        assert isinstance(node, MappingNode), node
        fields: dict[Any, Any] = {}
        self._known[id(node)] = fields
        for number, one in enumerate(merged_maps(node)):
            for name, value in self._own(one).items():
                if name not in fields:
                    self._merged += number > 0
                    fields[name] = self.data(value)
            if self._merged > MAX_MERGED:
                what = f"not read: its '<<' merge more than {MAX_MERGED} fields into others"
                raise YamlError(what, node.start_mark.line + 1)
        return fields

    def _own(self, node: MappingNode) -> dict[Any, Node]:
        """Return a map's own fields. Raises YamlError for a repeated name, and one that is no scalar."""
        own: dict[Any, Node] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise YamlError("not YAML: a field's name must be a text", line)
            name = self._scalar(key)
            if name in own:
                raise YamlError(f"not YAML: {key.value!r} is given twice", line)
            own[name] = value
        return own


def _value(node: ScalarNode) -> Any:
    """Return a scalar's value by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    if node.tag == NULL:
        return None
    if node.tag == PLAIN:
        return _plain(node)
    if node.tag in ("", "!", _TEXT, MERGE):
        return str(node.value)
    kinds = _KINDS.get(node.tag)
    if kinds is None:
        raise YamlError(f"not YAML: {_TAG}", node.start_mark.line + 1)
    value = _plain(node)
    if kinds is float and type(value) is int:
        return float(value)
    if not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool):
        raise YamlError(
            f"not YAML: the value does not fit its tag !!{node.tag[len(_YAML) :]}", node.start_mark.line + 1
        )
    return value


def _plain(node: ScalarNode) -> Any:
    text = str(node.value)
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            what = f"not read: a number of more than {MAX_DIGITS} digits; put a text into quotes"
            raise YamlError(what, node.start_mark.line + 1)
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
                raise self._error(
                    f"not YAML: an alias *{event.anchor} without an anchor &{event.anchor} before it", event
                )
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
