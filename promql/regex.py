"""Regular expressions that users write: RE2 itself, anchored and worded as Prometheus has them.

RE2 takes time linear in its input and a bounded memory, whatever the pattern; Python's `re` backtracks, for years where
somebody means it to. No pattern of a user reaches `re`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import re2

from promql.errors import PatternError
from promql.strings import readable

SMALL_BYTES = 512 << 10
"""Memory of a pattern and of what RE2 remembers while it matches: enough for some 20,000 instructions."""

LARGE_BYTES = 8 << 20
"""The same for a pattern that needs more; RE2's own default."""

CACHED_SMALL, CACHED_LARGE = 256, 16
"""Compiled patterns that are kept: at most 128 MiB of each size, twice that where many values are matched at once."""

CACHED_GROUPS = 16_384
"""Values whose groups are remembered: a rule with `label_replace` finds the same labels at every evaluation."""

BATCH = 4_096
"""Values that RE2 looks at in one call."""

_GO_WORDS = {
    b"missing ]": "missing closing ]",
    b"missing )": "missing closing )",
    b"trailing \\": "trailing backslash at end of expression",
    b"no argument for repetition operator": "missing argument to repetition operator",
    b"invalid repetition size": "invalid repeat count",
    b"bad repetition operator": "invalid nested repetition operator",
    b"invalid perl operator": "invalid or unsupported Perl syntax",
    b"invalid named capture group": "invalid named capture",
    b"pattern too large - compile failed": "expression too large",
}
"""What C++ calls a fault, and what Go, and so Prometheus, calls it. They agree on all others."""

_ESCAPED = re.compile(r"\\Q(?:.*?)(?:\\E|\Z)|\\.|\[\^", re.DOTALL)
_LOOKS_AROUND = re.compile(r"[\^$]|\(\?[a-zA-Z]*m")
"""What depends on where a text begins and ends, once escapes and the `^` of classes are gone."""


class Regex:
    """A pattern that must match a whole value; `.` matches newlines too. Use `compile_regex` to get one."""

    def __init__(self, pattern: str, memory: int = LARGE_BYTES) -> None:
        """Raises PatternError, which says why in Prometheus's words. `memory` in bytes bounds what RE2 may take."""
        self.pattern = pattern
        self._memory = memory
        if any(escape[0] == r"\C" for escape in _ESCAPED.finditer(pattern)):
            raise PatternError(r"invalid escape sequence: `\C`")  # C++ has it, Go has not
        self._whole = _compiled(pattern, memory)

    def matches(self, value: str) -> bool:
        """Whether the whole value matches."""
        return self._whole.fullmatch(value) is not None

    def groups(self, value: str) -> tuple[str, ...] | None:
        """Return the whole value and what each group matched, `""` for one that took no part; None for no match."""
        match = self._whole.fullmatch(value)
        return None if match is None else (match[0], *(group or "" for group in match.groups()))

    @cached_property
    def group_numbers(self) -> dict[str, int]:
        """The numbers of named groups."""
        return dict(self._whole.groupindex)

    def matching(self, values: Iterable[str]) -> frozenset[str]:
        """Return those of the values that match.

        RE2 lets other threads run at every call, each of which may take milliseconds to get back; so it is called for
        many values at once where the pattern allows it.
        """
        lines = self._lines
        if lines is None:
            return frozenset(value for value in values if self.matches(value))
        plain: list[str] = []
        broken: list[str] = []
        for value in values:
            (broken if "\n" in value else plain).append(value)
        # Neighbours in order begin alike, and so match alike: fewer runs, and a call for each.
        plain.sort()
        found = [value for value in broken if self.matches(value)]
        for at in range(0, len(plain), BATCH):
            found.extend(_runs(lines, plain[at : at + BATCH]))
        return frozenset(found)

    @cached_property
    def _lines(self) -> Any | None:
        r"""The pattern that finds runs of matching lines, None where this one says more than what a line holds.

        `never_nl` keeps it within a line. After `$` comes a newline, which only `\C` can take then, and `^` holds.
        """
        bare = _ESCAPED.sub(lambda escape: "" if escape[0] in ("[^", r"\-") else escape[0], self.pattern)
        if re.search(r"\\[AzbBQE]", bare) or _LOOKS_AROUND.search(bare.replace(r"\^", "").replace(r"\$", "")):
            return None
        line = f"^(?:{self.pattern})$"
        try:
            return _compiled(rf"(?m){line}(?:\C{line})*", self._memory, lines=True)
        except PatternError:  # twice the pattern is too large
            return None


