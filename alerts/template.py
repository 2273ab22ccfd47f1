"""The part of Go's template language that Prometheus rule files use, compiled once and checked when a rule is loaded.

Known: `{{ $value }}`, `{{ .Value }}`, `{{ $labels.x }}`, `{{ .Labels.x }}`, `{{ index $labels "x" }}`, text and number
literals, pipes, parentheses, `{{ if }}…{{ else if }}…{{ else }}…{{ end }}`, `{{- -}}` trimming, comments, and the
functions of FUNCTIONS. Anything else is a TemplateError at load time, never a surprise in a message at night.
A label that an alert does not have renders as an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alerts import goformat
from alerts.errors import TemplateError
from collectors.samples import Labels

Scope = Mapping[str, Any]


@dataclass(frozen=True)
class Function:
    """A template function: how many arguments it takes (`most` None: any number) and what it does."""

    call: Callable[..., Any]
    least: int = 1
    most: int | None = 1


def _truth(value: object) -> bool:
    return bool(value) if not isinstance(value, float) else value != 0


def _compare(name: str) -> Callable[[object, object], bool]:
    def compare(a: object, b: object) -> bool:
        if isinstance(a, float) != isinstance(b, float) and name in ("eq", "ne"):
            raise ValueError(f"{name} compares {a!r} with {b!r}: incompatible types")
        x, y = (a, b) if isinstance(a, str) and isinstance(b, str) else (goformat.as_number(a), goformat.as_number(b))
        order = (x > y) - (x < y)  # type: ignore[operator]  # both are texts or both are numbers
        outcomes = {"eq": x == y, "ne": x != y, "lt": order < 0, "le": x == y or order < 0}
        return {**outcomes, "gt": order > 0, "ge": x == y or order > 0}[name]

    return compare


def _title(value: object) -> str:
    return re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].upper(), goformat.go_value(value))


def _index(mapping: object, key: object) -> str:
    if not isinstance(mapping, Mapping):
        raise ValueError("index takes $labels and a label's name")
    return str(mapping.get(str(key), ""))


def _strip_port(value: object) -> str:
    return re.sub(r":\d+$", "", str(value))


FUNCTIONS: dict[str, Function] = {
    "humanize": Function(goformat.humanize),
    "humanize1024": Function(goformat.humanize1024),
    "humanizeDuration": Function(goformat.humanize_duration),
    "humanizePercentage": Function(goformat.humanize_percentage),
    "printf": Function(goformat.printf, 1, None),
    "print": Function(lambda *args: "".join(goformat.go_value(a) for a in args), 1, None),
    "title": Function(_title),
    "toUpper": Function(lambda v: goformat.go_value(v).upper()),
    "toLower": Function(lambda v: goformat.go_value(v).lower()),
    "stripPort": Function(_strip_port),
    "match": Function(lambda pattern, text: re.search(str(pattern), str(text)) is not None, 2, 2),
    "reReplaceAll": Function(
        lambda pattern, to, text: re.sub(str(pattern), re.sub(r"\$\{?(\d+)\}?", r"\\\1", str(to)), str(text)), 3, 3
    ),
    "index": Function(_index, 2, 2),
    "not": Function(lambda v: not _truth(v)),
    "and": Function(lambda *args: next((a for a in args if not _truth(a)), args[-1]), 1, None),
    "or": Function(lambda *args: next((a for a in args if _truth(a)), args[-1]), 1, None),
    **{name: Function(_compare(name), 2, 2) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
"""Every function that templates may call."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<pipe>\|)|(?P<open>\()|(?P<close>\))"""
    r"""|(?P<path>[$.][\w.]*)|(?P<word>[A-Za-z_]\w*))"""
)
_ACTION = re.compile(r"\{\{(- )?\s*(.*?)\s*( -)?\}\}", re.DOTALL)

Node = Callable[[Scope], str]
Operand = Callable[[Scope], Any]
_LABEL_NAMES = re.compile(r"""(?:\$labels|\.Labels)(?:\.([A-Za-z_]\w*)|\s+["`]([^"`]*)["`])""")


@dataclass(frozen=True)
class Surroundings:
    """What templates know beside the alert: how the installation calls itself."""

    labels: Labels = ()
    """`$externalLabels`: what it adds to everything that it sends out."""
    url: str = ""
    """`$externalURL`: where it is reached."""


