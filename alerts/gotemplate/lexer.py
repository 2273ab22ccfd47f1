"""Splits a template into texts and actions, and an action into words, by the rules of Go's text/template/parse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alerts.errors import TemplateError

Kind = Literal["text", "raw", "char", "number", "variable", "field", "dot", "name", "sign"]

_SPACES = " \t\r\n"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_END = re.compile(r"(?P<trim>[ \t\r\n]-)?\}\}")
_BLANK = re.compile(r"[ \t\r\n]+")
_WORDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("text", re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')),
    ("raw", re.compile(r"`[^`]*`")),
    ("char", re.compile(r"'(?:[^'\\\n]|\\[^\n])+'")),
    (
        "number",
        re.compile(
            r"[-+]?(?:0[xX][0-9a-fA-F_.]+(?:[pP][-+]?\d+)?|(?:\d[\dxXoObB_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)"
        ),
    ),
    ("variable", re.compile(r"\$\w*")),
    ("field", re.compile(r"\.\w+")),
    ("dot", re.compile(r"\.")),
    ("name", re.compile(r"\w+")),
    ("sign", re.compile(r":=|[=|(),]")),
)
_ENDS_A_WORD = set(" \t\r\n.,|:)(")
_WITH_AN_END = ("variable", "field", "dot", "name", "number")


class Word(NamedTuple):
    """A word of an action."""

    kind: Kind
    text: str
    spaced: bool
    """Whether a blank precedes the word: `$a.b` is one operand, `$a .b` are two."""


@dataclass(frozen=True)
class Action:
    """An action: `{{`, words, `}}`."""

    source: str
    """Text of the action, including the braces."""
    words: tuple[Word, ...]


def split(template: str) -> list[str | Action]:
    """Return the texts, trimmed for `{{-` and `-}}`, and the actions, without comments.

    Raises TemplateError for an action that is not closed, and for a word that Go does not accept.
    """
    pieces: list[str | Action] = []
    at, trim = 0, False
    while True:
        start = template.find("{{", at)
        text = template[at:] if start < 0 else template[at:start]
        text = text.lstrip(_SPACES) if trim else text
        if start < 0:
            pieces.append(text)
            return [piece for piece in pieces if piece != ""]
        trims_before = template.startswith("-", start + 2) and template[start + 3 : start + 4] in tuple(_SPACES)
        pieces.append(text.rstrip(_SPACES) if trims_before else text)
        action, at, trim = _action(template, start, start + (4 if trims_before else 2))
        if action is not None:
            pieces.append(action)


def _action(template: str, start: int, at: int) -> tuple[Action | None, int, bool]:
    """Return an action (None for a comment), the index of the text after it, and whether that text is trimmed."""
    if template.startswith("/*", at):
        comment = _COMMENT.match(template, at)
        end = _END.match(template, comment.end()) if comment else None
        if end is None:
            raise TemplateError(f"{_shown(template, start)}: a comment must end with */ right before the closing }}}}")
        return None, end.end(), end["trim"] is not None
    words: list[Word] = []
    depth = 0
    while True:
        blank = _BLANK.match(template, at)
        after = blank.end() if blank else at
        # The blank before a closing `-` belongs to the sign `-}}`.
        end = _END.match(template, after - 1 if blank and template.startswith("-", after) else after)
        if end is not None:
            break
        word, at = _word(template, start, after, spaced=blank is not None)
        depth += (word.text == "(") - (word.text == ")")
        if depth < 0:
            raise TemplateError(f"{_shown(template, start)}: a parenthesis is closed that was not opened")
        words.append(word)
    source = template[start : end.end()]
    if depth:
        raise TemplateError(f"{source}: a parenthesis is not closed")
    return Action(source, tuple(words)), end.end(), end["trim"] is not None


def _word(template: str, start: int, at: int, *, spaced: bool) -> tuple[Word, int]:
    if at >= len(template):
        raise TemplateError(f"{_shown(template, start)} has no closing }}}}")
    for kind, pattern in _WORDS:
        match = pattern.match(template, at)
        if match is None:
            continue
        end = match.end()
        if kind in _WITH_AN_END and not _word_ends(template, end):
            break
        return Word(kind, match[0], spaced), end
    if template[at] in "\"`'":
        raise TemplateError(f"{_shown(template, start)}: a quote is not closed")
    raise TemplateError(f"{_shown(template, start)}: {template[at:].split('}}')[0].strip()[:40]!r} is not understood")


def _word_ends(template: str, at: int) -> bool:
    return at >= len(template) or template[at] in _ENDS_A_WORD or template.startswith("}}", at) or template[at] == "="


def _shown(template: str, start: int) -> str:
    end = template.find("}}", start)
    return template[start : end + 2] if end >= 0 else template[start : start + 40].rstrip()
