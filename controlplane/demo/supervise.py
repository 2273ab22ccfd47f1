"""Runs the demo: a real Triton, simulated engines and GPUs, load, and the control plane over them, as children."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.access.tokens import new_token_text
from controlplane.config.context import contexts_path
from controlplane.demo.access import access
from controlplane.demo.banner import Shell, banner, status_line
from controlplane.demo.faults import SECRET_ENV
from controlplane.demo.fleet import GatewayPart, Ports, TritonPart, fleet_yaml
from controlplane.demo.load import KEY_ENV
from controlplane.demo.process import Child, free_ports, port_is_free
from controlplane.demo.repository import FAULT_FILE, MODEL, write_repository
from controlplane.demo.state import (
    STATE_FILE,
    DemoNotRunning,
    DemoState,
    read_state,
    remove_context,
    write_context,
    write_private,
    write_state,
)
from controlplane.demo.triton import TritonServer, TritonUnavailable
from controlplane.errors import ConfigError, ControlPlaneError, Unavailable
from controlplane.plain_text import plain_lines

READY_TIMEOUT_S = 60.0
_CONTROL_PLANE = "control plane"
_GATEWAY = "gateway"
_LOAD = "load generator"
_SIMULATORS = "simulators"
_INTERRUPTED = 130
_STATUS_S = 5.0


def run_demo(listen: str, data_dir: Path | None = None, duration_s: float | None = None) -> int:
    """Run the demo until Ctrl-C, SIGTERM, or `duration_s` after it was ready; return the exit code.

    `listen` is host:port of the control plane (port 0: any free one). Without `data_dir` everything is written to a
    fresh temporary folder that is removed at the end; logs stay where a part of the demo failed. Raises
    ControlPlaneError where the demo cannot start.
    """
    folder = data_dir or Path(tempfile.mkdtemp(prefix="controlplane-demo-"))
    failed = True
    try:
        _make(folder)
        demo = Demo(listen, folder.resolve(), os.environ, kept=data_dir is not None)
        code = asyncio.run(demo.run(duration_s))
        failed = code not in (0, _INTERRUPTED)
        return code
    finally:
        if data_dir is None:
            _remove(folder, keep_logs=failed)


def _make(folder: Path) -> None:
    """Make the demo's folder. Raises ConfigError where that is not possible, or where this user cannot write to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot be created: {error.strerror}", file=folder, field="--data-dir") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError("this user cannot write there; choose another folder", file=folder, field="--data-dir")


def _remove(folder: Path, *, keep_logs: bool) -> None:
    """Remove the folder, but for logs that say something if `keep_logs`: the message that names them must be true."""
    logs = folder / "logs"
    if not keep_logs or not any(log.stat().st_size for log in logs.glob("*.log")):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for entry in folder.iterdir():
        if entry.is_dir() and entry != logs:
            shutil.rmtree(entry, ignore_errors=True)
        elif entry != logs:
            entry.unlink(missing_ok=True)


def address(listen: str) -> tuple[str, int]:
    """Split host:port; port 0 becomes a free one. Raises Unavailable where it is malformed or taken."""
    host, colon, port_text = listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port_text.isdecimal() or int(port_text) > 65535:
        raise Unavailable(f"--listen {listen}: expected host:port, such as 127.0.0.1:8080")
    port = int(port_text) or free_ports(1, host)[0]
    if not port_is_free(host, port):
        raise Unavailable(
            f"--listen {listen}: something listens there already (another demo?); "
            f"stop it, or choose another port: --listen {host}:{port + 1} "
            f"(make demo ARGS='--listen {host}:{port + 1}')"
        )
    return host, port