def _runs(lines: Any, values: list[str]) -> Iterable[str]:
    """Yield the values that match, run by run."""
    encoded = [value.encode() for value in values]
    text = b"\n".join(encoded)
    starts = list(accumulate((len(one) + 1 for one in encoded), initial=0))
    at = 0
    while at <= len(text) and (match := lines.search(text, at)) is not None:
        yield from values[bisect_left(starts, match.start()) : bisect_left(starts, match.end() + 1)]
        at = match.end() + 1


@lru_cache(maxsize=CACHED_LARGE)
def _large(pattern: str) -> Regex:
    return Regex(pattern)


@lru_cache(maxsize=CACHED_SMALL)
def _small(pattern: str) -> Regex:
    return Regex(pattern, SMALL_BYTES)


def compile_regex(pattern: str) -> Regex:
    """Return a pattern that must match whole values. Raises PatternError, which says why in Prometheus's words."""
    try:
        return _small(pattern)
    except PatternError as error:
        if not error.too_large:
            raise
        return _large(pattern)


@lru_cache(maxsize=CACHED_GROUPS)
def groups_of(pattern: str, value: str) -> tuple[str, ...] | None:
    """Return what `Regex.groups` does, remembered. Raises PatternError."""
    return compile_regex(pattern).groups(value)


def expand(template: str, groups: tuple[str, ...], numbers: dict[str, int]) -> str:
    """Expand `$1`, `${name}` and `$$` as Go's regexp.Expand does: a reference to no group is empty."""

    def replacement(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        number = int(name) if name.isdecimal() and len(name) < 6 else numbers.get(name, len(groups))
        return groups[number] if number < len(groups) else ""

    return _REFERENCE.sub(replacement, template)


_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def search(pattern: str, text: str) -> bool:
    """Say whether a pattern matches anywhere in a text, as Go's regexp.MatchString. Raises PatternError."""
    return _anywhere(pattern).search(text) is not None


def replace_all(pattern: str, replacement: str, text: str) -> str:
    """Return a text with every match replaced, as Go's ReplaceAllString with its `$1`. Raises PatternError."""
    compiled = _anywhere(pattern)
    numbers = dict(compiled.groupindex)
    return str(compiled.sub(lambda m: expand(replacement, (m[0], *(g or "" for g in m.groups())), numbers), text))


@lru_cache(maxsize=CACHED_SMALL)
def _anywhere(pattern: str) -> Any:
    """Return a pattern of a template: unlike one of PromQL, its `.` does not match newlines."""
    return _compiled(pattern, SMALL_BYTES, dot_nl=False)


def _compiled(pattern: str, memory: int, *, lines: bool = False, dot_nl: bool = True) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    options.dot_nl = dot_nl
    options.never_nl = options.never_capture = lines
    try:
        return re2.compile(pattern, options)
    except UnicodeEncodeError as error:
        raise PatternError(f"invalid UTF-8: {_shown(pattern)}") from error
    except re2.error as error:
        kind, _, fragment = error.args[0].partition(b": ")
        shown = _shown(fragment.decode(errors="replace") or pattern)
        too_large = kind.startswith(b"pattern too large")
        raise PatternError(f"{_GO_WORDS.get(kind) or kind.decode()}: {shown}", too_large=too_large) from error
    finally:
        re2.purge()  # it would keep 128 patterns of whatever size, beside those kept here


def _shown(pattern: str) -> str:
    return f"`{readable(pattern if len(pattern) <= 80 else pattern[:77] + '...')}`"
