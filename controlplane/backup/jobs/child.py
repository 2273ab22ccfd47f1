"""One child process: its output is read within bounds, and it is stopped when it hangs or is not wanted any more."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.leashed import leashed

MOST_OUTPUT: Final = 1 << 20
"""Bytes of a result that are usually kept. A snapshot's head is a few kilobytes."""
MOST_LINE: Final = 4096
"""Bytes of a line on standard error that are kept."""
MOST_LINES: Final = 20
NOT_STARTED: Final = 127
"""Exit status of a program that cannot be started, as shells have it."""
STOP_WITHIN_S: Final = 5.0
"""Seconds between asking a child to end and killing it. It deletes its note in the repository meanwhile."""
DRAIN_WITHIN_S: Final = 5.0
"""Seconds to read what is left after the end: a process that the child left behind may hold the pipe open."""
KILLED_WITHIN_S: Final = 60.0
"""Seconds to wait for a killed child. One that waits for a file server that is away cannot end before it is back."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Bounds:
    """When a child counts as hanging, in seconds, and how often it is looked at. Chosen."""

    silent_s: float | None = 300.0
    """Without a line. A verb that tells its progress writes one every ten seconds. None: it tells none."""
    still_s: float = 3600.0
    """Without progress: the end of a run, which has none, writes the list of files and takes minutes at most."""
    look_s: float = 5.0
    most_output: int = MOST_OUTPUT
    """Bytes of the result that are kept."""


TELLING: Final = Bounds()
"""Bounds of a verb that tells its progress."""
QUIET: Final = Bounds(silent_s=None, still_s=6 * 3600.0)
"""Bounds of a prune, which tells nothing before its end."""


@dataclass
class Heard:
    """Output of a child so far. `clock` is monotonic."""

    clock: Callable[[], float] = time.monotonic
    output: bytearray = field(default_factory=bytearray)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    """The last lines of standard error that are no progress."""
    done: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        self.heard_at = self.moved_at = self.clock()

    def take(self, line: bytes) -> None:
        """Take one line of standard error."""
        self.heard_at = self.clock()
        try:
            row = orjson.loads(line)
            done, total = row["done"], row["bytes"]
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
            if text := line.decode("utf-8", "replace").strip():
                self.lines.append(text)
            return
        if isinstance(done, int) and isinstance(total, int) and (done, total) != (self.done, self.total):
            self.done, self.total, self.moved_at = done, total, self.heard_at

    def hangs(self, bounds: Bounds) -> str:
        """Return why the child counts as hanging; empty: it does not."""
        now = self.clock()
        if bounds.silent_s is not None and now - self.heard_at > bounds.silent_s:
            return f"it was stopped because it had said nothing for {bounds.silent_s:g} seconds"
        if now - self.moved_at > bounds.still_s:
            return f"it was stopped because it had made no progress for {bounds.still_s:g} seconds"
        return ""


@dataclass(frozen=True)
class Ended:
    """The end of a child."""

    code: int
    """Exit status; negative: the signal."""
    output: bytes
    lines: tuple[str, ...]
    stopped: str = ""
    """Why this process stopped it; empty: it ended by itself."""
    left: int | None = None
    """Its number where it could not be killed: it waits for a file server that is away. None: it is gone."""


def fault_of(ended: Ended) -> str:
    """Return why a child failed, in the words that it said last; empty: it did not."""
    if ended.code == 0 and not ended.stopped:
        return ""
    how = ended.stopped or (f"it was ended by signal {-ended.code}" if ended.code < 0 else "")
    said = " ".join(ended.lines)
    return ": ".join(part for part in (how, said) if part) or f"it ended with exit code {ended.code}"


def result_of(ended: Ended, made: Callable[[Any], Made]) -> Made:
    """Return what `made` makes of the JSON that a child printed.

    `made` raises KeyError, TypeError and ValueError for another document. Raises BackupError with why there is none.
    """
    if fault := fault_of(ended):
        raise BackupError(fault)
    try:
        return made(orjson.loads(ended.output))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BackupError(f"its result cannot be read ({type(error).__name__}: {error})") from None


async def untold(done: int, total: int) -> None:
    """Take the progress of a child that nobody is shown."""


async def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    bounds: Bounds,
    tell: Callable[[int, int], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> Ended:
    """Run a command to its end. `tell` is called every few seconds with the bytes done and in all.

    The child is stopped when it hangs, when `tell` raises, and when this task is cancelled. One that cannot be started
    has ended with NOT_STARTED, and says why. Raises what `tell` raises.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *leashed(command, os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            # A group of its own: Ctrl-C in the control plane's terminal is for the control plane, which stops its
            # children. uvloop, on which the control plane runs, does not know process_group.
            start_new_session=True,
        )
    except OSError as error:
        return Ended(NOT_STARTED, b"", (f"its process cannot be started: {error.strerror or error}",))
    heard, stopped = Heard(clock), ""
    assert process.stdout is not None and process.stderr is not None
    readers = [
        asyncio.create_task(_read(process.stdout, heard, bounds.most_output)),
        asyncio.create_task(_listen(process.stderr, heard)),
    ]
    ended = asyncio.create_task(process.wait())
    try:
        while not (await asyncio.wait({ended}, timeout=bounds.look_s))[0]:
            if stopped := heard.hangs(bounds):
                break
            await tell(heard.done, heard.total)
    finally:
        await _stop(process, ended)
        await asyncio.wait(readers, timeout=DRAIN_WITHIN_S)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    gone = ended.done() and not ended.cancelled()
    code, left = (ended.result(), None) if gone else (-signal.SIGKILL, process.pid)
    return Ended(code, bytes(heard.output), tuple(heard.lines), stopped, left)


async def _stop(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """End a child with all that it started, gently at first, and wait for its end, up to KILLED_WITHIN_S."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGINT)
        await asyncio.wait({ended}, timeout=STOP_WITHIN_S)
    _signal(process.pid, signal.SIGKILL)
    await asyncio.wait({ended}, timeout=KILLED_WITHIN_S)
    ended.cancel()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _read(stream: asyncio.StreamReader, heard: Heard, most: int) -> None:
    while part := await stream.read(1 << 16):
        heard.output += part[: most - len(heard.output)]


async def _listen(stream: asyncio.StreamReader, heard: Heard) -> None:
    rest = b""
    while part := await stream.read(1 << 16):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            heard.take(line[:MOST_LINE])
        rest = rest[:MOST_LINE]
    heard.take(rest)
