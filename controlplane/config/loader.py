"""Reads fleet.yaml. Every fault names file, line, field and what was expected; all faults are found in one pass."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from controlplane.config.model import Fleet
from controlplane.errors import ConfigError, ConfigErrors

Found = TypeVar("Found", bound=BaseModel)
_PLACE = re.compile(r"(\w+(?:\[\d+\]|\.\w+)*): (.*)", re.DOTALL)
MAX_BYTES = 4 * 2**20
"""A fleet.yaml beyond this is a mistake (a log, a dump), and would only stall the parser."""


@dataclass(frozen=True)
class LoadedFleet:
    """A valid fleet.yaml and where it came from: the paths in it are absolute, seen from its folder."""

    fleet: Fleet
    path: Path


def load_fleet(path: Path) -> LoadedFleet:
    """Read and validate a fleet.yaml.

    Raises ConfigErrors with one ConfigError a fault.
    """
    text = _read(path)
    path = path.absolute()
    return LoadedFleet(located(parse_fleet(text, path), path.parent), path)


def fleet_content(path: Path) -> dict[str, Any]:
    """Return the content of a good fleet.yaml as it is written, for another process. Raises ConfigErrors."""
    text = _read(path)
    parse_fleet(text, path)
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return content


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigErrors([ConfigError(f"cannot be read: {error.strerror}", file=path)]) from error
    if len(raw) > MAX_BYTES:
        raise ConfigErrors([ConfigError(f"is larger than {MAX_BYTES} bytes", file=path)])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigErrors([ConfigError("is not UTF-8", file=path, line=line)]) from error


def parse_fleet(text: str, path: Path) -> Fleet:
    """Validate the text of a fleet.yaml; `path` only names it in errors. Raises ConfigErrors."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        data = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(p) for p in (error.context, error.problem) if p) or "is not YAML"
        raise ConfigErrors([ConfigError(what, file=path, line=mark.line + 1 if mark else None)]) from error
    except (YAMLError, ValueError) as error:
        raise ConfigErrors([ConfigError(f"is not YAML: {error}", file=path)]) from error
    except RecursionError as error:
        raise ConfigErrors([ConfigError("is nested too deeply", file=path)]) from error
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds a {type(data).__name__}"
        what = f"{found}; expected fields such as fleet:, targets:, models:"
        raise ConfigErrors([ConfigError(what, file=path, line=1)])
    try:
        return Fleet.model_validate(data)
    except ValidationError as error:
        faults = [_fault(detail, root, path) for detail in error.errors(include_url=False)]
        raise ConfigErrors(sorted(faults, key=lambda f: f.line or 0)) from error


def validated(content: Mapping[str, Any]) -> Fleet:
    """Validate the content of a fleet.yaml that was read elsewhere. Raises ConfigErrors, which name no lines."""
    try:
        return Fleet.model_validate(content)
    except ValidationError as error:
        faults = [ConfigError(_message(d), field=_dotted(d["loc"])) for d in error.errors(include_url=False)]
        raise ConfigErrors(faults) from error


def located(value: Found, folder: Path) -> Found:
    """Return a section with the paths in it relative to `folder` made absolute."""
    changes = {name: _anchored(getattr(value, name), folder) for name in type(value).model_fields}
    return value.model_copy(update=changes)


def _anchored(value: Any, folder: Path) -> Any:
    match value:
        case Path():
            return folder / value
        case BaseModel():
            return located(value, folder)
        case tuple():
            return tuple(_anchored(item, folder) for item in value)
        case dict():
            return {key: _anchored(item, folder) for key, item in value.items()}
        case _:
            return value


def _fault(detail: ErrorDetails, root: Node, path: Path) -> ConfigError:
    loc, message = detail["loc"], _message(detail)
    if not loc and (named := _PLACE.match(message)):
        # A check of the whole file names the place itself.
        loc = tuple(int(p) if p.isdigit() else p for p in re.findall(r"\w+", named[1]))
        message = named[2]
    return ConfigError(message, file=path, line=_line(root, loc), field=_dotted(loc))


def _message(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            known = _fields_at(detail["loc"][:-1])
            name = str(detail["loc"][-1])
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return f"unknown field; {hint}expected one of: {', '.join(known)}"
        case "missing":
            return "is required"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"expected text like {detail['ctx']['pattern']}, got {detail['input']!r}"
        case _:
            shown = "" if isinstance(detail["input"], dict | list) else f", got {detail['input']!r}"
            return detail["msg"].replace("Input should be", "expected") + shown


def _dotted(loc: Sequence[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _line(root: Node, loc: Sequence[int | str]) -> int:
    """Return the 1-based line of the deepest node that `loc` reaches: the key's own line for a field."""
    node, line = root, int(root.start_mark.line) + 1
    for part in loc:
        if isinstance(node, MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = int(found[0].start_mark.line) + 1, found[1]
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            break
    return line


def _fields_at(loc: Sequence[int | str]) -> list[str]:
    """Return the field names that the model at `loc` knows."""
    model: type[BaseModel] | None = Fleet
    for part in loc:
        if model is None:
            return []
        if isinstance(part, str) and (field := _field(model, part)) is not None:
            model = _model_in(field.annotation)
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def _field(model: type[BaseModel], key: str) -> Any:
    return next((f for name, f in model.model_fields.items() if key in (name, f.alias)), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model class inside `X | None`, `tuple[X, ...]` or `dict[str, X]`."""
    arguments = typing.get_args(annotation)
    if not arguments:
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return next((m for arg in arguments if (m := _model_in(arg))), None)


def line_of(path: Path, loc: Sequence[int | str]) -> int | None:
    """Return the 1-based line of a place in a file that was loaded before, for faults that are found later, or None."""
    try:
        root = YAML(typ="safe", pure=True).compose(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError, ValueError):
        return None
    return _line(root, loc)
