"""Functions of templates: the types of their arguments, and the built-in functions of Go's text/template."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote_plus

from alerts.errors import TemplateError
from alerts.gotemplate.sprintf import sprint, sprintf, sprintln
from alerts.gotemplate.values import (
    GoValue,
    Sample,
    Time,
    cut,
    described,
    equal,
    index,
    is_true,
    length,
    less,
)

Kind = Literal["any", "text", "list", "samples", "sample", "time"]

_WANTED: dict[str, tuple[type, str]] = {
    "text": (str, "a text"),
    "list": (tuple, "a list"),
    "time": (Time, "a time"),
    "samples": (tuple, "a list of samples"),
    "sample": (Sample, "a sample"),
}


@dataclass(frozen=True)
class Function:
    """A template function, and the kinds of its arguments."""

    call: Callable[..., GoValue]
    takes: tuple[Kind, ...] = ("any",)
    more: Kind | None = None
    """Kind of any number of further arguments; None: no further arguments."""

    def check_count(self, name: str, count: int) -> None:
        """Raise TemplateError unless the function accepts `count` arguments."""
        if count < len(self.takes) or (count > len(self.takes) and self.more is None):
            least = f"{'at least ' if self.more else ''}{len(self.takes)}"
            raise TemplateError(f"{name} takes {least} argument{'s' * (len(self.takes) != 1)}, got {count}")

    def __call__(self, name: str, arguments: list[GoValue]) -> GoValue:
        """Call the function. Raises TemplateError for a wrong number or kind of arguments, and when the call fails."""
        self.check_count(name, len(arguments))
        for number, argument in enumerate(arguments):
            kind = self.takes[number] if number < len(self.takes) else self.more
            wanted, words = _WANTED.get(kind or "any", (object, ""))
            if not isinstance(argument, wanted):
                raise TemplateError(f"{name} takes {words}, got {described(argument)}")
        try:
            return self.call(*arguments)
        except (TemplateError, ValueError, OverflowError) as error:
            raise TemplateError(f"{name}: {error}") from error


def _equal_to_any(first: GoValue, *others: GoValue) -> bool:
    return any(equal(first, other) for other in others)


def _refuse_call(*_arguments: GoValue) -> GoValue:
    raise TemplateError("no value is a function here")


def _html(text: str) -> str:
    return html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _javascript(*values: GoValue) -> str:
    text = json.dumps(sprint(values), ensure_ascii=False)[1:-1].replace("'", "\\'")
    return "".join(f"\\u{ord(c):04X}" if c in "<>&=" else c for c in text)


GO_FUNCTIONS: Mapping[str, Function] = {
    # The executor evaluates the arguments of these two lazily.
    "and": Function(lambda *values: next((v for v in values if not is_true(v)), values[-1]), more="any"),
    "or": Function(lambda *values: next((v for v in values if is_true(v)), values[-1]), more="any"),
    "not": Function(lambda value: not is_true(value)),
    "eq": Function(_equal_to_any, ("any", "any"), more="any"),
    "ne": Function(lambda a, b: not equal(a, b), ("any", "any")),
    "lt": Function(less, ("any", "any")),
    "le": Function(lambda a, b: less(a, b) or equal(a, b), ("any", "any")),
    "gt": Function(lambda a, b: less(b, a), ("any", "any")),
    "ge": Function(lambda a, b: less(b, a) or equal(a, b), ("any", "any")),
    "len": Function(length),
    "index": Function(index, more="any"),
    "slice": Function(cut, more="any"),
    "print": Function(lambda *values: sprint(values), (), more="any"),
    "println": Function(lambda *values: sprintln(values), (), more="any"),
    "printf": Function(lambda pattern, *values: sprintf(pattern, values), ("text",), more="any"),
    "html": Function(lambda *values: _html(sprint(values)), (), more="any"),
    "js": Function(_javascript, (), more="any"),
    "urlquery": Function(lambda *values: quote_plus(sprint(values)), (), more="any"),
    "call": Function(_refuse_call, more="any"),
}
"""The built-in functions of Go's text/template."""

Functions = Mapping[str, Function]
