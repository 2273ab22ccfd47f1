"""Follows the output of a program that prints a log, such as `journalctl -f`. One that ends is started again."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence

from collectors.logs.commands import Command
from collectors.logs.formats import Unwrapper, lines_in
from collectors.logs.lines import LineSplitter, text_of
from collectors.logs.masking import masked
from collectors.logs.places import LogPlace
from collectors.logs.sink import Fault, Sink

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Seconds before a program is started again: twice as many after each try that ended soon."""
LASTED_S = 60.0
"""A program that ran for so many seconds was no failed try."""
TURN_BYTES = 4 << 20
"""Bytes that one poll reads."""
_CHUNK = 64 << 10
_END_S = 1.0
"""Seconds that a program gets to end after it closed its output."""


class Follow:
    """Runs a program and reads its output. `poll` is called again and again, always in the same thread."""

    def __init__(self, command: Command, sink: Sink, wait_s: float = 0.5) -> None:
        """Run nothing yet. `wait_s` is the longest time for which a poll waits for output."""
        self._command = command
        self._sink = sink
        self._wait_s = wait_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lines, self._unwrapper = LineSplitter(), Unwrapper()
        self._last = ""
        self._next_at, self._started_at = float("-inf"), 0.0
        self._pause_s = FIRST_PAUSE_S
        self._stopped = False
        self._lock = threading.Lock()
        self.faults: Sequence[Fault] = ()
        """Reason why the program does not run now."""

    @property
    def files(self) -> int:
        """1 while the program runs, else 0."""
        return int(self._process is not None)

    def poll(self, now: float) -> bool:
        """Start the program if it is time to, read its output, and return whether more may wait.

        `now` is monotonic time in seconds.
        """
        if self._process is None and (now < self._next_at or not self._start(now)):
            return False
        process = self._process
        assert process is not None and process.stdout is not None
        descriptor, left = process.stdout.fileno(), TURN_BYTES
        while left > 0 and select.select([descriptor], [], [], self._wait_s if left == TURN_BYTES else 0.0)[0]:
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                self._ended(process, now)
                return False
            left -= len(chunk)
            self._take(chunk)
        return left < TURN_BYTES

    def place(self) -> LogPlace:
        """Return where the program goes on."""
        return LogPlace(at=self._command.at)

    def stop(self) -> None:
        """End the program and all that it started. Any thread may call this, also during `poll`."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)

    def close(self) -> None:
        """End the program, and release its output. Not during `poll`."""
        self.stop()
        if self._process is not None:
            self._reap(self._process)

    def _start(self, now: float) -> bool:
        words = self._command.words()
        with self._lock:  # a program that starts while `stop` runs would be left behind
            if self._stopped:
                return False
            try:
                # In a session of its own, a signal to its group reaches all that it starts, and no Ctrl-C does.
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self._wait(now, f"{words[0]}: cannot be started: {error.strerror or error}")
                return False
        self._lines, self._unwrapper = LineSplitter(), Unwrapper()
        self._started_at, self._last, self.faults = now, "", ()
        return True

    def _take(self, chunk: bytes) -> None:
        cut = self._lines.cut
        for line in self._lines.feed(chunk):
            self._hand_on(line)
        if self._lines.cut > cut:
            self._sink.skipped("long", self._lines.cut - cut)

    def _hand_on(self, line: bytes) -> None:
        text = text_of(line)
        if text is None:
            self._sink.skipped("binary")
            return
        self._last = text
        taken = self._command.text_of(text)
        if taken is not None and (own := self._unwrapper.text_of(taken)) is not None:
            written_ns = self._command.written_ns or self._unwrapper.written_ns
            for each in lines_in(own):
                self._sink.line(self._command.place, each, written_ns)

    def _ended(self, process: subprocess.Popen[bytes], now: float) -> None:
        if rest := self._lines.rest():
            self._hand_on(rest)
        code = self._reap(process)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        said = f": {masked(self._last)}" if self._last and code else ""
        if now - self._started_at >= LASTED_S:
            self._pause_s = FIRST_PAUSE_S
        if not self._stopped:
            anew = self._command.begin_anew(self._last) if code else ""
            self._wait(now, f"`{shlex.join(process.args)}` ended {how}{said}{anew}")  # type: ignore[arg-type]

    def _wait(self, now: float, why: str) -> None:
        self.faults = (Fault("ended", why),)
        self._next_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Return the program's exit code, minus the signal's number where a signal ended it."""
        watched = os.pidfd_open(process.pid)  # unlike wait(), it leaves the number of the group taken
        select.select([watched], [], [], 0.0 if self._stopped else _END_S)
        os.close(watched)
        with self._lock:
            _kill(process)
            code = process.wait()
            self._process = None
        assert process.stdout is not None
        process.stdout.close()
        return code


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program's group. It is not reaped yet, so its number is no other group's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