NOWHERE = Surroundings()

_PATHS: dict[str, Operand] = {
    "$value": lambda s: s["value"],
    ".Value": lambda s: s["value"],
    "$labels": lambda s: s["labels"],
    ".Labels": lambda s: s["labels"],
    "$externalLabels": lambda s: s["external"],
    ".ExternalLabels": lambda s: s["external"],
    "$externalURL": lambda s: s["url"],
    ".ExternalURL": lambda s: s["url"],
}


class Template:
    """One compiled text."""

    def __init__(self, text: str) -> None:
        """Compile. Raises TemplateError that quotes the part which is not understood."""
        self.text = text
        self._plain = "{{" not in text
        self._body = _Parser(text).parse() if not self._plain else lambda _scope: text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def label_names(self) -> frozenset[str]:
        """Return the alert's labels that the text names."""
        if self._plain:
            return frozenset()
        actions = (piece for is_action, piece in _pieces(self.text) if is_action)
        return frozenset(dotted or quoted for piece in actions for dotted, quoted in _LABEL_NAMES.findall(piece))

    def render(self, labels: Mapping[str, str], value: float, around: Surroundings = NOWHERE) -> str:
        """Return the text for one alert. Raises TemplateError when a function refuses its argument."""
        if self._plain:
            return self.text
        scope = {"labels": dict(labels), "value": float(value), "external": dict(around.labels), "url": around.url}
        return self._body(scope)


class _Parser:
    """Recursive descent over the pieces of one text."""

    def __init__(self, text: str) -> None:
        self._pieces = list(_pieces(text))
        self._at = 0

    def parse(self) -> Node:
        body, stop = self._block()
        if stop:
            raise TemplateError(f"{{{{ {stop} }}}} without an if")
        return body

    def _block(self) -> tuple[Node, str]:
        """Return the nodes up to the next else or end, and that action ("" at the end of the text)."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            is_action, piece = self._pieces[self._at]
            self._at += 1
            if not is_action:
                nodes.append(lambda _scope, text=piece: text)  # type: ignore[misc]  # mypy sees no type for a default
            elif piece == "end" or piece == "else" or piece.startswith("else "):
                return _sequence(nodes), piece
            elif piece.startswith("if "):
                nodes.append(self._if(piece.removeprefix("if ")))
            elif not (piece.startswith("/*") and piece.endswith("*/")):
                nodes.append(_printed(_pipeline(piece)))
        return _sequence(nodes), ""

    def _if(self, condition: str) -> Node:
        test = _pipeline(condition)
        then, stop = self._block()
        otherwise: Node = lambda _scope: ""  # noqa: E731  # an empty branch, replaced below when there is one
        if stop.startswith("else if "):
            otherwise = self._if(stop.removeprefix("else if "))
        elif stop == "else":
            otherwise, stop = self._block()
            if stop != "end":
                raise TemplateError(f"{{{{ if {condition} }}}} has no {{{{ end }}}}")
        elif stop != "end":
            raise TemplateError(f"{{{{ if {condition} }}}} has no {{{{ end }}}}")
        return lambda scope: (then if _truth(test(scope)) else otherwise)(scope)


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Split into (is action, content), with `{{-` and `-}}` trimming applied."""
    pieces: list[tuple[bool, str]] = []
    start, trim = 0, False
    for match in _ACTION.finditer(text):
        plain = text[start : match.start()]
        plain = plain.lstrip() if trim else plain
        pieces.append((False, plain.rstrip() if match[1] else plain))
        if not match[2]:
            raise TemplateError(f"{match[0]} is empty")
        pieces.append((True, match[2]))
        start, trim = match.end(), bool(match[3])
    rest = text[start:]
    if "{{" in rest:
        raise TemplateError(f"{rest[rest.index('{{') :][:40]!r} has no closing }}}}")
    pieces.append((False, rest.lstrip() if trim else rest))
    return pieces


def _sequence(nodes: list[Node]) -> Node:
    return lambda scope: "".join(node(scope) for node in nodes)


def _printed(operand: Operand) -> Node:
    return lambda scope: goformat.go_value(operand(scope))


