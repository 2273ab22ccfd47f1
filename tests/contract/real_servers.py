"""Real servers that contract tests run against: started in a folder of their own, on loopback, ended with the test."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.fakes import tiny_gguf
from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_address

ROOT = Path(__file__).parents[2]
_LLAMA = (str(Path(sys.executable).with_name("llama-server-vulkan")),)
_LLAMA_FLAGS = ("-t", "1", "-ngl", "0", "--metrics", "--ignore-eos")
TOKEN = "cp_00000000c0de_" + "a" * 43
"""The admin token of a control plane that `control_plane` starts."""


@contextlib.contextmanager
def prometheus(folder: Path, config: str = "global: {}\n", *flags: str) -> Iterator[str]:
    """Run Debian's Prometheus and yield its URL. `SELF` in the configuration stands for its own address."""
    address = free_address()
    (folder / "prometheus.yml").write_text(config.replace("SELF", address))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", *flags]
    with running([*command, f"--web.listen-address={address}"], folder, f"http://{address}/-/ready"):
        yield f"http://{address}"


@contextlib.contextmanager
def alertmanager(folder: Path, config: str) -> Iterator[str]:
    """Run Debian's Alertmanager, alone and without stored state, and yield its URL."""
    address = free_address()
    (folder / "alertmanager.yml").write_text(config)
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", "--cluster.listen-address="]
    command += [f"--storage.path={folder}/alertmanager", f"--web.listen-address={address}"]
    with running(command, folder, f"http://{address}/-/ready"):
        yield f"http://{address}"


@contextlib.contextmanager
def victoria_metrics(folder: Path) -> Iterator[str]:
    """Run Debian's VictoriaMetrics and yield its URL."""
    address = free_address()
    command = ["victoria-metrics", f"-storageDataPath={folder}/vm", f"-httpListenAddr={address}", "-retentionPeriod=1d"]
    with running(command, folder, f"http://{address}/health"):
        yield f"http://{address}"


@contextlib.contextmanager
def seaweedfs(folder: Path, bucket: str = "models") -> Iterator[Mapping[str, str]]:
    """Run SeaweedFS with an empty bucket, and yield the variables by which clients of S3 find it."""
    s3, master, volume, filer = (free_address() for _ in range(4))
    (folder / "weed").mkdir()
    ports = {"s3": s3, "master": master, "volume": volume, "filer": filer}
    flags = [f"-{name}.port={address.split(':')[1]}" for name, address in ports.items()]
    # Its ports for gRPC are 10,000 above the others unless they are named.
    flags += [f"-{name}.port.grpc={free_address().split(':')[1]}" for name in ports]
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}/weed",
        "-ip=127.0.0.1",
        "-s3",
        *flags,
    ]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=32", "-ip.bind=127.0.0.1"]
    with running(command, folder, f"http://{s3}/status"):
        httpx.put(f"http://{s3}/{bucket}", timeout=HANG_S).raise_for_status()
        yield {
            "AWS_ENDPOINT_URL": f"http://{s3}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_SKIP_SIGNATURE": "true",
            "AWS_REGION": "us-east-1",
        }


def llama_command() -> tuple[str, ...]:
    """Return the words that start llama-server on a free address, without a model."""
    host, port = free_address().split(":")
    return (*_LLAMA, "--host", host, "--port", port)


class LlamaServer(NamedTuple):
    """A running llama-server."""

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def llama_server(folder: Path, *flags: str) -> Iterator[LlamaServer]:
    """Run a real llama-server on a tiny model named `tiny`, which says as many tokens as it may.

    Its two slots have 16,384 tokens each: some seconds of work.
    """
    tiny_gguf.write(folder / "tiny.gguf")
    address = free_address()
    host, port = address.split(":")
    command = [*_LLAMA, "-m", f"{folder}/tiny.gguf", "--alias", "tiny", "--host", host, "--port", port]
    command += ["-c", "32768", "-np", "2", *_LLAMA_FLAGS, *flags]
    with running(command, folder, f"http://{address}/health") as process:
        yield LlamaServer(f"http://{address}", process)


@contextlib.contextmanager
def llama_router(folder: Path, models: Sequence[str], at_most: int) -> Iterator[str]:
    """Run a real llama-server for several tiny models and one named `broken`, and yield its URL.

    It loads a model when one asks for it, and has `at_most` in memory.
    """
    (folder / "models").mkdir()
    for name in models:
        tiny_gguf.write(folder / "models" / f"{name}.gguf")
    (folder / "models" / "broken.gguf").write_bytes(b"GGUF and nothing more")
    address = free_address()
    host, port = address.split(":")
    command = [*_LLAMA, "--models-dir", f"{folder}/models", "--models-max", str(at_most), "--host", host]
    with running([*command, "--port", port, "-c", "1024", *_LLAMA_FLAGS], folder, f"http://{address}/health"):
        yield f"http://{address}"


class ControlPlane(NamedTuple):
    """A running `controlplane up` and what lets one in."""

    url: str
    headers: dict[str, str]


@contextlib.contextmanager
def control_plane(folder: Path, fleet: str) -> Iterator[ControlPlane]:
    """Run this project's server over a fleet.yaml and yield where it is."""
    (folder / "fleet.yaml").write_text(fleet)
    address = free_address()
    command = [sys.executable, "-m", "controlplane", "up", "-c", f"{folder}/fleet.yaml", "--listen", address]
    environment = {**os.environ, "CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    with running([*command, "--data-dir", f"{folder}/data"], folder, f"http://{address}/readyz", environment):
        yield ControlPlane(f"http://{address}", {"Authorization": f"Bearer {TOKEN}"})


@contextlib.contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    ready_url: str,
    environment: Mapping[str, str] | None = None,
    within_s: float = PROCESS_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when `ready_url` answers 200."""
    log = folder / f"{re.sub(r'[^a-z]', '', Path(command[0]).name)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + within_s
        while not _answers(ready_url):
            assert process.poll() is None and time.monotonic() < deadline, f"{command[0]}: {log.read_text()[-2000:]}"
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PROCESS_S)
        except subprocess.TimeoutExpired:  # such as one that still starts
            process.kill()
            process.wait(PROCESS_S)
            raise


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=HANG_S).status_code == 200
    except httpx.TransportError:
        return False
