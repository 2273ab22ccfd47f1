"""The verbs of the gateway's process. They need no control plane. Each imports its modules only when it runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import say
from controlplane.cli.starting import imports

DATA_DIR = Path("data/gateway")
"""The default data folder: that of a gateway which `controlplane up` starts beside itself."""


def gateway(
    config: Path,
    listen: str | None,
    admin: str | None,
    control_plane: str | None,
    token_file: Path | None,
    data_dir: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Run the gateway for a fleet.yaml. Raises WrongUsage for an address or options that do not fit."""
    if token_file is not None and control_plane is None:
        raise WrongUsage("--token-file needs --control-plane")
    # The file is read before the slow imports, so that its errors appear at once.
    with imports():
        from controlplane.config.loader import load_fleet

        loaded = load_fleet(config)
        from controlplane.app.logs import LogFormat, LogLevel, set_up_log
        from controlplane.config.gateway import ControlPlaneSection
        from controlplane.config.vocabulary import Authorization
        from controlplane.gateway.process.serve import serve

    follow = None
    if control_plane is not None:
        access = Authorization(credentials_file=token_file.absolute()) if token_file else None
        try:
            follow = ControlPlaneSection(url=control_plane, authorization=access)
        except ValueError as error:
            raise WrongUsage(
                f"--control-plane: expected an address such as http://127.0.0.1:8080, got {control_plane!r}"
            ) from error
    set_up_log(LogFormat(log_format), LogLevel(log_level))
    serve(loaded, data_dir or DATA_DIR, listen or "", admin or "", follow)


def stop(data_dir: Path | None) -> None:
    """Let the gateway of a data folder finish and end. Raises VerdictNegative when none runs."""
    from controlplane.gateway.process.folder import holder

    folder = data_dir or DATA_DIR
    pid = holder(folder)
    if not pid:
        raise VerdictNegative(f"no gateway runs with the data folder {folder}")
    os.kill(pid, signal.SIGTERM)
    say(f"process {pid} finishes its open requests")
    while holder(folder) == pid:
        time.sleep(0.1)
    say("the gateway has ended")
