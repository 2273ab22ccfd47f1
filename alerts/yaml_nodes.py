"""Strict YAML reading that knows its line numbers, so that every refusal can name file and line."""

from __future__ import annotations

from collections.abc import Container, Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from alerts.errors import RuleError

_MERGE = "tag:yaml.org,2002:merge"


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
        return isinstance(self._node, ScalarNode) and self._node.tag == "tag:yaml.org,2002:null"

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
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise RuleError(f"not YAML: {error.problem or error.context}", file=file, line=line) from error
    except RecursionError as error:
        raise RuleError("not read: it is nested too deeply", file=file) from error
    except YAMLError as error:
        raise RuleError(f"not YAML: {error}", file=file) from error
    if node is None:
        raise RuleError("the file is empty", file=file, line=1)
    return Place(file, node)
