"""Translates errors of pydantic into our sentences, by a table."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from collectors.durations import format_duration, parse_duration

_USER_OF_URL = re.compile(r"//.*@", re.DOTALL)
"""Credentials in an address, which no message may contain. They end at the last @, because a password may have one."""
MAX_SHOWN = 60
"""Maximum number of characters of a wrong value in a sentence."""


def shown(value: Any) -> str:
    """Return a value in words for a sentence: 5 -> `the number 5`, "a" -> `'a'`, [1] -> `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {str(value)[:MAX_SHOWN] if isinstance(value, float) else _digits(value)}"
        case str():
            text = _USER_OF_URL.sub("//…@", value)
            return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")
        case dict():
            return "a map"
        case list() | tuple() | set():
            return "a list"
        case _:
            return "something else"


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**MAX_SHOWN else f"of more than {MAX_SHOWN} digits"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` with the most similar known word, or an empty text."""
    near = difflib.get_close_matches(word[:MAX_SHOWN].lower(), {k.lower(): k for k in known}, n=1)
    by_lower = {k.lower(): k for k in known}
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def not_one_of(word: str, field: str, known: Iterable[str]) -> str:
    """Return the sentence for a word that must be one of the names of another field."""
    names = list(known)
    there = ", ".join(names) if names else "there are none"
    return f"{shown(word)} is not one of {field}: {there}{nearest(word, names)}"


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown field."""
    names = list(known)
    return f"unknown field{nearest(name, names) or ';'} known here: {', '.join(names)}"


def one_of(value: Any, choices: Iterable[str]) -> str:
    """Return the sentence for a value that is none of a field's choices."""
    names = list(choices)
    near = nearest(value, names) if isinstance(value, str) else ""
    return f"expected one of: {', '.join(names)}; got {shown(value)}{near}"


def sentence(detail: ErrorDetails) -> str:
    """Return our sentence for an error of pydantic."""
    word = SENTENCES.get(detail["type"])
    return word(detail) if word else f"does not fit here, got {shown(detail['input'])}"


def _expected(what: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: f"expected {what}, got {shown(detail['input'])}"


def _bound(words: str, name: str) -> Callable[[ErrorDetails], str]:
    def say(detail: ErrorDetails) -> str:
        bound = detail.get("ctx", {}).get(name)
        return f"expected {words.format(_plain(bound, detail['input']))}, got {shown(detail['input'])}"

    return say


def _plain(bound: Any, given: Any) -> str:
    """Return a limit in the notation of the value: as a duration if the value is one, 60.0 -> `1m`."""
    if isinstance(given, str) and isinstance(bound, int | float):
        with contextlib.suppress(ValueError):
            parse_duration(given)
            return format_duration(bound)
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _length(words: str, name: str) -> Callable[[ErrorDetails], str]:
    def say(detail: ErrorDetails) -> str:
        context = detail.get("ctx", {})
        return f"expected {words} {context.get(name)} of them, got {context.get('actual_length')}"

    return say


def _text(detail: ErrorDetails) -> str:
    value = detail["input"]
    written = isinstance(value, bool | int | float)
    return f"expected a text, got {shown(value)}" + ("; put it into quotes" if written else "")


def choice(detail: Mapping[str, Any]) -> str:
    """Return the sentence for an error of pydantic about a value that is none of a field's choices."""
    # pydantic's own list is English prose: "'a', 'b' or 'c'".
    words = detail.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(", ")
    known = [name for word in words if (name := word.strip("'"))]  # an empty choice is the same as no value
    return one_of(detail["input"], known)


def _own(detail: ErrorDetails) -> str:
    # The validator's own message. If it only names what was expected, the value is added.
    text = str(detail.get("ctx", {}).get("error", "")) or "does not fit here"
    return f"{text}, got {shown(detail['input'])}" if text.startswith("expected ") and ", got " not in text else text


SENTENCES: Mapping[str, Callable[[ErrorDetails], str]] = {
    "missing": lambda _: "is required",
    "value_error": _own,
    "assertion_error": _own,
    "literal_error": choice,
    "enum": choice,
    "model_type": _expected("a map of fields"),
    "model_attributes_type": _expected("a map of fields"),
    "dict_type": _expected("a map"),
    "mapping_type": _expected("a map"),
    "list_type": _expected("a list"),
    "tuple_type": _expected("a list"),
    "set_type": _expected("a list"),
    "frozen_set_type": _expected("a list"),
    "iterable_type": _expected("a list"),
    "invalid_key": _expected("a text as the field's name"),
    "recursion_loop": lambda _: "contains itself: an alias (*name) refers to a value around it",
    "string_type": _text,
    "string_unicode": lambda _: "holds half of a character; remove it",
    "string_too_short": _bound("a text of at least {} characters", "min_length"),
    "string_too_long": _bound("a text of at most {} characters", "max_length"),
    "string_pattern_mismatch": lambda detail: f"{shown(detail['input'])} does not have the form that is expected here",
    "bool_type": _expected("true or false"),
    "bool_parsing": _expected("true or false"),
    "int_type": _expected("a whole number"),
    "int_parsing": _expected("a whole number"),
    "int_from_float": _expected("a whole number"),
    "int_parsing_size": _expected("a smaller whole number"),
    "float_type": _expected("a number"),
    "float_parsing": _expected("a number"),
    "finite_number": _expected("a number that is not infinite"),
    "greater_than": _bound("more than {}", "gt"),
    "greater_than_equal": _bound("{} or more", "ge"),
    "less_than": _bound("less than {}", "lt"),
    "less_than_equal": _bound("{} or less", "le"),
    "multiple_of": _bound("a multiple of {}", "multiple_of"),
    "too_short": _length("at least", "min_length"),
    "too_long": _length("at most", "max_length"),
    "none_required": _expected("nothing"),
    "path_type": _expected("a path"),
    "is_instance_of": lambda detail: f"does not fit here, got {shown(detail['input'])}",
}
"""Our sentence by pydantic's type of error. The sections of fleet.yaml cannot cause other types."""
