"""What a template is made of once it is parsed."""

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
    """`.`, the value that the template is about at this place."""


@dataclass(frozen=True)
class Variable:
    """`$name`; `$` is what the whole template is about."""

    name: str


@dataclass(frozen=True)
class FieldOf:
    """`.a.b` behind an operand: fields of records, entries of maps, methods."""

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
    """Commands of which each gets the result of the one before as its last argument."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    """What the result is put into."""
    declares: bool = False
    """Whether `variables` are new (`:=`) or were there before (`=`)."""
    source: str = ""
    """The action as it is written, for messages."""


Operand = Literal | Dot | Variable | FieldOf | Name | Pipeline


@dataclass(frozen=True)
class Text:
    """What is written out as it is."""

    text: str


@dataclass(frozen=True)
class Print:
    """`{{ pipeline }}`: its result is written out, unless it goes into a variable."""

    pipeline: Pipeline


@dataclass(frozen=True)
class If:
    """`{{ if }}`, or `{{ with }}`, in which dot is the condition's value."""

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
    """Whether the whole loop is left, or this turn of it."""


@dataclass(frozen=True)
class Include:
    """`{{ template "name" pipeline }}`."""

    name: str
    argument: Pipeline | None


Node = Text | Print | If | Range | Leave | Include


@dataclass(frozen=True)
class Parsed:
    """A whole text."""

    body: tuple[Node, ...]
    defined: dict[str, tuple[Node, ...]]
    """The bodies of `{{ define }}` and `{{ block }}` by name."""
