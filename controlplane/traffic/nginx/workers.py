"""nginx's processes on this machine: the workers that serve, and those that finish their last requests. Blocking."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import Unavailable

_STOPPING = b"is shutting down"
"""Part of the title of a worker that takes no new connection."""
_PPID, _START = 1, 19
"""Fields of /proc/PID/stat after the program's name: the parent, and the start in clock ticks since boot (proc(5))."""


@dataclass(frozen=True)
class Workers:
    """The workers of one master."""

    master: int
    serving: dict[int, float]
    """Start of each worker that accepts connections, in unix seconds, by process id."""
    stopping: tuple[int, ...] = ()
    """Workers that finish their requests with an older configuration."""


def workers(pid_file: Path) -> Workers:
    """Return the workers of the nginx in a pid file. Raises Unavailable, with the cure, when it does not run."""
    try:
        master = int(pid_file.read_text())
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"{pid_file} names no process ({error}); is nginx running here? Name its `pid` file by pid_file:"
        ) from error
    if not Path(f"/proc/{master}").is_dir():
        raise Unavailable(f"process {master} of {pid_file} does not run; start nginx")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    serving, stopping = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, IndexError, ValueError):  # a process that has just ended
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[_PPID]) != master:
                continue
            title = (entry / "cmdline").read_bytes()
            if b"worker process" not in title:
                continue
            if _STOPPING in title:
                stopping.append(int(entry.name))
            else:
                serving[int(entry.name)] = booted + int(fields[_START]) / os.sysconf("SC_CLK_TCK")
    return Workers(master, serving, tuple(sorted(stopping)))
