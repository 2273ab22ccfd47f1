"""Executes a parsed template. Steps, nested templates and the length of the result are limited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from alerts.errors import TemplateError
from alerts.gotemplate.functions import Function, Functions
from alerts.gotemplate.nodes import (
    Command,
    Dot,
    FieldOf,
    If,
    Include,
    Leave,
    Literal,
    Name,
    Node,
    Operand,
    Parsed,
    Pipeline,
    Print,
    Range,
    Text,
    Variable,
)
from alerts.gotemplate.sprintf import go_value
from alerts.gotemplate.values import GoValue, call_method, described, field, is_method, is_true

MAX_LENGTH = 65_536
"""Maximum length of a result, in characters (chosen: longer than any receiver of alerts accepts)."""
MAX_STEPS = 100_000
"""Maximum number of executed texts, actions and commands (chosen)."""
BEFORE = 300
"""Characters before an action's result that decide how it is written (chosen: longer than a tag's beginning)."""
MAX_CALLS = 20
"""Maximum depth of templates that include each other (chosen)."""


class Steps:
    """The steps that one or several executions may take together."""

    def __init__(self, most: int = MAX_STEPS) -> None:
        self._most = self._left = most

    def take(self) -> None:
        """Count one step. Raises TemplateError for one too many."""
        self._left -= 1
        if self._left < 0:
            raise TemplateError(f"the template takes more than {self._most:,} steps")


class Plain:
    """The way in which results are written: unchanged."""

    def printed(self, value: GoValue, before: str) -> str:
        """Return the text of an action's result. `before` is the end of the text before it."""
        return go_value(value)

    def called(self, name: str, function: Function, arguments: list[GoValue]) -> GoValue:
        """Return the result of a function. Raises TemplateError when the call fails."""
        return function(name, arguments)


def execute(
    parsed: Parsed,
    data: GoValue,
    variables: Mapping[str, GoValue],
    functions: Functions,
    writing: Plain = Plain(),  # noqa: B008 - it has no state
    steps: Steps | None = None,
) -> str:
    """Return a template's text for `data` and `variables` (`$x`). Raises TemplateError when an action fails.

    `steps`: those that it may take; None: MAX_STEPS.
    """
    try:
        return _Execution(parsed, functions, writing, steps or Steps()).run(parsed.body, data, variables)
    except RecursionError as error:
        raise TemplateError("templates include each other too deeply") from error


