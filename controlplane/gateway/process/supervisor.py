"""The gateway's supervisor: holds the sockets and the shared memory, runs the workers, follows the control plane.

No request passes through it. Its death ends no open stream.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.durations import format_duration
from controlplane import __version__
from controlplane.config.gateway import ControlPlaneSection
from controlplane.config.loader import LoadedFleet
from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process.admin import Admin
from controlplane.gateway.process.areas import worker_columns
from controlplane.gateway.process.begin import Begin, wire_settings
from controlplane.gateway.process.entering import Addresses, Entry, enter
from controlplane.gateway.process.handover import Successors
from controlplane.gateway.process.health import Health
from controlplane.gateway.process.load.watch import EngineWatch
from controlplane.gateway.process.shared import Shared
from controlplane.gateway.process.sockets import BACKLOG, bound_address
from controlplane.gateway.process.state.applying import Applying
from controlplane.gateway.process.state.last_good import LastGood
from controlplane.gateway.process.state.sources import JOURNALS, FromControlPlane, FromFile, Source, enduring
from controlplane.gateway.process.systemd import notify
from controlplane.gateway.process.workers import Workers
from controlplane.gateway.telemetry.tracing.settings import TraceSettings
from controlplane.gateway.wire.tls import listener_context

log = logging.getLogger(__name__)

READY_S = 60.0
"""Seconds that a successor may take to serve. Then it gives up, and the gateway before it serves on."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of the command line."""

    folder: Path
    """Data folder. It exists."""
    listen: str = ""
    """Address in place of `gateway.listen`. Port 0 is any free one."""
    admin: str = ""
    """Address in place of `gateway.admin`."""
    follow: ControlPlaneSection | None = None
    """Control plane in place of `gateway.control_plane`."""


