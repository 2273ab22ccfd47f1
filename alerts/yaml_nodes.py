"""Reads YAML strictly and keeps line numbers, so that every error can name file and line.

The parser is the one of collectors/yaml_text.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from alerts.errors import RuleError
from collectors.yaml_text import MERGE, NULL, YamlError, compose, merged_maps

MAX_FILE_BYTES = 16 * 2**20
"""Maximum size of a file: a hundred times the largest of 214 public rule files."""


class Place:
    """A YAML node and its place. Methods that read raise RuleError with file, line and path."""

    def __init__(self, file: str, node: Node, path: str = "") -> None:
        self._file, self._node, self.path = file, node, path

    @property
    def line(self) -> int:
        """Line of the node, from 1."""
        return int(self._node.start_mark.line) + 1

    def error(self, message: str) -> RuleError:
        """Return a RuleError that names this place."""
        return RuleError(": ".join(p for p in (self.path, message) if p), file=self._file, line=self.line)

    def within(self, path: str) -> Place:
        """Return the same node under another name for messages."""
        return Place(self._file, self._node, path)

    @property
    def is_null(self) -> bool:
        """Whether the value is absent, as in `key:`."""
        return isinstance(self._node, ScalarNode) and self._node.tag == NULL

    @property
    def is_mapping(self) -> bool:
        """Whether the value is a mapping."""
        return isinstance(self._node, MappingNode)

    @property
    def is_scalar(self) -> bool:
        """Whether the value is neither a mapping nor a list."""
        return isinstance(self._node, ScalarNode)

    @property
    def is_quoted(self) -> bool:
        """Whether the value is in quotes or a block, so that even `"1"` is a text."""
        return isinstance(self._node, ScalarNode) and bool(self._node.style)

    def fields(self, *known: str) -> dict[str, Place]:
        """Return a mapping's entries, including those that it merges with `<<:`.

        Raises RuleError for another type, for a repeated name, and, when `known` is not empty, for a name outside it.
        """
        if self.is_null:
            return {}
        if not isinstance(self._node, MappingNode):
            raise self.error("expected a mapping")
        entries: dict[str, Place] = {}
        for node in self._with_merged():
            own: set[str] = set()
            for key, value in node.value:
                if key.tag == MERGE:
                    continue
                if not isinstance(key, ScalarNode):
                    raise Place(self._file, key, self.path).error("a field's name must be a text")
                name = str(key.value)
                self._check_name(key, name, own, known)
                own.add(name)
                entries.setdefault(name, Place(self._file, value if isinstance(value, Node) else key, self.path))
        return entries

    def _with_merged(self) -> Iterator[MappingNode]:
        assert isinstance(self._node, MappingNode)
        try:
            yield from merged_maps(self._node)
        except YamlError as error:
            raise RuleError(
                ": ".join(p for p in (self.path, error.reason) if p), file=self._file, line=error.line
            ) from error

    def _check_name(self, key: Node, name: str, own: Container[str], known: tuple[str, ...]) -> None:
        here = Place(self._file, key, self.path)
        if name in own:
            raise here.error(f"field {name} is given twice")
        if known and name not in known:
            raise here.error(f"unknown field {name}; known fields are {', '.join(known)}")

    def items(self) -> Iterator[Place]:
        """Yield a list's elements. Raises RuleError for another type."""
        if self.is_null:
            return
        if not isinstance(self._node, SequenceNode):
            raise self.error("expected a list")
        for node in self._node.value:
            yield Place(self._file, node, self.path)

    def text(self) -> str:
        """Return a scalar as text; `1` and `"1"` are equal, as in Prometheus's label values.

        Raises RuleError for another type, and for characters that a database cannot store.
        """
        if not isinstance(self._node, ScalarNode):
            raise self.error("expected a text")
        text = "" if self.is_null else str(self._node.value)
        if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
            raise self.error("holds a NUL or half of a character, which no database stores; remove it")
        return text

    def replace_text(self, text: str) -> None:
        """Replace a scalar's text in place. Packs use it to fill in variables before the rules are read."""
        assert isinstance(self._node, ScalarNode)
        self._node.value = text

    def scalars(self) -> Iterator[Place]:
        """Yield every scalar value below this node, without keys."""
        if isinstance(self._node, ScalarNode):
            yield self
        elif isinstance(self._node, SequenceNode):
            for node in self._node.value:
                yield from Place(self._file, node, self.path).scalars()
        elif isinstance(self._node, MappingNode):
            for _key, value in self._node.value:
                yield from Place(self._file, value, self.path).scalars()


def read_text(path: Path, what: str) -> str:
    """Return the text of a file. `what` it is goes into the message, such as "a rule file". Raises RuleError."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
        if len(body) > MAX_FILE_BYTES:
            raise RuleError(f"{what} may have {MAX_FILE_BYTES:,} bytes, this one has more", file=str(path))
        return body.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RuleError(f"cannot be read: {why}", file=str(path)) from error


def read_yaml(text: str, file: str) -> Place:
    """Parse one YAML document. Raises RuleError with the line of the fault, also for a second document."""
    return read_documents(text, file, most=1)[0]


def read_documents(text: str, file: str, most: int | None = None) -> list[Place]:
    """Parse every YAML document of a text, at least one. Raises RuleError with the line of the fault.

    `most` is the largest number of documents; None: any number.
    """
    try:
        nodes = compose(text, most)
    except YamlError as error:
        raise RuleError(error.reason, file=file, line=error.line) from error
    if not nodes:
        raise RuleError("the file is empty", file=file, line=1)
    return [Place(file, node) for node in nodes]
