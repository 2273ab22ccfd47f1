"""Parses the text of fleet.yaml into data, and finds the line of each part."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from controlplane.config.checking import Loc
from controlplane.config.wording import shown, yaml_sentence
from controlplane.errors import ConfigError, ConfigErrors

MAX_BYTES = 4 * 2**20
"""Maximum size of fleet.yaml. A larger file is a mistake (a log, a dump) and would stall the parser."""
IMPOSSIBLE = "looks like a number or a date, but is not a valid one; put a text into quotes"
_MERGE = "tag:yaml.org,2002:merge"
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
    root: Node | None = None
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        if twice := list(_repeated(root)):
            raise ConfigErrors([ConfigError("is given twice", file=path, line=at, field=name) for at, name in twice])
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise ConfigErrors([ConfigError(yaml_sentence(str(error)), file=path, line=line)]) from error
    except RecursionError as error:
        raise ConfigErrors([ConfigError("is nested too deeply", file=path)]) from error
    except (YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        # A strange date, number or tag also makes the parser raise errors of Python's types.
        if isinstance(error, ValueError | OverflowError) and root is not None:
            raise ConfigErrors([ConfigError(IMPOSSIBLE, file=path, line=_impossible(root))]) from error
        line = _line_of_character(text, error)
        raise ConfigErrors([ConfigError(yaml_sentence(str(error)), file=path, line=line)]) from error
    if not isinstance(data, dict) or root is None:
        found = "is empty" if data is None else f"holds {shown(data)}"
        what = f"{found}; expected {fields}"
        raise ConfigErrors([ConfigError(what, file=path, line=1)])
    return Document(path, data, root)


def _impossible(root: Node) -> int | None:
    """Return the line of the first value that looks like a number or a date but is not a valid one."""
    constructor, lines = YAML(typ="safe", pure=True).constructor, []
    for node in _nodes(root):
        if isinstance(node, ScalarNode):
            try:
                constructor.construct_object(node)
            except (ValueError, OverflowError):
                lines.append(int(node.start_mark.line) + 1)
    return min(lines, default=None)


def _nodes(root: Node) -> Iterator[Node]:
    """Yield every node once, also a node with aliases."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        yield node
        inner: list[Node] = []
        if isinstance(node, SequenceNode):
            inner = list(node.value)
        elif isinstance(node, MappingNode):
            inner = [part for entry in node.value for part in entry]
        fresh = {id(each): each for each in inner if id(each) not in seen}
        seen |= fresh.keys()
        waiting += fresh.values()


def _line_of_character(text: str, error: Exception) -> int | None:
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else None


def _entry(node: MappingNode, part: int | str) -> tuple[Node, Node] | None:
    """Return the key and value of a name. An own field wins over a field that `<<` merges."""
    waiting, seen = [node], {id(node)}
    while waiting:
        merged: list[MappingNode] = []
        for key, value in waiting.pop(0).value:
            if isinstance(key, ScalarNode) and key.tag != _MERGE and key.value == str(part):
                return key, value
            if key.tag == _MERGE:
                found = value.value if isinstance(value, SequenceNode) else [value]
                merged += [each for each in found if isinstance(each, MappingNode) and id(each) not in seen]
        seen |= {id(each) for each in merged}
        waiting += merged
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
    scalar = isinstance(value, bool | int | float | datetime.date) and isinstance(node, ScalarNode)
    return node.value if scalar else value


def _repeated(root: Node | None) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of each field that repeats another field of its map."""
    waiting: list[tuple[Loc, Node]] = [((), root)] if root is not None else []
    seen: set[int] = set()
    while waiting:
        loc, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            waiting += [((*loc, number), each) for number, each in enumerate(node.value)]
        elif isinstance(node, MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, ScalarNode):
                    continue
                if key.value in names and key.tag != _MERGE:
                    yield int(key.start_mark.line) + 1, dotted((*loc, str(key.value)))
                names.add(key.value)
                waiting.append(((*loc, str(key.value)), value))