class _Execution:
    """One execution of a template."""

    def __init__(self, parsed: Parsed, functions: Functions, writing: Plain, steps: Steps) -> None:
        self._defined, self._writing, self._before = parsed.defined, writing, ""
        self._functions = functions
        self._steps = steps
        self._length = self._calls = 0

    def run(self, body: Sequence[Node], data: GoValue, variables: Mapping[str, GoValue]) -> str:
        """Return the text of a body. Raises TemplateError when it is too long, or an action fails."""
        scope = _Scope({**variables, "$": data})
        pieces: list[str] = []
        for piece in self._written(body, data, scope):
            self._length += len(piece)
            if self._length > MAX_LENGTH:
                raise TemplateError(f"the text is longer than {MAX_LENGTH:,} characters")
            pieces.append(piece)
            self._before = (self._before + piece)[-BEFORE:]
        return "".join(pieces)

    def _include(self, name: str, data: GoValue) -> str:
        if name not in self._defined:
            raise TemplateError(f"there is no template {name}")
        if self._calls == MAX_CALLS:
            raise TemplateError(f"templates include each other more than {MAX_CALLS} levels deep")
        self._calls += 1
        before = self._length
        text = self.run(self._defined[name], data, {})
        # The length is counted when the caller writes the text.
        self._length = before
        self._calls -= 1
        return text

    def _written(self, body: Sequence[Node], dot: GoValue, scope: _Scope) -> Iterable[str]:
        for node in body:
            self._steps.take()
            match node:
                case Text(text):
                    yield text
                case Print(pipeline):
                    value = self._value(pipeline, dot, scope)
                    if not pipeline.variables:
                        yield "<no value>" if value is None else self._writing.printed(value, self._before)
                case If():
                    yield from self._if(node, dot, scope)
                case Range():
                    yield from self._range(node, dot, scope)
                case Leave(loop):
                    raise _Left(loop)
                case Include(name, argument):
                    yield self._include(name, None if argument is None else self._value(argument, dot, scope))

    def _if(self, node: If, dot: GoValue, scope: _Scope) -> Iterable[str]:
        inner = _Scope(scope=scope)
        value = self._value(node.condition, dot, inner)
        if is_true(value):
            yield from self._written(node.then, value if node.sets_dot else dot, inner)
        else:
            yield from self._written(node.otherwise, dot, inner)

    def _range(self, node: Range, dot: GoValue, scope: _Scope) -> Iterable[str]:
        pipeline = node.over
        over = self._value(pipeline, dot, scope, assign=False)
        turns = 0
        for key, value in _elements(over, pipeline.source):
            turns += 1
            inner = _Scope(scope=scope)
            given = (value,) if len(pipeline.variables) == 1 else (key, value)
            for name, what in zip(pipeline.variables, given, strict=False):
                inner.put(name, what, new=pipeline.declares)
            try:
                self._steps.take()
                yield from self._written(node.body, value, inner)
            except _Left as left:
                if left.loop:
                    return
        if not turns:
            yield from self._written(node.otherwise, dot, _Scope(scope=scope))

    def _value(self, pipeline: Pipeline, dot: GoValue, scope: _Scope, *, assign: bool = True) -> GoValue:
        piped: tuple[GoValue, ...] = ()
        try:
            for command in pipeline.commands:
                self._steps.take()
                piped = (self._command(command, piped, dot, scope),)
            for name in pipeline.variables if assign else ():
                scope.put(name, piped[0], new=pipeline.declares)
        except TemplateError as error:
            # The error names the innermost action that failed; the actions around it pass it on.
            raise error if str(error).startswith("{{") else TemplateError(f"{pipeline.source}: {error}") from error
        return piped[0]

    def _command(self, command: Command, piped: tuple[GoValue, ...], dot: GoValue, scope: _Scope) -> GoValue:
        first, *rest = command.operands
        if first == Literal(None):
            raise TemplateError("nil alone cannot be printed")
        if isinstance(first, Name):
            return self._call(first.name, rest, piped, dot, scope)
        if isinstance(first, FieldOf):
            holder = self._field(first.base, first.names[:-1], dot, scope)
            if is_method(holder, first.names[-1]):
                arguments = [*(self._operand(operand, dot, scope) for operand in rest), *piped]
                return call_method(holder, first.names[-1], arguments)
        value = self._operand(first, dot, scope)
        if rest or piped:
            raise TemplateError(f"{described(value)} is not a function and takes no arguments")
        return value

    def _call(
        self, name: str, operands: list[Operand], piped: tuple[GoValue, ...], dot: GoValue, scope: _Scope
    ) -> GoValue:
        if name in ("and", "or") and operands:
            for operand in operands:
                value = self._operand(operand, dot, scope)
                if is_true(value) == (name == "or"):
                    return value
            return piped[0] if piped else value
        arguments = [*(self._operand(operand, dot, scope) for operand in operands), *piped]
        # Made for the call: an execution that held its own method would wait for the garbage collector.
        function = Function(self._include, ("text", "any")) if name == "tmpl" else self._functions[name]
        found = self._writing.called(name, function, arguments)
        # Checked here as well: three nested calls that repeat a text make it a thousand times longer.
        if isinstance(found, str) and len(found) > MAX_LENGTH:
            raise TemplateError(f"the text is longer than {MAX_LENGTH:,} characters")
        return found

    def _operand(self, operand: Operand, dot: GoValue, scope: _Scope) -> GoValue:
        match operand:
            case Literal(value):
                return value
            case Dot():
                return dot
            case Variable(name):
                return scope.get(name)
            case FieldOf(base, names):
                return self._field(base, names, dot, scope)
            case Name(name):
                return self._call(name, [], (), dot, scope)
            case Pipeline():
                return self._value(operand, dot, scope)

    def _field(self, base: Operand, names: tuple[str, ...], dot: GoValue, scope: _Scope) -> GoValue:
        value = self._operand(base, dot, scope)
        for name in names:
            value = call_method(value, name, []) if is_method(value, name) else field(value, name)
        return value


class _Left(Exception):
    def __init__(self, loop: bool) -> None:
        super().__init__()
        self.loop = loop


class _Scope:
    """Variables by name. A block has a scope of its own inside the outer one."""

    def __init__(self, own: dict[str, GoValue] | None = None, scope: _Scope | None = None) -> None:
        self._own, self._outer = {} if own is None else own, scope

    def get(self, name: str) -> GoValue:
        """Return a variable's value. Raises TemplateError when it was never set."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope._own:
                return scope._own[name]
            scope = scope._outer
        raise TemplateError(f"the variable {name} has no value")

    def put(self, name: str, value: GoValue, *, new: bool) -> None:
        """Declare a `new` variable here, or set the existing one. Raises TemplateError when there is none."""
        scope: _Scope | None = self
        while not new and scope is not None and name not in scope._own:
            scope = scope._outer
        if scope is None:
            raise TemplateError(f"the variable {name} is not defined; declare it with :=")
        scope._own[name] = value


def _elements(over: GoValue, source: str) -> Iterable[tuple[GoValue, GoValue]]:
    """Yield index and value for a range. Raises TemplateError for a value without elements."""
    if over is None:
        return ()
    if isinstance(over, Mapping):
        return ((key, over[key]) for key in sorted(over))
    if isinstance(over, tuple):
        return enumerate(over)
    if type(over) is int:
        return ((number, number) for number in range(over))
    raise TemplateError(f"{source}: range cannot go over {described(over)}")