class Supervisor:
    """One gateway, from its start to its end."""

    def __init__(self, loaded: LoadedFleet, options: Options) -> None:
        self._loaded, self._folder = loaded, options.folder
        self._section = section = loaded.fleet.gateway
        self._follow = options.follow or section.control_plane
        self._addresses = Addresses(
            options.listen or section.listen, options.admin or section.admin, section.effective_workers
        )
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        """Set when this gateway is to end: by a signal, or because a successor serves."""
        self._why = ""
        self._signals = 0
        self._cut: Callable[[], None] = lambda: None
        self._failed: BaseException | None = None
        self._created = int(loaded.path.stat().st_mtime)
        self._serving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._relieved_by = 0
        """Process id of the gateway that has taken over."""
        self._successor: subprocess.Popen[bytes] | None = None
        self.incarnation = secrets.token_hex(8)

    async def run(self) -> None:
        """Serve until a signal or a successor ends it. Raises GatewayError when it cannot start or go on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._signalled, number.name)
        self._entry = entry = await enter(self._folder, self._addresses)
        try:
            await self._run(entry)
        finally:
            for task in self._tasks:
                task.cancel()
            entry.close()

    async def _run(self, entry: Entry) -> None:
        if (tls := wire_settings(self._section).tls) is not None:
            # Here a fault of it stops the start. In the workers it would only be repeated.
            await asyncio.to_thread(listener_context, tls)
        self._shared = Shared(entry.memory, entry.half, self._folder)
        if entry.is_fresh:
            await asyncio.to_thread(self._shared.restore)
        columns = worker_columns(entry.half, self._addresses.workers)
        self._workers = Workers(columns, len(entry.sockets), self._begin, self._shared.clear)
        self._cut = self._workers.cut
        disk = LastGood(self._folder)
        self._applying = Applying(self._workers, self._shared, disk, self._serving.set)
        if self._follow is None:
            self._source: Source = FromFile(self._loaded, self._applying)
        else:
            self._source = FromControlPlane(
                self._loaded,
                self._follow,
                self._applying,
                self._folder,
                self._report,
                self._shared.keeper.raise_spent,
                self._workers.changed,
                self._shared.meters,
            )
        self._health = Health(self._section, self._workers, self._applying, self._source, self._shared)
        self._admin = Admin(self._health.pages())
        self._successors = Successors(self._folder, lambda: entry.offer(self._addresses), self._relieve)
        try:
            await self._until_over(self._start(entry))
        except BaseException:
            await self._workers.kill()
            raise
        await self._end(entry)

    async def _until_over(self, start: Coroutine[Any, Any, None]) -> None:
        """Start, and wait for the end. A signal also ends a start that hangs."""
        starting, over = self._loop.create_task(start), self._loop.create_task(self._over.wait())
        try:
            await asyncio.wait((starting, over), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await over
        finally:
            starting.cancel()
            over.cancel()

    async def _start(self, entry: Entry) -> None:
        """Serve as soon as there is a desired state, and relieve the gateway before."""
        await self._workers.start()
        self._loop.add_signal_handler(signal.SIGHUP, self._source.again)
        self._loop.add_signal_handler(signal.SIGUSR2, self._upgrade)
        await self._source.begin()
        self._spawn(self._source.run(), "source")
        self._spawn(self._listen(entry), "listen")
        self._spawn(enduring("the engines' metrics", self._watch_engines().run), "engines")
        if entry.before is not None:
            await self._take_over(entry)
        self._source.take_charge()
        self._spawn(enduring("what was spent", self._shared.keep), "spent")
        self._spawn(enduring("shares of limits", self._applying.keep), "shares")
        entry.lock.sign()
        entry.admin.listen(BACKLOG)
        await self._admin.start(entry.admin)
        self._successors.open()
        where = f"admin on {bound_address(entry.admin)}, data in {self._folder}"
        log.info("gateway %s: %d workers, %s", self._section.effective_name, self._addresses.workers, where)
        notify("READY=1")

    def _watch_engines(self) -> EngineWatch:
        return EngineWatch(lambda: self._applying.desired, self._workers.veto, self._shared.meters)

    async def _listen(self, entry: Entry) -> None:
        """Listen once all workers apply a state. Until then connections are refused, so that clients go elsewhere."""
        await self._serving.wait()
        for each in entry.sockets:
            each.listen(BACKLOG)
        self._workers.listen()
        await self._workers.accepting.wait()
        address = bound_address(entry.sockets[0])
        log.info("listening on %s", address)
        if self._section.tls is None and not address.is_loopback:
            log.warning("listening on %s without TLS: keys and prompts are sent unencrypted; set gateway.tls", address)
        notify("STATUS=serving")

    async def _take_over(self, entry: Entry) -> None:
        assert entry.before is not None
        try:
            await asyncio.wait_for(self._workers.accepting.wait(), READY_S)
        except TimeoutError:
            why = "; ".join(self._health.not_ready())
            raise GatewayError(f"after {READY_S:.0f} s: {why}; the gateway before this one serves on") from None
        await entry.before.relieve()
        log.info("process %d has stopped to accept and finishes its streams", entry.before.pid)
        self._spawn(self._watch(entry), "predecessor")

    async def _watch(self, entry: Entry) -> None:
        assert entry.before is not None
        await entry.before.ended()
        log.info("process %d, the gateway before this one, has ended", entry.before.pid)

    async def _relieve(self, pid: int) -> None:
        """A successor serves: let go of the folder, and end."""
        notify(f"MAINPID={pid}")
        self._relieved_by = pid
        self._why = f"process {pid} has taken over"
        await self._let_go()
        self._over.set()

    async def _let_go(self) -> None:
        self._health.draining = True
        self._successors.close()
        if self._relieved_by:
            await self._admin.close()
        await self._source.leave(say=not self._relieved_by)
        # A successor writes and reports from here on.
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._shared.leave)

    async def _end(self, entry: Entry) -> None:
        within_s = self._section.drain_timeout
        opened = self._shared.running()
        log.info("stopping: %s; %d open requests have %s to finish", self._why, opened, format_duration(within_s))
        notify("STOPPING=1")
        if not self._health.draining:
            await self._let_go()
        drained = self._loop.create_task(self._workers.drain(within_s))
        await asyncio.sleep(0)
        # Workers accept what waits in the queues. Then the last one to close a socket refuses what comes after.
        for each in entry.sockets:
            each.close()
        account = await drained
        await self._source.close(ship=not self._relieved_by)
        await self._admin.close()
        log.info(
            "stopped: %d requests finished, %d were cut after %d tokens",
            account.finished,
            account.cut,
            account.tokens_cut,
        )
        if self._failed is not None:
            raise GatewayError(f"the gateway ended by a fault of its own: {self._failed}") from self._failed

    def _begin(self, column: int) -> tuple[dict[str, Any], Sequence[int]]:
        entry, root = self._entry, logging.getLogger()
        sockets = [each.fileno() for each in entry.sockets]
        journal_bytes = self._section.max_journal_bytes // self._addresses.workers if self._follow else 0
        begin = Begin(
            column=column,
            memory_fd=entry.memory.fd,
            sizes=entry.memory.sizes,
            sockets=sockets,
            journal=str(self._folder / JOURNALS),
            journal_bytes=journal_bytes,
            created=self._created,
            drain_timeout_s=self._section.drain_timeout,
            level=root.level,
            wire=wire_settings(self._section),
            traces=TraceSettings.of(self._section),
        )
        return begin.message(), (entry.memory.fd, *sockets)

    def _signalled(self, name: str) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("%s: ending at once; open requests are cut", name)
            self._cut()
        self._why = self._why or name
        self._over.set()

    def _upgrade(self) -> None:
        """Start the program anew; it takes over. For systemd, whose main process this is."""
        if os.getpid() == 1:
            log.error("SIGUSR2: as process 1 of a container this gateway cannot hand over; start a new container")
        elif self._successor is not None and self._successor.poll() is None:
            log.warning("SIGUSR2: process %d is about to take over already", self._successor.pid)
        else:
            self._successor = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], stdin=subprocess.DEVNULL)
            log.info("SIGUSR2: process %d is to take over", self._successor.pid)

    def _report(self) -> dict[str, Any]:
        """Return the body of a report to the control plane."""
        opened, models = self._shared.open_requests(), self._workers.models()
        desired = self._applying.desired
        return {
            "format": 1,
            "name": self._section.effective_name,
            "incarnation": self.incarnation,
            "version": __version__,
            "listen": str(bound_address(self._entry.sockets[0])),
            "workers": len(self._workers.serving()),
            "ready": not self._health.not_ready(),
            "revision": desired.revision if desired else "",
            "models": {name: {**model, "open": opened.get(name, {})} for name, model in models.items()},
            "open_streams": self._shared.running(),
            "demand": self._shared.demand(),
            "fault": self._source.fault,
        }

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("internal error: %s ends, and the gateway with it", task.get_name(), exc_info=error)
            self._why = self._why or "internal error"
            self._failed = self._failed or error
            self._over.set()