class Demo:
    """One run of the demo. Children are stopped in the reverse order of what depends on what."""

    def __init__(
        self,
        listen: str,
        data_dir: Path,
        environment: Mapping[str, str],
        *,
        control_plane: Sequence[str | Path] = ("-m", "controlplane", "up"),
        kept: bool = True,
    ) -> None:
        """`control_plane` is what Python runs as the control plane, `kept` whether the folder outlives the demo.

        Raises Unavailable where a demo runs already.
        """
        with suppress(DemoNotRunning):
            other = read_state(data_dir / STATE_FILE)
            raise Unavailable(f"a demo runs in {data_dir} already (process {other.pid}, {other.url})")
        self._control_plane, self._kept = control_plane, kept
        self._host, self._port = address(listen)
        shown = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host  # noqa: S104 - compared, not bound
        self._url = f"http://[{shown}]:{self._port}" if ":" in shown else f"http://{shown}:{self._port}"
        self._dir, self._logs = data_dir, data_dir / "logs"
        self._environment = environment
        self._contexts_file = contexts_path(environment)
        self._context: tuple[str, str] | None = None
        self._children: dict[str, Child] = {}
        self._triton: TritonServer | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._signals = 0
        self._code = 0
        self._secret = secrets.token_hex(24)
        self._ports = Ports(*free_ports(7))
        self._gateway = GatewayPart(self._url, self._dir / "gateway-token")
        self._terminal = sys.stdout.isatty()

    async def run(self, duration_s: float | None) -> int:
        """Start everything, wait for a reason to stop, stop everything; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        try:
            if await self._unless_stopped(self._start()):
                await self._wait(duration_s)
        finally:
            await self._stop()
        return _INTERRUPTED if self._signals > 1 else self._code

    def _on_signal(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            for child in self._every_child():
                child.kill()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` to its end, or cancel it when the demo is to stop; whether it ended by itself."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return False
        await task
        return True

    async def _start(self) -> None:
        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir()
        say(f"starting the demo in {self._dir}")
        triton = await self._start_engines()
        fleet = self._dir / "fleet.yaml"
        channel = self._environment.get("SLACK_CHANNEL", "")
        fleet.write_text(fleet_yaml(self._ports, self._gateway, triton, slack_channel=channel), "utf-8")
        token = self._token()
        argv = [*self._control_plane, "-c", fleet, "--listen", f"{self._bracketed()}:{self._port}"]
        control_plane = await self._start_child(
            _CONTROL_PLANE, [*argv, "--data-dir", self._dir / "data"], CP_BOOTSTRAP_TOKEN=token
        )
        await self._until_answers(control_plane, self._url + "/readyz")
        key = await access(self._url, token, self._gateway.token_file, self._dir / "api-key")
        gateway = await self._start_child(
            _GATEWAY, ["-m", "controlplane", "gateway", "-c", fleet, "--data-dir", self._dir / "gateway"]
        )
        await self._until_answers(gateway, f"http://127.0.0.1:{self._ports.gateway_admin}/readyz")
        load = await self._start_load(triton, key)
        await self._until_answers(load, f"http://127.0.0.1:{self._ports.load_stats}/stats")
        for child in self._every_child():
            self._watchers.append(asyncio.create_task(self._mourn(child)))
        config_home = self._write_down(token, triton)
        name, current = self._context or ("", "")
        shell = Shell(config_home, name if current != name else "", current)
        say(banner(self._url, token, self._logs, triton is not None, shell, kept=self._kept))

    async def _start_engines(self) -> TritonPart | None:
        """Start the simulators and Triton at the same time; where one cannot start the demo, end the other."""
        starting = asyncio.create_task(self._start_triton())
        try:
            await self._start_simulators()
            return await starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def _start_simulators(self) -> None:
        faults = self._dir / FAULT_FILE
        faults.unlink(missing_ok=True)
        ports = self._ports
        argv = ["-m", "controlplane.demo.simulate", "--vllm-v1", ports.vllm_v1, "--vllm-v2", ports.vllm_v2]
        argv += ["--dcgm", ports.dcgm, "--admin", ports.admin, "--triton-faults", faults]
        child = await self._start_child(_SIMULATORS, argv, **{SECRET_ENV: self._secret})
        await self._until_answers(child, f"http://127.0.0.1:{ports.vllm_v2}/health")

    async def _start_triton(self) -> TritonPart | None:
        repository = self._dir / "models"
        write_repository(repository, keep_config=True)  # a kept data folder keeps what was promoted
        server = TritonServer(repository, self._dir / "triton", [MODEL])
        try:
            await server.start()
        except TritonUnavailable as error:
            say(f"The demo runs without Triton and its model {MODEL!r}: {error}")
            return None
        self._triton = server
        return TritonPart(server.http_url, server.grpc_address, server.metrics_url, repository)

    async def _start_load(self, triton: TritonPart | None, key: str) -> Child:
        ports = self._ports
        argv = ["-m", "controlplane.demo.load", "--chat", f"http://127.0.0.1:{ports.gateway}"]
        argv += ["--stats-port", str(ports.load_stats)]
        return await self._start_child(
            _LOAD, argv + (["--triton", triton.http_url] if triton else []), **{KEY_ENV: key}
        )

    async def _start_child(self, name: str, argv: list[Any], **variables: str) -> Child:
        log = self._logs / f"{name.replace(' ', '-')}.log"
        env = {**self._environment, "PYTHONUNBUFFERED": "1", **variables}
        child = await Child.start(name, [sys.executable, *argv], log, env=env)
        self._children[name] = child
        return child

    async def _mourn(self, child: Child) -> None:
        """Say it when a child ends by itself; without the control plane there is no demo."""
        await child.wait()
        if self._stopping.is_set():
            return
        say(str(child.death()))
        if child.name == _CONTROL_PLANE:
            self._code = 1
            self._stopping.set()
        else:
            say(f"the demo goes on without its {child.name}")

    async def _until_answers(self, child: Child, url: str) -> None:
        """Wait for a 200. Raises ChildDied, or Unavailable after READY_TIMEOUT_S."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S), aiohttp.ClientSession() as session:
                while not await _answers(session, url):
                    if child.returncode is not None:
                        raise child.death()
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise Unavailable(
                f"{child.name} did not answer at {url} within {READY_TIMEOUT_S:g}s; log {child.log_path}"
            ) from error

    def _write_down(self, token: str, triton: TritonPart | None) -> Path | None:
        """Write demo.json and the CLI's context; return XDG_CONFIG_HOME for it where the home cannot take it."""
        state = DemoState(
            url=self._url,
            admin_url=f"http://127.0.0.1:{self._ports.admin}",
            admin_secret=self._secret,
            load_url=f"http://127.0.0.1:{self._ports.load_stats}",
            pid=os.getpid(),
            children={child.name: child.pid for child in self._every_child()},
            triton_url=triton.http_url if triton else None,
        )
        write_state(self._dir / STATE_FILE, state)
        config_home = None
        try:
            self._context = write_context(self._contexts_file, self._url, token, self._dir / STATE_FILE)
        except (OSError, ControlPlaneError) as error:
            config_home = self._dir / "config"
            say(f"the CLI's context goes to {config_home}: {error}")
            self._contexts_file = contexts_path({"XDG_CONFIG_HOME": str(config_home)})
            self._context = write_context(self._contexts_file, self._url, token, self._dir / STATE_FILE)
        return config_home

    def _token(self) -> str:
        """The admin token: kept with a kept data folder, whose database knows only the first one."""
        path = self._dir / "token"
        if not path.exists():
            write_private(path, new_token_text())
        return path.read_text("utf-8").strip()

    async def _wait(self, duration_s: float | None) -> None:
        reporter = asyncio.create_task(self._report()) if self._terminal else None
        try:
            await asyncio.wait_for(self._stopping.wait(), duration_s)
        except TimeoutError:
            self._stopping.set()
        finally:
            if reporter is not None:
                reporter.cancel()

    async def _report(self) -> None:
        """One line of the load's counts, rewritten in place."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                await asyncio.sleep(_STATUS_S)
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://127.0.0.1:{self._ports.load_stats}/stats") as response:
                        width = shutil.get_terminal_size().columns
                        sys.stdout.write("\r\033[K" + status_line(await response.json(), width))
                        sys.stdout.flush()

    async def _stop(self) -> None:
        """Load first, so that no request meets a server that is going; then gateway, control plane, what it watches."""
        self._stopping.set()
        if self._terminal:
            sys.stdout.write("\r\033[K")
        say("stopping (Ctrl-C again ends everything at once)")
        await self._stop_child(_LOAD, 5.0)
        for line in self._load_totals():
            say(line)
        await self._stop_child(_GATEWAY, 6.0)
        await self._stop_child(_CONTROL_PLANE, 6.0)
        await asyncio.gather(self._stop_child(_SIMULATORS, 3.0), self._stop_triton())
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        (self._dir / STATE_FILE).unlink(missing_ok=True)
        if self._context is not None:
            try:
                remove_context(self._contexts_file, self._context[0])
            except (OSError, ControlPlaneError) as error:
                say(f"the CLI's context {self._context[0]!r} stays in {self._contexts_file}: {error}")

    async def _stop_child(self, name: str, grace_s: float) -> None:
        if (child := self._children.get(name)) is not None:
            await child.stop(grace_s)

    async def _stop_triton(self) -> None:
        if self._triton is not None:
            await self._triton.stop(grace_s=3.0)

    def _load_totals(self) -> list[str]:
        child = self._children.get(_LOAD)
        if child is None or not child.log_path.exists():
            return []
        return [line for line in child.log_path.read_text("utf-8", "replace").splitlines() if line.startswith("load: ")]

    def _every_child(self) -> list[Child]:
        triton = self._triton.child if self._triton is not None else None
        return [*self._children.values(), *([triton] if triton is not None else [])]

    def _bracketed(self) -> str:
        return f"[{self._host}]" if ":" in self._host else self._host


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def say(text: str) -> None:
    """Print a line. A reader that left (`| head`) does not end the fleet."""
    with suppress(BrokenPipeError):
        sys.stdout.write("\n".join(plain_lines(text)) + "\n")
        sys.stdout.flush()
