"""Parses a template into a tree. Refuses what Go's text/template/parse refuses."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

from alerts.errors import TemplateError
from alerts.gotemplate.lexer import Action, Word, split
from alerts.gotemplate.literals import char_value, number_value, text_value
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

MAX_DEPTH = 50
"""Maximum depth of blocks and parentheses (chosen)."""

_KEYWORDS = ("block", "break", "continue", "define", "else", "end", "if", "range", "template", "with")
_CONSTANTS = {"true": True, "false": False, "nil": None}


def parse(template: str, functions: Container[str], variables: tuple[str, ...]) -> Parsed:
    """Parse a template that may call `functions` and use the predefined `variables` (`$x`).

    Raises TemplateError, which quotes the wrong action.
    """
    return _Parser(template, functions).parsed(variables)


class _Stop(NamedTuple):
    """The action that ends a block: `end` or `else`, and the words after it."""

    word: str
    action: Action
    rest: tuple[Word, ...]


class _Parser:
    """Recursive descent over the pieces of one template."""

    def __init__(self, template: str, functions: Container[str]) -> None:
        self._pieces, self._at = split(template), 0
        self._functions = functions
        self._variables: list[str] = []
        self._defined: dict[str, tuple[Node, ...]] = {}
        self._depth = self._loops = 0

    def parsed(self, variables: tuple[str, ...]) -> Parsed:
        """Parse the whole template. Raises TemplateError for the first fault."""
        self._variables = ["$", *variables]
        body, stop = self._block(top=True)
        if stop is not None:
            raise TemplateError(f"{stop.action.source}: there is nothing to end here")
        return Parsed(tuple(body), self._defined)

    def _block(self, *, top: bool = False) -> tuple[list[Node], _Stop | None]:
        """Return the nodes up to the next `else` or `end`, and that action; None at the template's end."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            piece = self._pieces[self._at]
            self._at += 1
            if isinstance(piece, str):
                nodes.append(Text(piece))
                continue
            first = piece.words[0] if piece.words else None
            word = first.text if first and first.kind == "name" and first.text in _KEYWORDS else ""
            if word in ("end", "else"):
                return nodes, _Stop(word, piece, piece.words[1:])
            nodes += self._action(piece, word, top=top)
        return nodes, None

    def _action(self, action: Action, word: str, *, top: bool) -> list[Node]:
        rest = _Words(action, action.words[1:])
        match word:
            case "":
                pipeline = self._pipeline(_Words(action, action.words), assigns=True)
                return [Print(pipeline)]
            case "if" | "with":
                return [self._if(rest, sets_dot=word == "with")]
            case "range":
                return [self._range(rest)]
            case "break" | "continue":
                if not self._loops:
                    raise rest.error(f"{word} is outside of range")
                rest.done()
                return [Leave(loop=word == "break")]
            case "template":
                name = self._template_name(rest)
                argument = self._pipeline(rest) if rest.left() else None
                return [Include(name, argument)]
            case "block":
                name = self._template_name(rest)
                argument = self._pipeline(rest)
                self._define(name, action)
                return [Include(name, argument)]
        if not top:
            raise rest.error("define is inside another block")
        name = self._template_name(rest)
        rest.done()
        self._define(name, action)
        return []

    def _template_name(self, words: _Words) -> str:
        word = words.take()
        if word is None or word.kind not in ("text", "raw"):
            raise words.error("a template's name in quotes is missing")
        return text_value(word.text, words.source)

    def _define(self, name: str, action: Action) -> None:
        outer, loops = self._variables, self._loops
        self._variables, self._loops = ["$"], 0
        body, stop = self._nested(action)
        if stop.word != "end":
            raise TemplateError(f"{stop.action.source}: there is no if, with or range that it belongs to")
        self._variables, self._loops = outer, loops
        if name in self._defined and any(not isinstance(n, Text) or n.text.strip() for n in body):
            raise TemplateError(f"{action.source}: the template {name} is defined twice")
        self._defined.setdefault(name, tuple(body))

    def _nested(self, action: Action) -> tuple[list[Node], _Stop]:
        """Return the nodes of a block and the action that ends it. The block's variables go out of scope."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateError(f"{action.source}: blocks are nested more than {MAX_DEPTH} deep")
        known = len(self._variables)
        body, stop = self._block()
        del self._variables[known:]
        self._depth -= 1
        if stop is None:
            raise TemplateError(f"{action.source} has no {{{{ end }}}}")
        if stop.word == "end" and stop.rest:
            raise TemplateError(f"{stop.action.source}: nothing may follow end")
        return body, stop

    def _if(self, words: _Words, *, sets_dot: bool) -> If:
        known = len(self._variables)
        condition = self._pipeline(words, assigns=True)
        then, stop = self._nested(words.action)
        otherwise: list[Node] = []
        if stop.word == "else" and stop.rest:
            chained = stop.rest[0].text
            if chained not in ("if", "with") or (chained == "with") != sets_dot:
                raise TemplateError(f"{stop.action.source}: {chained!r} may not follow else here")
            self._depth += 1
            otherwise = [self._if(_Words(stop.action, stop.rest[1:]), sets_dot=sets_dot)]
            self._depth -= 1
        elif stop.word == "else":
            otherwise = self._last(words.action)
        del self._variables[known:]
        return If(condition, then, otherwise, sets_dot)

    def _range(self, words: _Words) -> Range:
        known = len(self._variables)
        over = self._pipeline(words, assigns=True, pair=True)
        self._loops += 1
        body, stop = self._nested(words.action)
        self._loops -= 1
        if stop.rest:
            raise TemplateError(f"{stop.action.source}: nothing may follow else here")
        otherwise = self._last(words.action) if stop.word == "else" else []
        del self._variables[known:]
        return Range(over, body, otherwise)

    def _last(self, action: Action) -> list[Node]:
        """Return the block after a plain `else`."""
        body, stop = self._nested(action)
        if stop.word == "else":
            raise TemplateError(f"{stop.action.source}: a second else")
        return body

    def _pipeline(self, words: _Words, *, assigns: bool = False, pair: bool = False, depth: int = 0) -> Pipeline:
        if self._depth + depth > MAX_DEPTH:
            raise words.error(f"parentheses are nested more than {MAX_DEPTH} deep")
        variables, declares = words.assignment(pair=pair) if assigns else ((), False)
        commands = [self._command(words, depth)]
        while words.next_is("|"):
            words.take()
            if not words.left() or words.next_is(")"):
                break  # Go accepts a `|` with nothing after it
            command = self._command(words, depth)
            if isinstance(command.operands[0], Literal | Dot):
                raise words.error(f"stage {len(commands) + 1} is not a function, so nothing can be piped into it")
            commands.append(command)
        if not depth:
            words.done()
        # A variable that is set but was never declared is accepted here and fails at execution, as in Go.
        self._variables += variables
        return Pipeline(tuple(commands), variables, declares, words.source)

    def _command(self, words: _Words, depth: int) -> Command:
        operands: list[Operand] = []
        while words.left() and not words.next_is("|") and not words.next_is(")"):
            if operands and not words.spaced():
                raise words.error(f"unexpected {words.peek()!r}")
            operands.append(self._operand(words, depth))
        if not operands:
            raise words.error("a value is missing here")
        return Command(tuple(operands))

    def _operand(self, words: _Words, depth: int) -> Operand:
        base = self._term(words, depth)
        names: list[str] = []
        while words.left() and words.is_field() and not words.spaced():
            word = words.take()
            assert word is not None
            names.append(word.text[1:])
        if not names:
            return base
        if isinstance(base, Literal | Dot):
            raise words.error(f"unexpected .{names[0]} after a constant")
        if isinstance(base, FieldOf):
            return FieldOf(base.base, (*base.names, *names))
        return FieldOf(base, tuple(names))

    def _term(self, words: _Words, depth: int) -> Operand:
        word = words.take()
        assert word is not None
        match word.kind:
            case "text" | "raw":
                return Literal(text_value(word.text, words.source))
            case "char":
                return Literal(char_value(word.text, words.source))
            case "number":
                return Literal(number_value(word.text, words.source))
            case "dot":
                return Dot()
            case "field":
                return FieldOf(Dot(), (word.text[1:],))
            case "variable":
                if word.text not in self._variables:
                    known = ", ".join(sorted(set(self._variables) - {"$"}))
                    raise words.error(f"the variable {word.text} is not defined; known are {known}")
                return Variable(word.text)
            case "name":
                return self._name(word.text, words)
        if word.text != "(":
            raise words.error(f"unexpected {word.text!r}")
        inner = self._pipeline(words, depth=depth + 1)
        words.take()  # the closing parenthesis: the lexer has checked that there is one
        return inner

    def _name(self, name: str, words: _Words) -> Operand:
        if name in _CONSTANTS:
            return Literal(_CONSTANTS[name])
        if name in self._functions and re.fullmatch(r"[A-Za-z_]\w*", name):
            return Name(name)
        raise words.error(f"{name} is not a function of templates")


class _Words:
    """The words of an action that are not yet read."""

    def __init__(self, action: Action, words: tuple[Word, ...]) -> None:
        self.action, self.source = action, action.source
        self._words, self._at = words, 0

    def left(self) -> bool:
        return self._at < len(self._words)

    def peek(self) -> str:
        return self._words[self._at].text if self.left() else ""

    def next_is(self, sign: str) -> bool:
        return self.left() and self._words[self._at].kind == "sign" and self.peek() == sign

    def is_field(self) -> bool:
        return self._words[self._at].kind == "field"

    def spaced(self) -> bool:
        return self._words[self._at].spaced

    def take(self) -> Word | None:
        if not self.left():
            return None
        self._at += 1
        return self._words[self._at - 1]

    def done(self) -> None:
        if self.left():
            raise self.error(f"unexpected {self.peek()!r}")

    def assignment(self, *, pair: bool) -> tuple[tuple[str, ...], bool]:
        """Read `$x :=` or `$x =`, or `$i, $x :=` if `pair`; return the variables, and whether they are declared."""
        texts = [word.text for word in self._words[self._at : self._at + 4]]
        kinds = [word.kind for word in self._words[self._at : self._at + 4]]
        if kinds[:1] != ["variable"]:
            return (), False
        if texts[1:2] in ([":="], ["="]):
            self._at += 2
            return (texts[0],), texts[1] == ":="
        if texts[1:2] == [","]:
            if not pair or kinds[2:3] != ["variable"] or texts[3:4] not in ([":="], ["="]):
                raise self.error("two variables may stand before := or = of a range only")
            self._at += 4
            return (texts[0], texts[2]), texts[3] == ":="
        return (), False

    def error(self, reason: str) -> TemplateError:
        return TemplateError(f"{self.source}: {reason}")
