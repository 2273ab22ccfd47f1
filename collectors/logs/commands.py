"""The programs that print logs: how each is called, and where it goes on after it was started again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from collectors.logs.formats import cursor_of, ns_of
from collectors.logs.settings import PodLog

KERNEL = "kernel"
"""In place of a unit: the kernel's messages."""
_CURSOR = re.compile(r"s=[0-9a-f]+;[a-z]=[\w;=-]{1,300}")
_CURSOR_TIME = re.compile(r";t=([0-9a-f]{1,16})(?:;|$)")
"""Unix time in microseconds."""
_NO_CURSOR = "Failed to seek to cursor"
_MAX_SECONDS = 10**11
_SINCE = re.compile(r"@[0-9]{1,12}", re.ASCII)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) ")


def is_place_of_journal(at: str) -> bool:
    """Return whether a text is a place of a journal."""
    return bool(_CURSOR.fullmatch(at) or _SINCE.fullmatch(at))


class Command(Protocol):
    """A program that prints a log."""

    @property
    def place(self) -> str:
        """Its name for people."""
        ...

    @property
    def at(self) -> str:
        """Where it goes on, for a later run of the exporter; "" for a program that knows no such place."""
        ...

    @property
    def written_ns(self) -> int:
        """Unix time in nanoseconds that the call added to the last line; 0 for a call that adds none."""
        ...

    def words(self) -> Sequence[str]:
        """Return the words of its next call."""
        ...

    def text_of(self, line: str) -> str | None:
        """Return a line of its output without what the call added, or None for one that came before."""
        ...

    def begin_anew(self, said: str) -> str:
        """Give up the place, if the program failed because of it. Return the end of a sentence about that, or "".

        `said` is the last line of the failed program.
        """
        ...


class Plain:
    """A program as it was given. After a new start it prints what it prints: lines may be repeated or lost."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    @property
    def place(self) -> str:
        """Its first word."""
        return self._words[0]

    @property
    def at(self) -> str:
        """None."""
        return ""

    @property
    def written_ns(self) -> int:
        """0."""
        return 0

    def words(self) -> Sequence[str]:
        """Return the words as they were given."""
        return self._words

    def text_of(self, line: str) -> str | None:
        """Return the line."""
        return line

    def begin_anew(self, said: str) -> str:
        """Return "": there is no place."""
        return ""


class Journal:
    """`journalctl -f`: it goes on after the last entry that was read."""

    def __init__(self, unit: str, now: float, at: str = "") -> None:
        """Begin with entries that come after the cursor or time `at`; without one, after `now` (unix seconds)."""
        self._unit = unit
        self._since = float(at[1:]) if _SINCE.fullmatch(at) else now
        self._cursor = at if _CURSOR.fullmatch(at) else ""
        self._began = self._cursor

    @property
    def place(self) -> str:
        """The unit."""
        return self._unit

    @property
    def at(self) -> str:
        """The cursor; before the first entry, the time of the start."""
        return self._cursor or f"@{self._since:.0f}"

    @property
    def written_ns(self) -> int:
        """0: the entry itself has its time."""
        return 0

    def words(self) -> Sequence[str]:
        """Return the call.

        `--no-tail` shows all entries since the place, and not the last ten only. `--all` shows messages of 4 KiB and
        more, which are null without it. `--cursor` shows the last entry again: `--after-cursor` would pass over the
        next one where the last one was vacuumed. `-k` would leave out what the kernel said before a reboot.
        """
        self._began = self._cursor
        whose = ("_TRANSPORT=kernel",) if self._unit == KERNEL else ("-u", self._unit)
        since = f"--cursor={self._cursor}" if self._cursor else f"--since=@{self._since:.0f}"
        form = ("--output=json", "--output-fields=MESSAGE", "--all", "--no-pager", "--no-tail")
        return ("journalctl", "--follow", *form, since, *whose)

    def text_of(self, line: str) -> str | None:
        """Return the line, and note its place."""
        cursor = cursor_of(line)
        if cursor and cursor == self._began:
            return None
        self._cursor = cursor or self._cursor
        return line

    def begin_anew(self, said: str) -> str:
        """Go on by the cursor's time where the journal does not take the cursor; without a time, from the start on."""
        if not (self._began and self._began == self._cursor and _NO_CURSOR in said):
            return ""
        time = _CURSOR_TIME.search(self._cursor)
        at = int(time[1], 16) // 10**6 if time else 0
        self._since = float(at) if 0 < at < _MAX_SECONDS else self._since
        self._cursor = ""
        told = datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"; the kept place is none of this journal, so entries since {told} are read, some perhaps again"


class Stamped:
    """A program that puts a time before each line: it goes on after the time of the last line that was read.

    Times compare as numbers, because a kubelet leaves out zeros at their end and writes its node's zone.
    """

    _form = "%Y-%m-%dT%H:%M:%S.%fZ"

    def __init__(self, now: float, at: str = "") -> None:
        """Begin with lines that come after the time `at`; without one, after `now` (unix seconds)."""
        known = ns_of(at)
        self._last_ns = known or int(now * 1e9)
        self._last = at if known else datetime.fromtimestamp(now, UTC).strftime(self._form)
        self._began_ns, self._written_ns = self._last_ns, 0

    @property
    def at(self) -> str:
        """Time of the last line, as the program writes it."""
        return self._last

    @property
    def written_ns(self) -> int:
        """Time of the last line."""
        return self._written_ns

    def since(self) -> str:
        """Return the time from which a new call shall print. What comes again at or before it is left out."""
        self._began_ns = self._last_ns
        return self._last

    def text_of(self, line: str) -> str | None:
        """Return the line without its time, or None for one that was read before. A line without a time is whole."""
        stamp = _STAMP.match(line)
        self._written_ns = ns_of(stamp[1]) if stamp else 0
        if stamp is None or not self._written_ns:
            return line
        if self._written_ns <= self._began_ns:
            return None
        if self._written_ns > self._last_ns:
            self._last_ns, self._last = self._written_ns, stamp[1]
        return line[stamp.end() :]

    def begin_anew(self, said: str) -> str:
        """Return "": any time is a place."""
        return ""


class Docker(Stamped):
    """`docker logs -f`: it goes on after the last line that was read, also in a new container of the same name."""

    _form = "%Y-%m-%dT%H:%M:%S.%f000Z"  # nine digits, as Docker writes them

    def __init__(self, container: str, now: float, at: str = "") -> None:
        """Follow a container from a time on."""
        super().__init__(now, at)
        self._container = container

    @property
    def place(self) -> str:
        """The container."""
        return self._container

    def words(self) -> Sequence[str]:
        """Return the call. `--since` includes its own instant, so the last line comes again."""
        return ("docker", "logs", "--follow", "--timestamps", "--since", self.since(), self._container)


class Pod(Stamped):
    """`kubectl logs -f`: it goes on after the last line that was read, also in a pod that replaced the one before."""

    def __init__(self, log: PodLog, now: float, at: str = "") -> None:
        """Follow a container in a pod from a time on."""
        super().__init__(now, at)
        self._log = log

    @property
    def place(self) -> str:
        """The pod or workload, with its namespace."""
        return f"{self._log.namespace}/{self._log.name}"

    def words(self) -> Sequence[str]:
        """Return the call. Kubernetes cuts `--since-time` to whole seconds: the lines of the last second come again."""
        whose = ("--container", self._log.container) if self._log.container else ()
        form = ("--follow", "--timestamps", f"--since-time={self.since()}", "--namespace", self._log.namespace)
        return ("kubectl", "logs", *form, *whose, self._log.name)
