"""nginx as a proxy of versions: an included file with the weights, a test of the configuration, and a reload.

nginx has no API for weights. docs/adr/0017-drivers-of-proxies.md has the measurements: an old worker finishes its
streams with the old weights, new workers take every new connection, and a bad file leaves the old configuration.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

from controlplane.config.models import ModelSection
from controlplane.config.traffic.nginx import NginxTraffic
from controlplane.errors import Unavailable
from controlplane.traffic.child import run
from controlplane.traffic.driver import Capabilities, EngineRefused
from controlplane.traffic.nginx.access_log import AccessLog
from controlplane.traffic.nginx.include import MAX_WEIGHT, Include
from controlplane.traffic.nginx.workers import Workers, workers
from controlplane.traffic.proxies.addresses import host_port
from controlplane.traffic.proxies.edits import turn
from controlplane.traffic.proxies.routing import Check, InstanceSeen
from controlplane.traffic.proxies.shares import least_share
from controlplane.traffic.threads import to_the_end
from controlplane.traffic.words import told
from controlplane.whole_file import replace_file

NAME = "nginx"
COMMAND_S = 30.0
"""Deadline of `nginx -t` and of the reload's command, in seconds. Chosen: a configuration resolves names."""
RELOAD_S, LOOK_S = 15.0, 0.05
"""Seconds that new workers may take to appear after a reload, and between two looks. Measured: less than 0.7 s."""
TURN_S = 120.0
"""Seconds that an order waits for those of other models. Chosen: each takes a test and a reload, about a second."""
MAX_DUMP_BYTES = 64 * 2**20
"""Maximum size of `nginx -T`, the whole configuration."""
TICK_S = 0.02
"""Error of a process's start time, in seconds: Linux counts it in ticks of 10 ms."""
MANY_WORKERS = 20
"""Old workers above which a plan warns. Chosen: each has the memory of a worker."""
MAX_FILE_BYTES = 2**20
"""Maximum size of the included file. The driver writes less than a kilobyte."""


class _Before(NamedTuple):
    """The included file before an order: its contents and times, in nanoseconds."""

    data: bytes
    accessed_ns: int
    changed_ns: int
    serving: frozenset[int]
    """Process ids of the workers at that time. Their ages have ticks of 10 ms, which cannot order two quick events."""


