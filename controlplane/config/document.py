"""Parses the text of fleet.yaml into data, and finds the line of each part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from collectors.yaml_text import MERGE, YamlError, compose, merged_maps, repeated, values_of
from controlplane.config.checking import Loc
from controlplane.config.wording import shown
from controlplane.errors import ConfigError, ConfigErrors

MAX_BYTES = 4 * 2**20
"""Maximum size of fleet.yaml. A larger file is a mistake (a log, a dump) and would stall the parser."""
_PLAIN_KEY = re.compile(r"[\w.-]+")


class Document:
    """A YAML file that holds a map. `path` is its name in errors."""

    def __init__(self, path: Path, data: dict[Any, Any], root: Node) -> None:
        """Use `read_document` or `parse_document`."""
        self.path, self.data = path, data
        self._root = root

    def line(self, loc: Loc) -> int:
        """Return the line, from 1, of the deepest part of `loc` that exists. For a field it is the line of its key."""
        node, line = self._root, int(self._root.start_mark.line) + 1
        for part in loc:
            if isinstance(node, MappingNode):
                if part == 0 and not _entry(node, part):
                    continue  # a list with one item may be written as the item alone
                found = _entry(node, part)
                if found is None:
                    break
                line, node = int(found[0].start_mark.line) + 1, found[1]
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = int(node.start_mark.line) + 1
            else:
                break
        return line

    def keep_as_written(self, path: tuple[str, ...], fields: Iterable[str]) -> None:
        """Put the text of scalars in place of their value: YAML reads `1.10` as a number, and it becomes `1.10` again.

        `path` leads to the maps that have the fields. In it, `*` stands for every item of a list.
        """
        names = tuple(fields)
        for data, node in _maps_at(self.data, self._root, path):
            for name in names:
                found = _entry(node, name)
                if found and name in data:
                    data[name] = _as_written(data[name], found[1])

    def error(self, loc: Loc, sentence: str) -> ConfigError:
        """Return a ConfigError with this file, and the line and dotted name of the part."""
        return ConfigError(sentence, file=self.path, line=self.line(loc), field=dotted(loc))


def dotted(loc: Loc) -> str:
    """Return a place as a text: `models[0].versions.v1`. Keys with special characters are in quotes."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if _PLAIN_KEY.fullmatch(part) else repr(part[:80])
        text += f".{name}" if text else name
    return text


FLEET_FIELDS = "fields such as fleet:, targets:, models:"


def read_document(path: Path, *, fields: str = FLEET_FIELDS) -> Document:
    """Read a file. Raises ConfigErrors when it is unreadable or not a YAML map; other faults cannot be found then.

    `fields` names the expected fields in the error for a file that is no map.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "no file has such a name"
        raise ConfigErrors([ConfigError(f"cannot be read: {why}", file=path)]) from error
    if len(raw) > MAX_BYTES:
        raise ConfigErrors([ConfigError(f"is larger than {MAX_BYTES} bytes", file=path)])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigErrors([ConfigError("is not UTF-8", file=path, line=line)]) from error
    return parse_document(text, path, fields=fields)


def parse_document(text: str, path: Path, *, fields: str = FLEET_FIELDS) -> Document:
    """Parse the text of a file. Raises ConfigErrors when it is not a YAML map, or repeats a field.

    `fields` names the expected fields in the error for a file that is no map.
    """
    try:
        found = compose(text, most=1)
        root = found[0] if found else None
        if root is not None and (twice := sorted(repeated(root))):
            errors = [ConfigError("is given twice", file=path, line=line, field=dotted(loc)) for line, loc in twice]
            raise ConfigErrors(errors)
        data = None if root is None else values_of(root)
    except YamlError as error:
        raise ConfigErrors([ConfigError(error.reason, file=path, line=error.line)]) from error
    if not isinstance(data, dict) or root is None:
        what = "is empty" if data is None else f"holds {shown(data)}"
        raise ConfigErrors([ConfigError(f"{what}; expected {fields}", file=path, line=1)])
    return Document(path, data, root)


def _entry(node: MappingNode, part: int | str) -> tuple[Node, Node] | None:
    """Return the key and value of a name, also of one that `<<` merges."""
    for one in merged_maps(node):
        for key, value in one.value:
            if isinstance(key, ScalarNode) and key.tag != MERGE and key.value == str(part):
                return key, value
    return None


def _maps_at(data: Any, node: Node, path: tuple[str, ...]) -> Iterator[tuple[dict[Any, Any], MappingNode]]:
    if not path:
        if isinstance(data, dict) and isinstance(node, MappingNode):
            yield data, node
    elif path[0] == "*":
        if isinstance(data, list) and isinstance(node, SequenceNode):
            for item, inner in zip(data, node.value, strict=True):
                yield from _maps_at(item, inner, path[1:])
    elif isinstance(data, dict) and isinstance(node, MappingNode) and path[0] in data:
        found = _entry(node, path[0])
        if found:
            yield from _maps_at(data[path[0]], found[1], path[1:])


def _as_written(value: Any, node: Node) -> Any:
    if isinstance(value, list) and isinstance(node, SequenceNode):
        return [_as_written(item, inner) for item, inner in zip(value, node.value, strict=True)]
    scalar = isinstance(value, bool | int | float) and isinstance(node, ScalarNode)
    return node.value if scalar else value
