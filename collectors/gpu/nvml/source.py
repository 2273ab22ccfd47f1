"""This host's GPUs as a scrape source. NVML can hang for ever, so it runs in a child process with a deadline."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import collectors
from collectors.errors import BodyTooLarge, NvmlUnavailable, ScrapeTimeout, Unreachable

_COMMAND = (sys.executable, "-P", "-m", "collectors.gpu.nvml.child")
_RETRY_S = 60.0
"""Seconds for which "no driver" stays the answer before a new process tries again."""
_REAP_S = 2.0
"""Seconds for which close() waits for killed children. A child that hangs in the kernel may never end."""


class NvmlSource:
    """Yields the canonical gpu_* metrics of this host. Restarts its child after a hang or a crash.

    `node` is the `node` label of every series; by default the host name, as in dcgm-exporter.
    """

    def __init__(
        self,
        node: str = "",
        environ: Mapping[str, str] | None = None,
        max_body_bytes: int = 16 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        package_root = str(Path(collectors.__file__).parent.parent)
        inherited = dict(os.environ if environ is None else environ)
        path = os.pathsep.join(filter(None, (package_root, inherited.get("PYTHONPATH"))))
        self._environ = {**inherited, "PYTHONPATH": path, "NVML_NODE": node}
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._lock = asyncio.Lock()
        self._child: Process | None = None
        self._reaping: set[asyncio.Task[int]] = set()
        self._unavailable: tuple[str, float] | None = None

    async def read(self, timeout_s: float) -> bytes:
        """Return the GPUs' exposition.

        Raises NvmlUnavailable (no driver), ScrapeTimeout (NVML hangs; the child was killed), Unreachable (it crashed).
        """
        if self._unavailable and self._clock() < self._unavailable[1]:
            raise NvmlUnavailable(self._unavailable[0])
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                return await self._ask()
        except TimeoutError:
            raise ScrapeTimeout(
                f"NVML did not answer within {timeout_s:g} s; its reader was killed and restarts at the next scrape"
            ) from None

    async def close(self) -> None:
        """Kill the child, and wait at most _REAP_S seconds for its end."""
        self._abandon()
        if self._reaping:
            _, hanging = await asyncio.wait(self._reaping, timeout=_REAP_S)
            for task in hanging:
                task.cancel()

    async def _ask(self) -> bytes:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                *_COMMAND, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=self._environ, start_new_session=True
            )
        complete = False
        try:
            status, body = await self._exchange(self._child)
            complete = status == "ok"
        finally:
            # Also when the deadline cancels: the rest of this answer in the pipe would be read as the next answer.
            if not complete:
                self._abandon()
        if status != "ok":
            self._unavailable = (body.decode(errors="replace"), self._clock() + _RETRY_S)
            raise NvmlUnavailable(self._unavailable[0])
        self._unavailable = None
        return body

    async def _exchange(self, child: Process) -> tuple[str, bytes]:
        assert child.stdin and child.stdout
        try:
            child.stdin.write(b"read\n")
            await child.stdin.drain()
            header = await child.stdout.readuntil(b"\n")
            status, _, length = header.decode().strip().partition(" ")
            if int(length) > self._max_body_bytes:
                raise BodyTooLarge(
                    f"NVML reader: a body of {length} bytes, more than the {self._max_body_bytes} allowed"
                )
            return status, await child.stdout.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise Unreachable("the process that reads NVML died; it restarts at the next scrape") from error

    def _abandon(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin:
            child.stdin.close()
        with suppress(ProcessLookupError):
            child.kill()
        task = asyncio.create_task(child.wait())
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)
