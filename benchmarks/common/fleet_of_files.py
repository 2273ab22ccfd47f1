"""A fleet whose `/metrics` cost almost no CPU: the vLLM capture with changing values, as files behind nginx.

    python benchmarks/common/fleet_of_files.py [--targets 300] [--interval 5] [--port 9900] [--drop-created]

Every target has its own loopback address (127.77.x.y), its own model and changing values: counters increase, gauges
vary, buckets stay consistent. Before each interval a new generation of files is written to memory, and a symbolic link
is moved from the old generation to the new one. So no file changes while it is read. Two generations exist at a time.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from prometheus_client.utils import floatToGoString

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import FloatArray, Series
from collectors.target import Target

CAPTURE = Path(__file__).parents[2] / "tests" / "fixtures" / "vllm-0.32-llm.prom"
MODELS = 20
"""Models of the fleet; target n serves model n % MODELS."""
MAX_BYTES = 1 << 30
"""Most bytes of both generations together."""
MEMORY = Path("/dev/shm")
_STANDING = re.compile(r"_created|_info$|_start_time_seconds$|_max_fds$|engine_sleep_state|_per_gpu_total$|rejections")
"""Names of samples that do not change on a healthy engine."""
_LINE = re.compile(r"(?P<name>[^{ ]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")

_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 16384; }}
http {{
  access_log off; tcp_nopush on; keepalive_timeout 120s; keepalive_requests 1000000; gzip off;
  default_type "text/plain; version=0.0.4; charset=utf-8";
  client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
  server {{
    {listen}
    root {folder}/now;
    location = /metrics {{ try_files /$server_addr =404; }}
    location = /canonical {{ try_files /$server_addr.canonical =404; }}
  }}
}}
"""


def addresses(targets: int, port: int) -> list[str]:
    """Return the targets' host:port, each on a loopback address of its own."""
    return [f"127.77.{n // 250}.{1 + n % 250}:{port}" for n in range(targets)]


class Bodies:
    """The bodies of all targets, interval after interval."""

    def __init__(self, targets: int, interval_s: float, *, created: bool = True) -> None:
        """Keep the capture's `_created` samples if `created`. Prometheus stores them; the control plane drops them."""
        self._rng = np.random.default_rng(77)
        self._interval_s = interval_s
        lines = [line for line in CAPTURE.read_text().splitlines() if created or "_created" not in line]
        types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE"))
        template = "\n".join(_without_value(line) for line in lines) + "\n"
        self._templates = [template.replace("\0", f"model-{n:02d}") for n in range(MODELS)]
        samples = [match for line in lines if (match := _LINE.match(line)) and not line.startswith("#")]
        self.samples = len(samples)
        """Sample lines of one body."""
        self.values = np.tile([float(match["value"]) for match in samples], (targets, 1))
        kinds = [_kind(match["name"], types) for match in samples]
        self._counters = np.array([i for i, kind in enumerate(kinds) if kind == "counter"])
        self._gauges = np.array([i for i, kind in enumerate(kinds) if kind == "gauge"])
        self._fractions = np.array([i for i, match in enumerate(samples) if match["name"].endswith("_perc")])
        self._requests = self._rng.uniform(0.2, 20.0, (targets, 1)) * interval_s
        self._histograms = [
            (parts, self._shares(targets, len(parts["bucket"]))) for parts in _histograms(samples, types)
        ]

    def _shares(self, targets: int, buckets: int) -> FloatArray:
        """Return the share of observations in each bucket: float64 of shape (targets, buckets), a bell curve."""
        middle = self._rng.uniform(0.3, 0.7, (targets, 1)) * buckets
        weight = np.exp(-0.5 * ((np.arange(buckets) - middle) / (buckets / 8)) ** 2)
        shares: FloatArray = weight / weight.sum(axis=1, keepdims=True)
        return shares

    def advance(self) -> None:
        """Change all values as one interval does."""
        rng, values, requests = self._rng, self.values, self._requests
        values[:, self._counters] += rng.poisson(requests, (len(values), len(self._counters)))
        steps = rng.integers(-2, 3, (len(values), len(self._gauges)))
        values[:, self._gauges] = np.maximum(values[:, self._gauges] + steps, 0)
        values[:, self._fractions] = rng.uniform(0.2, 0.8, (len(values), len(self._fractions))).round(4)
        for parts, shares in self._histograms:
            new = rng.poisson(requests * shares).cumsum(axis=1)
            values[:, parts["bucket"]] += new
            values[:, parts["count"]] += new[:, -1:]
            values[:, parts["sum"]] += new[:, -1:] * rng.uniform(0.1, 2.0, (len(values), 1))

    def write(self, folder: Path, names: list[str]) -> int:
        """Write a file for each target; return the bytes written."""
        return sum((folder / name).write_bytes(self.text(n).encode()) for n, name in enumerate(names))

    def text(self, target: int) -> str:
        """Return the body of a target now."""
        return self._templates[target % MODELS] % tuple(map(floatToGoString, self.values[target].tolist()))


