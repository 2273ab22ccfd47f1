"""The part that runs a gateway beside the control plane: `gateway.beside`.

The gateway is a process of its own, in a session of its own. It outlives this one, also kill -9, and the next start
finds it by the lock of its data folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane import __version__
from controlplane.access import TokenStore
from controlplane.access.roles import Role
from controlplane.access.tokens import new_token_text, split_token
from controlplane.app.parts.part import Configuration, Part
from controlplane.clock.system import SystemClock
from controlplane.errors import ControlPlaneError
from controlplane.gateway.backoff import Backoff
from controlplane.gateway.process.folder import holder
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.database import Database
from controlplane.whole_file import write_whole

log = logging.getLogger(__name__)

FOLDER = "gateway"
"""Data folder of the gateway, in that of the control plane."""
TOKEN, STARTED, LOG = "control-plane-token", "beside.json", "gateway.log"
WATCH_S = 2.0
FIRST_S, MOST_S = 2.0, 60.0
"""First and longest wait after a gateway that ended at once."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing listens because of it
"""Loopback addresses by the addresses that stand for all of a machine."""
LOG_BYTES = 16 * 2**20
"""Size of the gateway's log at which it begins anew; the one before is kept as gateway.log.1."""


@dataclass(frozen=True)
class BesideSettings:
    """The facts that a gateway is started with. A gateway that was started with others is replaced by a new one."""

    config: str
    """Path of fleet.yaml."""
    url: str
    """Address of the control plane to follow; "" when fleet.yaml names one."""
    version: str
    """Release of the program."""


class Beside(Part[BesideSettings | None]):
    """Starts the gateway, and starts it again when it ends."""

    name = "gateway"

    def __init__(self, db: Database, data_dir: Path, clock: SystemClock) -> None:
        self._tokens, self._folder, self._clock = TokenStore(db), data_dir / FOLDER, clock
        self._settings: BesideSettings | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        """The gateways that this process has started and that have not ended."""
        self._backoff = Backoff(FIRST_S, MOST_S)
        self._next = 0.0

    def settings(self, config: Configuration) -> BesideSettings | None:
        """Return the facts of the gateway that a configuration wants here, or None."""
        section = config.fleet.gateway
        if not section.beside:
            return None
        url = "" if section.control_plane else f"http://{reachable(config.listen)}"
        return BesideSettings(str(config.loaded.path), url, __version__)

    async def configure(self, settings: BesideSettings | None) -> Sequence[str]:
        """Run the gateway with these facts from now on. One that is wanted no more goes on until somebody stops it."""
        before, self._settings = self._settings, settings
        if settings is None and before is not None and (pid := await asyncio.to_thread(holder, self._folder)):
            return [f"process {pid} serves on; end it with: controlplane gateway stop --data-dir {self._folder}"]
        return ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that looks after the gateway."""
        return [make.plain("gateway", WATCH_S, self.watch)]

    async def watch(self) -> None:
        """Start the gateway if it does not run, or was started with other facts."""
        if self._settings is not None:
            await asyncio.to_thread(self._look, self._settings)

    @property
    def _log(self) -> Path:
        return self._folder / LOG

    def _look(self, settings: BesideSettings) -> None:
        self._trim_log()
        pid = holder(self._folder)
        for process in [each for each in self._processes if each.poll() is not None]:
            self._processes.remove(process)
            if process.returncode or pid is None:
                log.error("the gateway (process %d) ended with %d; see %s", process.pid, process.returncode, self._log)
                self._next = self._clock.monotonic() + self._backoff.failed()
                (self._folder / STARTED).unlink(missing_ok=True)
        if pid is not None and self._started() == asdict(settings):
            self._backoff.worked()
            return
        starting = any(process.pid != pid for process in self._processes)
        if not starting and self._clock.monotonic() >= self._next:
            self._start(settings, pid)

    def _start(self, settings: BesideSettings, before: int | None) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "controlplane", "gateway", "-c", settings.config]
        command += ["--data-dir", str(self._folder)]
        if settings.url:
            command += ["--control-plane", settings.url, "--token-file", str(self._token())]
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._processes.append(process)
        (self._folder / STARTED).write_text(json.dumps(asdict(settings)), encoding="utf-8")
        instead = f", in place of process {before}" if before else ""
        log.info("a gateway was started beside this process: process %d%s; log %s", process.pid, instead, self._log)

    def _started(self) -> object:
        """Return the facts that the gateway was started with, or None."""
        try:
            return json.loads((self._folder / STARTED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _token(self) -> Path:
        """Return the file of the gateway's token. A token that is unknown or revoked is replaced."""
        path = self._folder / TOKEN
        with contextlib.suppress(OSError, ValueError, ControlPlaneError):
            self._tokens.authenticate(path.read_text(encoding="utf-8").strip(), self._clock.now())
            return path
        text = new_token_text()
        # A name of its own: each replica runs its own gateway, and names of tokens differ.
        self._tokens.add(text, f"gateway-beside-{split_token(text)[0]}", Role.GATEWAY, None, self._clock.now())
        write_whole(path, f"{text}\n".encode())
        return path

    def _trim_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self._log, self._log.with_name(f"{LOG}.1"))
                os.truncate(self._log, 0)  # its writers append: they go on at the beginning


def reachable(listen: str) -> str:
    """Return the address at which this machine reaches what listens on host:port: `0.0.0.0:80` → `127.0.0.1:80`."""
    host, _, port = listen.rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}"