def _pipeline(source: str) -> Operand:
    tokens = _tokens(source)
    operand, rest = _pipes(tokens, source)
    if rest:
        raise TemplateError(f"{{{{ {source} }}}}: unexpected {rest[0][1]!r}")
    return operand


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if not match or match.lastgroup is None:
            raise TemplateError(f"{{{{ {source} }}}}: {source[at:].strip()!r} is not understood")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return tokens


def _pipes(tokens: list[tuple[str, str]], source: str) -> tuple[Operand, list[tuple[str, str]]]:
    operand, tokens = _command(tokens, source, None)
    while tokens and tokens[0][0] == "pipe":
        operand, tokens = _command(tokens[1:], source, operand)
    return operand, tokens


def _command(
    tokens: list[tuple[str, str]], source: str, piped: Operand | None
) -> tuple[Operand, list[tuple[str, str]]]:
    if not tokens:
        raise TemplateError(f"{{{{ {source} }}}}: something is missing at the end")
    kind, word = tokens[0]
    if kind != "word" or word in ("true", "false"):
        operand, tokens = _operand(tokens, source)
        if piped is not None:
            raise TemplateError(f"{{{{ {source} }}}}: {word} is not a function, nothing can be piped into it")
        return operand, tokens
    if word not in FUNCTIONS:
        raise TemplateError(
            f"{{{{ {source} }}}}: {word} is not supported; known are if, else, end, {', '.join(sorted(FUNCTIONS))}"
        )
    args: list[Operand] = []
    pattern = tokens[1] if len(tokens) > 1 else ("", "")
    tokens = tokens[1:]
    while tokens and tokens[0][0] not in ("pipe", "close"):
        operand, tokens = _operand(tokens, source)
        args.append(operand)
    if piped is not None:
        args.append(piped)
    _check_call(word, len(args), pattern, source)
    return _call(word, args, source), tokens


def _check_call(word: str, count: int, first: tuple[str, str], source: str) -> None:
    function = FUNCTIONS[word]
    if count < function.least or (function.most is not None and count > function.most):
        raise TemplateError(f"{{{{ {source} }}}}: {word} takes {function.least} argument(s), got {count}")
    if word == "printf" and first[0] == "text":
        try:
            wanted = goformat.check_format(_unquote(first[1]))
        except ValueError as error:
            raise TemplateError(f"{{{{ {source} }}}}: {error}") from error
        if wanted != count - 1:
            raise TemplateError(f"{{{{ {source} }}}}: printf pattern takes {wanted} value(s), got {count - 1}")


def _call(word: str, args: list[Operand], source: str) -> Operand:
    function = FUNCTIONS[word]

    def call(scope: Scope) -> Any:
        try:
            return function.call(*(arg(scope) for arg in args))
        except (ValueError, IndexError, re.error) as error:
            raise TemplateError(f"{{{{ {source} }}}}: {word}: {error}") from error

    return call


def _operand(tokens: list[tuple[str, str]], source: str) -> tuple[Operand, list[tuple[str, str]]]:
    (kind, word), rest = tokens[0], tokens[1:]
    if kind == "text":
        text = _unquote(word)
        return lambda _scope: text, rest
    if kind == "number":
        number = float(word)
        return lambda _scope: number, rest
    if kind == "path":
        return _path(word, source), rest
    if kind == "word" and word in ("true", "false"):
        return lambda _scope: word == "true", rest
    if kind == "open":
        operand, rest = _pipes(rest, source)
        if not rest or rest[0][0] != "close":
            raise TemplateError(f"{{{{ {source} }}}}: a parenthesis is not closed")
        return operand, rest[1:]
    raise TemplateError(f"{{{{ {source} }}}}: {word!r} is not a value")


def _path(word: str, source: str) -> Operand:
    if word in _PATHS:
        return _PATHS[word]
    for root in ("$labels.", ".Labels.", "$externalLabels.", ".ExternalLabels."):
        name = word.removeprefix(root)
        if name != word and re.fullmatch(r"[A-Za-z_]\w*", name):
            mapping = _PATHS[root[:-1]]
            return lambda scope: mapping(scope).get(name, "")
    raise TemplateError(f"{{{{ {source} }}}}: {word} is not known; use $value or $labels.<name>")


def _unquote(word: str) -> str:
    if word[0] == "`":
        return word[1:-1]
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), word[1:-1])