class Canonical:
    """The canonical series of every target as a separate exposition, for a Prometheus that must store them too."""

    def __init__(self, bodies: Bodies, instances: list[str]) -> None:
        """Take bodies without `_created` samples, because their columns must equal those of the layouts."""
        catalogue = load_catalogue()
        self._bodies = bodies
        self._texts, self._columns, self._factors = [], [], np.empty(0)
        for number, instance in enumerate(instances):
            parsed = parse(bodies.text(number).encode())
            target = Target("vllm", f"http://{instance}/metrics", "vllm", instance)
            views = canonical_layout(parsed.series, parsed.metadata, target, catalogue).views
            self._texts.append("".join(f"{_written(view.series)} %s\n" for view in views))
            self._columns = [view.columns for view in views]  # the same for every target, as their lines are
            self._factors = np.array([view.factor for view in views])
        self.samples = len(self._columns)

    def write(self, folder: Path, names: list[str]) -> int:
        """Write a file for each target; return the bytes written."""
        values = self._bodies.values
        rows = np.stack([values[:, columns].sum(axis=1) for columns in self._columns], axis=1) * self._factors
        written = 0
        for text, name, row in zip(self._texts, names, rows.tolist(), strict=True):
            written += (folder / f"{name}.canonical").write_bytes((text % tuple(row)).encode())
        return written


def _written(series: Series) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in series.labels)
    return f"{series.name}{{{labels}}}".replace("%", "%%")


def _without_value(line: str) -> str:
    text = line.replace("%", "%%").replace('model_name="chat"', 'model_name="\0"')
    return text if line.startswith("#") else f"{text.rpartition(' ')[0]} %s"


def _kind(name: str, types: dict[str, str]) -> str:
    return "standing" if _STANDING.search(name) else types.get(name, "histogram")


def _histograms(samples: list[re.Match[str]], types: dict[str, str]) -> Iterator[dict[str, list[int]]]:
    """Yield the columns of each histogram by part: bucket (ascending), count, sum."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for column, match in enumerate(samples):
        family, _, part = match["name"].rpartition("_")
        if types.get(family) == "histogram" and part in ("bucket", "count", "sum"):
            labels = ",".join(pair for pair in (match["labels"] or "").split(",") if not pair.startswith("le="))
            groups.setdefault((family, labels), {}).setdefault(part, []).append(column)
    yield from groups.values()


def serve(targets: int, interval_s: float, port: int, *, created: bool, canonical: bool) -> None:
    """Serve until terminated. Prints `ready` when the files are written. Raises SystemExit when it cannot serve."""
    bodies = Bodies(targets, interval_s, created=created)
    written: list[Bodies | Canonical]
    written = [bodies, Canonical(bodies, addresses(targets, port))] if canonical else [bodies]
    hosts = [address.rpartition(":")[0] for address in addresses(targets, port)]
    _refuse_taken(hosts[0], port)
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user where this runs as root
        spare, served = folder / "a", folder / "b"
        for made in (spare, served, folder / "tmp"):
            made.mkdir()
        if 2 * sum(each.write(spare, hosts) for each in written) > MAX_BYTES:
            raise SystemExit(f"{targets} targets need more than the {MAX_BYTES} bytes allowed")
        (folder / "now").symlink_to(spare)
        spare, served = served, spare
        listen = "\n    ".join(f"listen {host}:{port};" for host in hosts)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, listen=listen))
        nginx = subprocess.Popen(["nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"])
        try:
            print("ready", flush=True)
            due = time.monotonic()
            while nginx.poll() is None:
                bodies.advance()
                for each in written:
                    each.write(spare, hosts)
                due = max(due + interval_s, time.monotonic())
                time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
                (folder / "next").symlink_to(spare)
                (folder / "next").rename(folder / "now")
                spare, served = served, spare
        finally:
            nginx.terminate()
            nginx.wait()
    raise SystemExit("nginx ended: is the port taken?")


def _refuse_taken(host: str, port: int) -> None:
    """Exit when another fleet is already served there: the benchmark would measure its values."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SystemExit(f"{host}:{port}: {error.strerror}: does another benchmark run?") from error


@contextmanager
def fleet_of_files(
    targets: int, interval_s: float, port: int, *, created: bool = True, canonical: bool = False
) -> Iterator[list[str]]:
    """Run a fleet in its own process, and yield the targets' addresses. Raises SystemExit when it does not start.

    `canonical` also serves each target's canonical series at /canonical. It needs `created` to be false.
    """
    options = ["--targets", str(targets), "--interval", str(interval_s), "--port", str(port)]
    options += [*([] if created else ["--drop-created"]), *(["--canonical"] if canonical else [])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("the fleet did not start")
        yield addresses(targets, port)
    finally:
        process.terminate()
        process.communicate()


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    """Serve the fleet that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two values")
    parser.add_argument("--port", type=int, default=9900)
    parser.add_argument("--drop-created", action="store_true", help="leave out the _created samples")
    parser.add_argument("--canonical", action="store_true", help="serve canonical series too; needs --drop-created")
    given = parser.parse_args()
    if given.canonical and not given.drop_created:
        parser.error("--canonical needs --drop-created")
    signal.signal(signal.SIGTERM, _end)
    serve(given.targets, given.interval, given.port, created=not given.drop_created, canonical=given.canonical)


if __name__ == "__main__":
    main()
