"""The end of the process: a call that never returns must not prevent it.

Python joins every thread before a process ends. A thread that waits for a dead network disk never ends, so the process
would not end either: systemd, Docker or Kubernetes would kill it, and no log would say why.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

STOP_WITHIN_S = 25.0
"""Seconds from the first signal to the end. Kubernetes and the shipped systemd unit kill after 30 s."""
HURRY_WITHIN_S = 3.0
"""Seconds from the second signal to the end."""
JOIN_WITHIN_S = 5.0
"""Seconds that threads may take once everything is closed. Nothing needs their results any more."""
LOG_WITHIN_S = 1.0
"""Seconds that the log may take to say why. A log that hangs (a full pipe) delays the end by no more than this."""

_OURS = Path(__file__).parents[2]
_NEXT_CALL = ("thread.py", "_worker")
"""File and function in which a thread of a pool waits for its next call (concurrent.futures)."""
_JOINER = ("base_events.py", "_do_shutdown")
"""File and function in which asyncio's helper thread joins the threads of a pool."""


class Ending:
    """Ends the process with status 1 at a deadline. Does nothing before a deadline is set."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._began = 0.0
        self._saying: threading.Timer | None = None
        self._nowhere = -1

    def within(self, seconds: float) -> None:
        """End the process `seconds` from now unless it has ended by itself. An earlier deadline stays in force."""
        now = time.monotonic()
        at = now + seconds
        if self._at is None:
            self._began = now
        if self._at is not None and self._at <= at:
            return
        self._at = at
        if self._saying is not None:
            self._saying.cancel()
        self._saying = threading.Timer(seconds, _say, (at - self._began,))
        self._saying.daemon = True  # Python would wait for it otherwise
        self._saying.start()
        if self._nowhere < 0:
            self._nowhere = os.open(os.devnull, os.O_WRONLY)
        # A thread of C code: it also ends a process in which a call holds the interpreter's lock.
        faulthandler.dump_traceback_later(seconds + LOG_WITHIN_S, exit=True, file=self._nowhere)


def running_calls() -> list[str]:
    """Return one phrase for each thread, other than the main one and this one, that is in a call.

    Example: "files_0 in read_text (collectors/discovery/discovery.py:210)".
    """
    frames = sys._current_frames()
    others = [t for t in threading.enumerate() if t not in (threading.main_thread(), threading.current_thread())]
    found = [(thread.name, frames[thread.ident]) for thread in others if thread.ident in frames and not thread.daemon]
    return sorted(f"{name} in {_place(frame)}" for name, frame in found if not _idle(frame))


def _say(seconds: float) -> None:
    calls = ", ".join(running_calls()) or "no call of a thread"
    log.critical("the control plane did not stop within %.0f s and is ended now; still running: %s", seconds, calls)


def _idle(innermost: FrameType) -> bool:
    return _named(innermost) == _NEXT_CALL or any(_named(frame) == _JOINER for frame in _outwards(innermost))


def _named(frame: FrameType) -> tuple[str, str]:
    return Path(frame.f_code.co_filename).name, frame.f_code.co_name


def _place(innermost: FrameType) -> str:
    ours = next((f for f in _outwards(innermost) if _OURS in Path(f.f_code.co_filename).parents), innermost)
    path = Path(ours.f_code.co_filename)
    shown = path.relative_to(_OURS) if _OURS in path.parents else Path(path.name)
    return f"{ours.f_code.co_name} ({shown}:{ours.f_lineno})"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
