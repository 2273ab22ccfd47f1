"""The nodes of a parsed template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.gotemplate.values import GoValue


@dataclass(frozen=True)
class Literal:
    """A constant: a text, a number, true, false or nil."""

    value: GoValue


@dataclass(frozen=True)
class Dot:
    """`.`, the current value."""


@dataclass(frozen=True)
class Variable:
    """`$name`. `$` is the value that the whole template is executed on."""

    name: str


@dataclass(frozen=True)
class FieldOf:
    """`.a.b` after an operand: fields of records, entries of maps, methods."""

    base: Operand
    names: tuple[str, ...]


@dataclass(frozen=True)
class Name:
    """A function's name."""

    name: str


@dataclass(frozen=True)
class Command:
    """A function, field or method with its arguments, or a lone value."""

    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Pipeline:
    """Commands in sequence. Each gets the previous result as its last argument."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    """Variables that are set to the result."""
    declares: bool = False
    """Whether `variables` are declared (`:=`) rather than set (`=`)."""
    source: str = ""
    """Text of the action, for messages."""


Operand = Literal | Dot | Variable | FieldOf | Name | Pipeline


@dataclass(frozen=True)
class Text:
    """Text outside actions, written unchanged."""

    text: str


@dataclass(frozen=True)
class Print:
    """`{{ pipeline }}`. Its result is written, unless a variable is set to it."""

    pipeline: Pipeline


@dataclass(frozen=True)
class If:
    """`{{ if }}` or `{{ with }}`. In `with`, dot is the condition's value."""

    condition: Pipeline
    then: Sequence[Node]
    otherwise: Sequence[Node]
    sets_dot: bool = False


@dataclass(frozen=True)
class Range:
    """`{{ range }}`."""

    over: Pipeline
    body: Sequence[Node]
    otherwise: Sequence[Node]


@dataclass(frozen=True)
class Leave:
    """`{{ break }}` or `{{ continue }}`."""

    loop: bool
    """Whether the whole loop is left (`break`) rather than one iteration (`continue`)."""


@dataclass(frozen=True)
class Include:
    """`{{ template "name" pipeline }}`."""

    name: str
    argument: Pipeline | None


Node = Text | Print | If | Range | Leave | Include


@dataclass(frozen=True)
class Parsed:
    """A parsed template."""

    body: tuple[Node, ...]
    defined: dict[str, tuple[Node, ...]]
    """Bodies of `{{ define }}` and `{{ block }}`, by name."""
