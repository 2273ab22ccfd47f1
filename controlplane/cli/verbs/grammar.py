"""The grammar of the command line: options, operands and verbs, and the parser of their words.

Verbs are data. Help, completion and the reference page are generated from them, and a test compares `bin/cp` with them.
A call imports only the module of its verb: importing a command-line framework takes longer than a whole request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from controlplane.cli.errors import WrongUsage


class Option(NamedTuple):
    """One option. `name` is the keyword of the verb's function and, with dashes, the long option."""

    name: str
    help: str
    metavar: str = ""
    """Name of the value in the help. Empty: the option is a flag and has no value."""
    short: str = ""
    default: Any = None
    read: Callable[[str], Any] = str
    """Parser of the value. Its ValueError names the expected form."""
    choices: tuple[str, ...] = ()
    required: bool = False
    many: bool = False
    """Whether the option may be repeated. Its values are then a list."""
    offers: str = ""
    """Kind of values that completion offers, such as `models`; see complete.py."""

    @property
    def long(self) -> str:
        """The long spelling, such as `--dry-run` for `dry_run`, and `--for` for `for_`."""
        return "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings, the short one first."""
        return (self.short, self.long) if self.short else (self.long,)


class Operand(NamedTuple):
    """One word that is not an option. `name` is the keyword of the verb's function."""

    name: str
    metavar: str
    help: str
    read: Callable[[str], Any] = str
    required: bool = True
    many: bool = False
    choices: tuple[str, ...] = ()
    offers: str = ""


class Verb(NamedTuple):
    """One command of the program."""

    words: str
    """Its name: one word, or two (`rollouts list`)."""
    run: str
    """`module:function` of controlplane.cli, imported when the verb runs."""
    summary: str
    operands: tuple[Operand, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    """Commands without the program's name, each with its purpose."""
    details: str = ""

    @property
    def usage(self) -> str:
        """The usage line: the verb's words, its operands and its required options."""
        needed = [f"{option.short or option.long} {option.metavar}" for option in self.options if option.required]
        operands = [o.metavar if o.required else f"[{o.metavar}]" for o in self.operands]
        return " ".join([self.words, *operands, *needed])


class Group(NamedTuple):
    """Verbs that belong together in the help."""

    title: str
    verbs: tuple[Verb, ...]


HELP = Option("help", "Explain this verb.", short="-h")


def percent(text: str) -> float:
    """Return a number above 0 and below 100. Raises ValueError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 100.0:
        raise ValueError("expected a number above 0 and below 100")
    return value


def folder_to_make(text: str) -> Path:
    """Return a path. Raises ValueError for the address of a bucket: an engine would load a part of the tree there."""
    if "://" in text:
        raise ValueError(
            "expected a path: a bucket cannot get a whole tree at one instant. Restore to a new folder, copy that to a"
            " new prefix, and then point the engine there"
        )
    return Path(text)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`. The parser raises ValueError for anything else."""

    def read(text: str) -> int:
        # int() also accepts blanks, underscores, signs and digits of other scripts.
        if not (text.isascii() and text.isdigit() and least <= int(text[:19]) <= most):
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(text)

    return read


def parse(verb: Verb, words: Sequence[str]) -> dict[str, Any]:
    """Return the verb's keyword arguments, defaults included; after `--help` return only `{"help": True}`.

    Raises WrongUsage, which names the wrong word.
    """
    by_spelling = {spelling: option for option in (*verb.options, HELP) for spelling in option.spellings}
    values: dict[str, Any] = {}
    operands: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            operands += waiting
            break
        if word == "-" or not word.startswith("-"):
            operands.append(word)
            continue
        spelling, text = _split(word)
        option = by_spelling.get(spelling)
        if option is None:
            raise _unknown_option(verb, spelling, by_spelling)
        if option.name == HELP.name:
            return {HELP.name: True}
        if not option.metavar:
            if text is not None and word.startswith("--"):
                raise _wrong(verb, f"{spelling} takes no value")
            values[option.name] = True
            waiting[:0] = ["-" + text] if text else []  # further letters after one dash
            continue
        if text is None:
            text = _next(verb, option, spelling, waiting)
        value = _value(verb, spelling, option, text)
        values[option.name] = [*values.get(option.name, []), value] if option.many else value
    named = _operands(verb, operands)  # first, so that a call without any word is told about the first one
    _check_required(verb, values)
    defaults = {o.name: o.default if o.metavar else False for o in verb.options}
    return {**defaults, **named, **values}


def _next(verb: Verb, option: Option, spelling: str, waiting: list[str]) -> str:
    if not waiting:
        raise _wrong(verb, f"{spelling} needs a value: {spelling} {option.metavar}")
    return waiting.pop(0)


def _check_required(verb: Verb, values: Mapping[str, Any]) -> None:
    for option in verb.options:
        if option.required and option.name not in values:
            raise _wrong(verb, f"{option.long} is missing: {option.help[0].lower()}{option.help[1:]}")


def _split(word: str) -> tuple[str, str | None]:
    """Split `--name=value` and `-xvalue`."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


def _operands(verb: Verb, words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for operand in verb.operands:
        if operand.required and not words:
            raise _wrong(verb, f"{operand.metavar} is missing: {operand.help[0].lower()}{operand.help[1:]}")
        if operand.many:
            found[operand.name] = [_value(verb, operand.metavar, operand, word) for word in words]
            words = []
        elif words:
            found[operand.name] = _value(verb, operand.metavar, operand, words[0])
            words = words[1:]
        else:
            found[operand.name] = None
    if words:
        raise _wrong(verb, f"unexpected word {words[0]!r}")
    return found


def _value(verb: Verb, name: str, of: Option | Operand, text: str) -> Any:
    if of.choices and text not in of.choices:
        raise _wrong(verb, f"{name} {text}: expected one of {', '.join(of.choices)}{hint(text, of.choices)}")
    try:
        return of.read(text)
    except ValueError as error:
        raise _wrong(verb, f"{name} {text}: {error}") from None


def _wrong(verb: Verb, message: str) -> WrongUsage:
    return WrongUsage(message, (f"usage: controlplane {verb.usage}", f"more: controlplane {verb.words} --help"))


def _unknown_option(verb: Verb, spelling: str, known: Mapping[str, Option]) -> WrongUsage:
    negative = "; write -- before an operand that begins with -" if verb.operands else ""
    return _wrong(verb, f"{verb.words} has no option {spelling}{hint(spelling, known)}{negative}")


def hint(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the nearest known word, or "" when none is near."""
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word within two edits (one for up to five letters), else one that starts so, else None."""
    best = min(((distance(word, other), other) for other in known), default=None)
    if best is not None and best[0] <= (2 if len(best[1]) > 5 else 1):
        return best[1]
    return next((other for other in known if len(word) > 2 and other.startswith(word)), None)


def distance(one: str, other: str) -> int:
    """Return the edits between two words. One edit inserts, deletes or replaces a letter, or swaps two neighbours."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, rows[i - 2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
