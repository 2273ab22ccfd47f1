"""`controlplane gateway`: runs a supervisor until it ends."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import uvloop

from controlplane.config.gateway import ControlPlaneSection
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError
from controlplane.gateway.process.supervisor import Options, Supervisor


def serve(loaded: LoadedFleet, data_dir: Path, listen: str, admin: str, follow: ControlPlaneSection | None) -> None:
    """Run until SIGTERM, Ctrl-C, or until a successor has taken over. The caller has set up the log.

    Raises ConfigError for a folder that cannot be made, and GatewayError when the gateway cannot start.
    """
    os.umask(0o077)
    _allow_many_files()
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot be created: {error.strerror}", file=data_dir, field="--data-dir") from error
    options = Options(data_dir.resolve(), listen, admin, follow)

    async def main() -> None:
        await Supervisor(loaded, options).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _allow_many_files() -> None:
    """Raise the limit of open files as far as it goes: each request of a worker has two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
