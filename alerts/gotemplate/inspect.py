"""Inspects a parsed template without an alert: finds the labels and functions that it names, the templates that it
includes, and actions that always fail."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from alerts.errors import TemplateError
from alerts.gotemplate.functions import Functions
from alerts.gotemplate.nodes import (
    Command,
    Dot,
    FieldOf,
    If,
    Include,
    Literal,
    Name,
    Node,
    Operand,
    Parsed,
    Pipeline,
    Print,
    Range,
    Variable,
)
from alerts.gotemplate.values import AlertData, GoValue

_LABEL = "1"
"""Stand-in for the value of a label. It is numeric, because some functions accept only numeric texts."""
_FIELDS = tuple(AlertData.__dataclass_fields__)


def label_names(parsed: Parsed) -> frozenset[str]:
    """Return the labels that a template names: `$labels.x`, `.Labels.x`, `index $labels "x"`."""
    found: set[str] = set()
    for pipeline, at_root in _pipelines(parsed.body, at_root=True):
        for command in pipeline.commands:
            found |= set(_labels_of(command, at_root))
    return frozenset(found)


def doubts(parsed: Parsed, functions: Functions, variables: Mapping[str, GoValue]) -> tuple[str, ...]:
    """Return a sentence for each action that fails, or prints `%!`, for every alert.

    An action is evaluated when it depends on constants and `variables` only. Every other action counts as correct.
    """
    look = _Look(functions, variables)
    for body, root in ((parsed.body, True), *((body, False) for body in parsed.defined.values())):
        for pipeline, at_root in _pipelines(body, at_root=root):
            look.at(pipeline, at_root=at_root)
    return tuple(dict.fromkeys(look.sentences))


def unknown_function(body: Sequence[Node], functions: Container[str]) -> str:
    """Return a sentence for the first call of a function that is not among `functions`; "" for none."""
    for pipeline, _ in _pipelines(body, at_root=False):
        for operand in (operand for command in pipeline.commands for operand in command.operands):
            inner = operand.base if isinstance(operand, FieldOf) else operand
            if isinstance(inner, Name) and inner.name not in functions:
                return f"{pipeline.source}: {inner.name} is not a function of templates"
    return ""


def included(body: Sequence[Node]) -> Iterator[str]:
    """Yield the names of the templates that a template includes itself."""
    for node in body:
        match node:
            case Include(name, _):
                yield name
            case If(_, then, otherwise):
                yield from included((*then, *otherwise))
            case Range(_, inner, otherwise):
                yield from included((*inner, *otherwise))


def _pipelines(body: Sequence[Node], *, at_root: bool) -> Iterator[tuple[Pipeline, bool]]:
    """Yield every pipeline, including those in parentheses, and whether dot is the alert there."""
    for node in body:
        match node:
            case Print(pipeline):
                yield from _within(pipeline, at_root)
            case If(condition, then, otherwise, sets_dot):
                yield from _within(condition, at_root)
                yield from _pipelines(then, at_root=at_root and not sets_dot)
                yield from _pipelines(otherwise, at_root=at_root)
            case Range(over, inner, otherwise):
                yield from _within(over, at_root)
                yield from _pipelines(inner, at_root=False)
                yield from _pipelines(otherwise, at_root=at_root)
            case Include(_, argument) if argument is not None:
                yield from _within(argument, at_root)


def _within(pipeline: Pipeline, at_root: bool) -> Iterator[tuple[Pipeline, bool]]:
    yield pipeline, at_root
    for command in pipeline.commands:
        for operand in command.operands:
            inner = operand.base if isinstance(operand, FieldOf) else operand
            if isinstance(inner, Pipeline):
                yield from _within(inner, at_root)


def _labels_of(command: Command, at_root: bool) -> Iterator[str]:
    for operand in command.operands:
        match operand:
            case FieldOf(Variable("$labels"), (name,)):
                yield name
            case FieldOf(Dot(), ("Labels", name)) if at_root:
                yield name
    match command.operands:
        case (Name("index"), Variable("$labels") | FieldOf(Dot() | Variable("$"), ("Labels",)), Literal(str(name))):
            yield name


class _Unknown(Exception):
    pass


class _Look:
    """Evaluates the pipelines that need no alert."""

    def __init__(self, functions: Functions, variables: Mapping[str, GoValue]) -> None:
        self._functions, self._variables = functions, variables
        self.sentences: list[str] = []

    def at(self, pipeline: Pipeline, *, at_root: bool) -> None:
        """Append a sentence when a pipeline fails."""
        try:
            result = self._value(pipeline, at_root)
        except _Unknown:
            return
        except TemplateError as error:
            self.sentences.append(f"{pipeline.source}: {error}")
            return
        if isinstance(result, str) and "%!" in result:
            self.sentences.append(f"{pipeline.source} prints {result!r}")

    def _value(self, pipeline: Pipeline, at_root: bool) -> GoValue:
        value, known = None, False
        for number, command in enumerate(pipeline.commands):
            first, *rest = command.operands
            if not isinstance(first, Name):
                value, known = self._known(first, at_root) if not rest else (None, False)
                continue
            if first.name not in self._functions:
                known = False
                continue
            function, piped = self._functions[first.name], number > 0
            function.check_count(first.name, len(rest) + piped)
            arguments = [self._known(operand, at_root) for operand in rest]
            if (piped and not known) or not all(there for _, there in arguments):
                known = False
                continue
            given = [argument for argument, _ in arguments] + ([value] if piped else [])
            value, known = function(first.name, given), True
        if not known:
            raise _Unknown
        return value

    def _known(self, operand: Operand, at_root: bool) -> tuple[GoValue, bool]:
        """Return an operand's value, and whether it is known. Raises TemplateError for a field that alerts lack."""
        match operand:
            case Literal(value):
                return value, True
            case Variable(name) if name in self._variables:
                return self._variables[name], True
            case FieldOf(Variable("$labels" | "$externalLabels"), (_,)):
                return _LABEL, True
            case FieldOf(Dot(), (name, *rest)) if at_root:
                if name not in _FIELDS:
                    raise TemplateError(f"there is no .{name} in the alert; it has .{', .'.join(_FIELDS)}")
                if name == "Value" and not rest:
                    return self._variables.get("$value"), "$value" in self._variables
                return _LABEL, name in ("Labels", "ExternalLabels") and len(rest) == 1
            case Pipeline():
                try:
                    return self._value(operand, at_root), True
                except (_Unknown, TemplateError):
                    # `_pipelines` yields the inner pipeline too, so its error is reported there.
                    return None, False
        return None, False
