"""Real metrics servers from Debian on loopback, each with its own folder and port."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_port


@contextmanager
def prometheus(folder: Path, *arguments: str, configuration: str = "global: {}\n") -> Iterator[str]:
    """Run a Prometheus that accepts remote writes, and yield its address."""
    (folder / "prometheus.yml").write_text(configuration)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        *arguments,
    ]
    with _running(command, folder / "prometheus.log", f"http://127.0.0.1:{port}/-/ready"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[str]:
    """Run a VictoriaMetrics, and yield its address. Queries see written samples after /internal/force_flush."""
    port = free_port()
    command = [
        "victoria-metrics",
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-maxLabelsPerTimeseries=100",  # by default 30: it drops the rest, and vLLM's cache_config_info has more
        "-loggerLevel=WARN",
    ]
    with _running(command, folder / "victoria-metrics.log", f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PROCESS_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(PROCESS_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=HANG_S) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
