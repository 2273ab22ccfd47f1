"""The texts of `--help`: the verbs in groups, and one verb with its options and examples."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.cli.render import terminal_width
from controlplane.cli.table import NARROWEST, wrapped
from controlplane.cli.verbs.grammar import HELP, Option, Verb
from controlplane.cli.verbs.tree import GROUPS, VERBS, subverbs

PROGRAM = "controlplane"
ABOUT = "Watch an LLM fleet, say what is wrong, and switch model versions without dropping a request."
_WIDE = 34
"""Most characters of a name with its description beside it. After a longer name the description has its own line."""


def overview() -> str:
    """Return the help of the program."""
    lines = [f"usage: {PROGRAM} VERB [OPTIONS]", "", ABOUT]
    for group in GROUPS:
        lines += ["", f"{group.title}:", *_pairs((verb.words, verb.summary) for verb in group.verbs)]
    lines += ["", f"{PROGRAM} VERB --help explains a verb; {PROGRAM} --version prints the version."]
    return "\n".join(lines)


def of_group(word: str) -> str:
    """Return the help of a group of verbs, such as `rollouts`."""
    verbs = [VERBS[f"{word} {sub}"] for sub in subverbs(word)]
    lines = [f"usage: {PROGRAM} {word} VERB [OPTIONS]", "", *_pairs((verb.words, verb.summary) for verb in verbs)]
    return "\n".join([*lines, "", f"{PROGRAM} {word} VERB --help explains a verb."])


def of_verb(verb: Verb) -> str:
    """Return the help of a verb."""
    lines = [f"usage: {PROGRAM} {verb.usage} [OPTIONS]", "", verb.summary]
    if verb.details:
        lines += ["", *wrapped(verb.details, max(terminal_width(), NARROWEST))]
    if verb.operands:
        lines += ["", "Operands:", *_pairs((operand.metavar, operand.help) for operand in verb.operands)]
    options = (*verb.options, HELP)
    lines += ["", "Options:", *_pairs((_spelled(option), _described(option)) for option in options)]
    if verb.examples:
        lines += ["", "Examples:", *_examples(verb)]
    if subs := subverbs(verb.words):
        lines += ["", "Also:", *_pairs((f"{verb.words} {sub}", VERBS[f"{verb.words} {sub}"].summary) for sub in subs)]
    return "\n".join(lines)


def _spelled(option: Option) -> str:
    text = ", ".join(option.spellings)
    return f"{text} {option.metavar}" if option.metavar else text


def _described(option: Option) -> str:
    notes = ["required"] if option.required else []
    notes += [f"default {option.default}"] if option.default is not None else []
    notes += ["repeatable"] if option.many else []
    return option.help + (f" ({', '.join(notes)})" if notes else "")


def _examples(verb: Verb) -> list[str]:
    width = max(len(command) for command, _ in verb.examples)
    longest = max(len(why) for _, why in verb.examples)
    if longest and len(f"  {PROGRAM} ") + width + len("  # ") + longest > terminal_width():
        return [
            line
            for command, why in verb.examples
            for line in (f"  {PROGRAM} {command}", *([f"      # {why}"] if why else []))
        ]
    return [
        f"  {PROGRAM} {command}" + (" " * (width - len(command)) + f"  # {why}" if why else "")
        for command, why in verb.examples
    ]


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[str]:
    known = list(pairs)
    width = max((len(name) for name, _ in known if len(name) <= _WIDE), default=0)
    lines = []
    for name, text in known:
        first, *below = wrapped(text, max(terminal_width() - width - 4, NARROWEST))
        if len(name) > width:
            name, below = f"  {name}", [first, *below]
        else:
            name = f"  {name.ljust(width)}  {first}".rstrip()
        lines += [name, *(f"  {' ' * width}  {line}" for line in below)]
    return lines
