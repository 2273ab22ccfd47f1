"""Regular expressions that users write. RE2 matches them, with Prometheus's anchoring and Prometheus's error messages.

RE2's time is linear in its input and its memory is bounded, whatever the pattern. Python's `re` backtracks: a hostile
pattern can keep it busy for years. No pattern of a user reaches `re`.
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
"""Bytes for a compiled pattern and RE2's cache of states: enough for some 20,000 instructions."""

LARGE_BYTES = 8 << 20
"""Bytes for a pattern that does not fit in SMALL_BYTES. Source: RE2's own default."""

CACHED_SMALL, CACHED_LARGE = 256, 16
"""Compiled patterns kept in the cache of each size. Each cache takes at most 128 MiB, and twice that when its patterns
also match in batches (`Regex.matching`)."""

CACHED_GROUPS = 16_384
"""Pairs of pattern and value whose groups are cached: a rule with `label_replace` matches the same values at every
evaluation."""

BATCH = 4_096
"""Values that one call of RE2 matches."""

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
"""Error texts of RE2 in C++ and their texts in Go, which Prometheus shows. All other texts are the same."""

_ESCAPED = re.compile(r"\\Q(?:.*?)(?:\\E|\Z)|\\.|\[\^", re.DOTALL)
_LOOKS_AROUND = re.compile(r"[\^$]|\(\?[a-zA-Z]*m")
"""Finds an anchor or the flag `m` in a pattern without its escapes and without the `^` of classes."""


class Regex:
    """A pattern that must match a whole value. `.` matches newlines too. `compile_regex` returns cached ones."""

    def __init__(self, pattern: str, memory: int = LARGE_BYTES) -> None:
        """Compile `pattern`. `memory` is the most that RE2 may use, in bytes.

        Raises PatternError, in Prometheus's words, when the pattern is not valid or needs more memory.
        """
        self.pattern = pattern
        self._memory = memory
        if any(escape[0] == r"\C" for escape in _ESCAPED.finditer(pattern)):
            raise PatternError(r"invalid escape sequence: `\C`")  # C++ has it, Go has not
        self._whole = _compiled(pattern, memory)

    def matches(self, value: str) -> bool:
        """Whether the whole value matches."""
        return self._whole.fullmatch(value) is not None

    def groups(self, value: str) -> tuple[str, ...] | None:
        """Return the whole value and the text of each group, or None for no match. An unused group has `""`."""
        match = self._whole.fullmatch(value)
        return None if match is None else (match[0], *(group or "" for group in match.groups()))

    @cached_property
    def group_numbers(self) -> dict[str, int]:
        """Names of the named groups, each with its number."""
        return dict(self._whole.groupindex)

    def matching(self, values: Iterable[str]) -> frozenset[str]:
        """Return the values that match.

        RE2 releases the interpreter's lock at each call, and it may take milliseconds to get the lock back. Therefore
        one call matches many values where the pattern allows it.
        """
        lines = self._lines
        if lines is None:
            return frozenset(value for value in values if self.matches(value))
        plain: list[str] = []
        broken: list[str] = []
        for value in values:
            (broken if "\n" in value else plain).append(value)
        # Sorted neighbours have equal beginnings, so matching values come in long runs. RE2 is called once a run.
        plain.sort()
        found = [value for value in broken if self.matches(value)]
        for at in range(0, len(plain), BATCH):
            found.extend(_runs(lines, plain[at : at + BATCH]))
        return frozenset(found)

    @cached_property
    def _lines(self) -> Any | None:
        r"""A pattern that finds runs of matching lines. None where the pattern depends on the text around a line.

        `never_nl` keeps each match of the user's pattern within a line. After `$` comes a newline, which only `\C` can
        match then. After it `^` matches again.
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
    """Return a compiled pattern, cached. Raises PatternError, in Prometheus's words, when it is not valid."""
    try:
        return _small(pattern)
    except PatternError as error:
        if not error.too_large:
            raise
        return _large(pattern)


@lru_cache(maxsize=CACHED_GROUPS)
def groups_of(pattern: str, value: str) -> tuple[str, ...] | None:
    """Return `Regex.groups` of a value, cached. Raises PatternError when the pattern is not valid."""
    return compile_regex(pattern).groups(value)


def expand(template: str, groups: tuple[str, ...], numbers: dict[str, int]) -> str:
    """Return a template with `$1`, `${name}` and `$$` expanded, as Go's regexp.Expand does.

    `groups` are those of a match, the whole match first. `numbers` maps a group's name to its index in `groups`.
    A reference to a group that does not exist becomes "".
    """

    def replacement(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        number = int(name) if name.isdecimal() and len(name) < 6 else numbers.get(name, len(groups))
        return groups[number] if number < len(groups) else ""

    return _REFERENCE.sub(replacement, template)


_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def search(pattern: str, text: str) -> bool:
    """Return whether a pattern matches anywhere in a text, as Go's regexp.MatchString does.

    Raises PatternError when the pattern is not valid.
    """
    return _anywhere(pattern).search(text) is not None


def replace_all(pattern: str, replacement: str, text: str) -> str:
    """Return a text with every match replaced, as Go's ReplaceAllString does. `replacement` may refer to `$1`.

    Raises PatternError when the pattern is not valid.
    """
    compiled = _anywhere(pattern)
    numbers = dict(compiled.groupindex)
    return str(compiled.sub(lambda m: expand(replacement, (m[0], *(g or "" for g in m.groups())), numbers), text))


@lru_cache(maxsize=CACHED_SMALL)
def _anywhere(pattern: str) -> Any:
    """Return a compiled pattern of a template. Its `.` does not match newlines, unlike in PromQL."""
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
        re2.purge()  # re2 keeps 128 patterns of any size of its own, beside the caches of this module


def _shown(pattern: str) -> str:
    return f"`{readable(pattern if len(pattern) <= 80 else pattern[:77] + '...')}`"
