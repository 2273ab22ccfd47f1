"""A real tritonserver on this machine's CPU, taken from the nvidia-pytriton wheel (which is never imported)."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from controlplane.demo.process import Child, ChildDied, free_ports, log_tail, process_exists
from controlplane.errors import Unavailable

_POLL_S = 0.05
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the python backend puts it
_SHM_PREFIX = "cpdemo"


class TritonUnavailable(Unavailable):
    """Triton cannot run here; the message says why and what would cure it."""


@dataclass(frozen=True)
class TritonInstallation:
    """Where the parts of the wheel and of the running Python lie."""

    server: Path
    """The tritonserver binary."""
    python_backend: Path
    """The folder of the python backend, without a stub."""
    stub: Path
    """triton_python_backend_stub of the running Python's version."""
    library_path: tuple[Path, ...]
    """Folders for LD_LIBRARY_PATH."""


def find_triton() -> TritonInstallation:
    """Locate tritonserver for the running Python. Raises TritonUnavailable with the reason."""
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise TritonUnavailable(f"the nvidia-pytriton wheel's tritonserver is for Linux x86_64 only; this is {machine}")
    spec = importlib.util.find_spec("pytriton")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if spec is None or spec.origin is None:
        if sys.version_info >= (3, 13):
            raise TritonUnavailable(
                f"nvidia-pytriton, which brings it, is not there for Python {version}; "
                "`make clean demo PYTHON=python3.12` takes another Python"
            )
        raise TritonUnavailable("the nvidia-pytriton package is not installed; install the extra `demo`")
    package = Path(spec.origin).parent
    root = package / "tritonserver"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonUnavailable(f"the nvidia-pytriton wheel has no python backend for Python {version} ({stub})")
    server = root / "bin" / "tritonserver"
    if not server.is_file():
        raise TritonUnavailable(f"the nvidia-pytriton wheel in {package} holds no tritonserver binary")
    libraries = (package.parent / "nvidia_pytriton.libs", libpython_folder(version))
    return TritonInstallation(server, root / "backends" / "python", stub, libraries)


def libpython_folder(version: str) -> Path:
    """The folder of the running Python's shared library. Raises TritonUnavailable where it is a static build."""
    names = (f"libpython{version}.so.1.0", f"libpython{version}.so")
    libdir, multiarch = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("MULTIARCH")
    folders = [Path(p) for p in (libdir, f"{sys.base_prefix}/lib") if p]
    if multiarch:
        folders += [Path("/usr/lib") / multiarch, Path("/lib") / multiarch]
    for folder in folders:
        if any((folder / name).exists() for name in names):
            return folder
    raise TritonUnavailable(
        f"Triton's python backend needs {names[0]}, which this Python ({sys.executable}) was built without; "
        f"on Debian and Ubuntu `apt install libpython{version}` brings it, "
        "with pyenv rebuild with `PYTHON_CONFIGURE_OPTS=--enable-shared`"
    )