class Nginx:
    """The nginx on this machine."""

    name = NAME
    capabilities = Capabilities(weights=True, prewarm=True)

    def __init__(self, section: ModelSection) -> None:
        assert isinstance(section.traffic, NginxTraffic)  # the registry chooses by it
        self._traffic = traffic = section.traffic
        servers = {name: [host_port(b.url) for b in version.backends] for name, version in section.versions.items()}
        self._include = Include(traffic.upstream or section.name, servers, traffic.sticky, traffic.options)
        versions = {address: version for version, own in servers.items() for address in own}
        self._log = AccessLog(traffic.access_log, versions) if traffic.access_log else None

    async def look(self) -> Sequence[InstanceSeen]:
        """Read the included file, and compare its age with the workers'."""
        return (await asyncio.to_thread(self._look),)

    async def check(self, version: str) -> Check:
        """Check the file, the configuration and the processes."""
        traffic = self._traffic
        try:
            running = await asyncio.to_thread(workers, traffic.pid_file)
            await asyncio.to_thread(self._weights)
        except (Unavailable, EngineRefused) as error:
            return Check((str(error),))
        reasons = [fault] if (fault := await self._test()) else []
        if traffic.access_log and not os.access(traffic.access_log, os.R_OK):
            reasons.append(f"access_log: {traffic.access_log} cannot be read by this account (user id {os.geteuid()})")
        folder = traffic.include.resolve().parent
        if not os.access(folder, os.W_OK):
            reasons.append(f"this account (user id {os.geteuid()}) may not write into {folder}, where nginx includes")
        if traffic.reload is None and not _may_signal(running.master):
            reasons.append(
                f"this account (user id {os.geteuid()}) may not signal nginx (process {running.master}); set reload: "
                "to a command that may, such as [sudo, -n, systemctl, reload, nginx]"
            )
        return Check(tuple(reasons), self._notes(running), self._known(), least_share=self._least(version))

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Write the file, test the configuration, reload, and wait until every serving worker is a new one.

        Raises EngineRefused when nginx does not accept the file, and Unavailable when it does not run or reload.
        """
        text = self._include.text(weights).encode()
        async with AsyncExitStack() as held:
            try:
                # One order at a time for all models of this nginx: a test reads the files of all of them.
                await held.enter_async_context(turn(self._traffic.pid_file.resolve().parent, TURN_S))
            except OSError as error:
                raise Unavailable(f"{self._traffic.pid_file} cannot be locked: {error.strerror or error}") from error
            if await asyncio.to_thread(self._holds, text):
                return
            await self._write_tested(text)
            running = await asyncio.to_thread(workers, self._traffic.pid_file)
            await self._reload(running)
            await self._renewed(running)

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Write the file if it has other weights. nginx reads it at every start."""
        await self.apply(weights)
        return (f"{self._traffic.include} has these weights, so a restart of nginx keeps them",)

    async def close(self) -> None:
        """Do nothing: nothing stays open."""

    def _look(self) -> InstanceSeen:
        name = str(self._traffic.include)
        try:
            weights, written = self._weights()
            running = workers(self._traffic.pid_file)
        except (Unavailable, EngineRefused) as error:
            return InstanceSeen(name, None, str(error))
        late = [pid for pid, since in running.serving.items() if since < written - TICK_S]
        pending = ""
        if late or not running.serving:
            pending = f"nginx has not loaded {name}: {len(late)} of its workers are older than the file"
        totals = None
        if self._log:
            with suppress(OSError):  # planning refuses a log that cannot be read; later, requests are not counted
                totals = self._log.totals()
        return InstanceSeen(name, weights, pending=pending, totals=totals, life="log")

    def _weights(self) -> tuple[dict[str, float], float]:
        """Return the shares in the file and its time of change. Raises EngineRefused with the cure."""
        path = self._traffic.include
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
            return self._include.read(text), path.stat().st_mtime
        except FileNotFoundError as error:
            raise EngineRefused(
                f"{path} does not exist; write `upstream {self._include.upstream} {{ server ADDRESS; }}` with the "
                f"stable version's servers into it, include it in nginx's http block, and set proxy_pass to "
                f"{self._include.pass_to}"
            ) from error
        except OSError as error:
            raise EngineRefused(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise EngineRefused(f"{path} has other contents than the driver writes: {error}") from error

    def _holds(self, text: bytes) -> bool:
        """Return whether nginx runs with exactly this file."""
        with suppress(OSError, Unavailable):
            if self._traffic.include.read_bytes() == text:
                written = self._traffic.include.stat().st_mtime
                serving = workers(self._traffic.pid_file).serving
                return bool(serving) and all(since >= written - TICK_S for since in serving.values())
        return False

    async def _write_tested(self, text: bytes) -> None:
        """Write the file. Bring the old one back where nginx does not accept it, or the order is cut off before."""
        before = await asyncio.to_thread(self._before)
        accepted = False
        try:
            await to_the_end(self._replace, text)
            if fault := await self._test():
                raise EngineRefused(f"nginx does not accept the new weights, and the old file is back: {fault}")
            accepted = True
        finally:
            if not accepted:
                await to_the_end(self._restore, before)

    def _before(self) -> _Before | None:
        """Return the file as it is, or None: it does not exist. Blocking."""
        try:
            data, stat = self._traffic.include.read_bytes(), self._traffic.include.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unwritten(error) from error
        return _Before(data, stat.st_atime_ns, stat.st_mtime_ns, self._serving())

    def _replace(self, data: bytes) -> None:
        try:
            replace_file(self._traffic.include, data)
        except OSError as error:
            raise self._unwritten(error) from error

    def _restore(self, before: _Before | None) -> None:
        """Bring the old file back, with its old time: its age tells whether nginx has loaded it. Blocking."""
        path = self._traffic.include
        try:
            if before is None:
                path.unlink(missing_ok=True)
                return
            if path.read_bytes() != before.data:
                replace_file(path, before.data)
            if self._serving() - before.serving:
                return  # nginx was reloaded in between and has the new weights: the old file must count as not loaded
            os.utime(path, ns=(before.accessed_ns, before.changed_ns))
        except OSError as error:
            raise EngineRefused(f"the old {path} could not be put back: {error.strerror or error}") from error

    def _serving(self) -> frozenset[int]:
        """Return the process ids of the workers that serve. Blocking."""
        try:
            return frozenset(workers(self._traffic.pid_file).serving)
        except Unavailable:
            return frozenset()

    def _unwritten(self, error: OSError) -> EngineRefused:
        return EngineRefused(f"{self._traffic.include} could not be written: {error.strerror or error}")

    async def _test(self) -> str:
        """Return why nginx does not accept its configuration, or that it does not include the file, or ""."""
        config = ["-c", str(self._traffic.config)] if self._traffic.config else []
        done = await run([self._traffic.program, "-T", "-q", *config], timeout_s=COMMAND_S, most=MAX_DUMP_BYTES)
        if done.code != 0:
            return told(done.error or done.fault) or f"`{self._traffic.program} -T` ended with {done.code}"
        path = self._traffic.include
        if not any(f"# configuration file {name}:".encode() in done.output for name in (path, path.resolve())):
            return f"its configuration does not include {path}; add `include {path};` to the http block"
        return ""

    async def _reload(self, running: Workers) -> None:
        if self._traffic.reload is None:
            try:
                os.kill(running.master, signal.SIGHUP)
            except PermissionError as error:
                raise EngineRefused(f"nginx (process {running.master}) may not be signalled; set reload:") from error
            except ProcessLookupError as error:
                raise Unavailable(f"nginx (process {running.master}) has ended; start it: it reads the file") from error
            return
        done = await run(list(self._traffic.reload), timeout_s=COMMAND_S)
        if done.code != 0:
            raise EngineRefused(f"the command of reload: failed: {told(done.error or done.fault)}")

    async def _renewed(self, before: Workers) -> None:
        """Wait until no worker from before the reload takes connections. Raises Unavailable."""
        deadline = time.monotonic() + RELOAD_S
        while True:
            now = await asyncio.to_thread(workers, self._traffic.pid_file)
            if now.serving and not set(now.serving) & set(before.serving):
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"nginx was told to reload, and its old workers still serve after {RELOAD_S:g} s; its error log "
                    "says why"
                )
            await asyncio.sleep(LOOK_S)

    def _notes(self, running: Workers) -> tuple[str, ...]:
        if len(running.stopping) < MANY_WORKERS:
            return ()
        return (
            f"{len(running.stopping)} old workers of nginx still finish requests, and every reload adds some; set "
            "worker_shutdown_timeout in nginx.conf to end them, which cuts streams that are longer",
        )

    def _known(self) -> tuple[str, ...]:
        known = ["each change of weights reloads nginx: an old worker finishes its open requests with the old weights"]
        if self._traffic.access_log is None:
            known.append(
                f"no requests are counted: add `access_log FILE {self._include.format};` to nginx.conf, and "
                "access_log: here"
            )
        if self._traffic.sticky:
            known.append(f"equal values of {self._traffic.sticky} get one version: shares are only as even as they are")
        return tuple(known)

    def _least(self, version: str) -> float:
        if self._traffic.sticky:
            return 0.0001
        counts = {name: len(own) for name, own in self._include.servers.items()}
        return least_share(counts[version], max(counts.values()), MAX_WEIGHT)


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