class TritonServer:
    """Runs tritonserver as a child process on free loopback ports: `async with TritonServer(...) as triton`.

    It starts in explicit model control mode with `models` loaded, and listens on 127.0.0.1 only.
    """

    def __init__(
        self,
        repository: Path,
        work_dir: Path,
        models: Sequence[str] = ("model",),
        *,
        installation: TritonInstallation | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self._repository, self._models, self._timeout_s = repository, tuple(models), start_timeout_s
        self._installation = installation
        self._work_dir = work_dir
        self.http_port, self.metrics_port, grpc_port = free_ports(3)
        self.http_url = f"http://127.0.0.1:{self.http_port}"
        self.grpc_address = f"127.0.0.1:{grpc_port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        self.log_path = work_dir / "triton.log"
        self.child: Child | None = None
        self._shm_prefix = f"{_SHM_PREFIX}_{os.getpid()}_{self.http_port}_"

    async def start(self) -> None:
        """Start, and return once every model is ready. Raises TritonUnavailable; nothing is left running then."""
        installation = self._installation or find_triton()
        self._work_dir.mkdir(parents=True, exist_ok=True)
        self._remove_shared_memory()
        backends = self._prepare_backends(installation)
        try:
            self.child = await Child.start(
                "triton", self._argv(installation, backends), self.log_path, env=self._environment(installation)
            )
            async with asyncio.timeout(self._timeout_s):
                await self._until_ready(self.child)
        except ChildDied as error:
            await self.stop()
            raise TritonUnavailable(f"tritonserver did not start: {error}") from error
        except TimeoutError as error:
            await self.stop()
            raise TritonUnavailable(
                f"tritonserver was not ready within {self._timeout_s:g}s; log {self.log_path}, "
                f"last lines:\n{log_tail(self.log_path)}"
            ) from error
        except BaseException:
            await self.stop()  # cancelled while starting: leave no process behind
            raise

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the server (SIGTERM, then SIGKILL) and its helpers, and remove their shared memory. Idempotent."""
        if self.child is not None:
            await self.child.stop(grace_s)
        self._remove_shared_memory()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _remove_shared_memory(self) -> None:
        """Remove the shared memory of killed stubs: those of this server, and of servers whose parent is gone."""
        for left in _SHARED_MEMORY.glob(f"{_SHM_PREFIX}_*"):
            owner = left.name.split("_")[1]
            if left.name.startswith(self._shm_prefix) or (owner.isdecimal() and not process_exists(int(owner))):
                left.unlink(missing_ok=True)

    def _prepare_backends(self, installation: TritonInstallation) -> Path:
        """Copy the python backend beside a stub of the running Python: the wheel ships them apart."""
        folder = self._work_dir / "backends"
        target = folder / "python"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(installation.python_backend, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(installation.stub, target / installation.stub.name)
        (target / installation.stub.name).chmod(0o755)
        return folder

    def _argv(self, installation: TritonInstallation, backends: Path) -> list[str | Path]:
        return [
            installation.server,
            f"--model-repository={self._repository}",
            f"--backend-directory={backends}",
            "--model-control-mode=explicit",
            *[f"--load-model={name}" for name in self._models],
            "--exit-on-error=false",
            "--exit-timeout-secs=4",
            "--http-address=127.0.0.1",
            f"--http-port={self.http_port}",
            "--http-thread-count=4",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc_address.rpartition(':')[2]}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            "--metrics-interval-ms=1000",
            "--metrics-config=summary_latencies=true",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            "--log-verbose=0",
        ]

    @staticmethod
    def _environment(installation: TritonInstallation) -> dict[str, str]:
        """Our environment without secrets, and what the stub needs to find this Python and its packages (numpy).

        The stub ignores PYTHONPATH and PYTHONHOME: it takes the packages of the first `python3` on PATH.
        """
        env = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")}
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        env["LD_LIBRARY_PATH"] = ":".join(map(str, installation.library_path))
        env["OPENBLAS_NUM_THREADS"] = "1"
        return env

    async def _until_ready(self, child: Child) -> None:
        paths = ["v2/health/live", *[f"v2/models/{name}/ready" for name in self._models]]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            for path in paths:
                while not await self._answers(session, path):
                    if child.returncode is not None:
                        raise child.death()
                    if reason := await self._load_failure(session):
                        raise TritonUnavailable(f"{reason}; log {self.log_path}")
                    await asyncio.sleep(_POLL_S)

    async def _load_failure(self, session: aiohttp.ClientSession) -> str:
        """Return Triton's reason for a model that it could not load, or "". Triton does not try again."""
        try:
            async with session.post(f"{self.http_url}/v2/repository/index", json={}) as response:
                entries = await response.json() if response.status == 200 else []
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return ""
        for entry in entries:
            reason = str(entry.get("reason", ""))
            if entry["name"] in self._models and entry.get("state") == "UNAVAILABLE" and reason not in ("", "unloaded"):
                return f"tritonserver could not load {entry['name']!r}: {reason.partition(chr(10))[0]}"
        return ""

    async def _answers(self, session: aiohttp.ClientSession, path: str) -> bool:
        try:
            async with session.get(f"{self.http_url}/{path}") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
