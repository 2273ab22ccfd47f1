"""A real Prometheus and our engine over the same samples, and how their answers are compared.

The reference is Prometheus 3 where `deploy/newer-prometheus.sh` unpacked one. Otherwise it is Debian stable's 2.42,
whose ranges are closed on the left where Prometheus 3 (and we) leave them open; so by default no sample and no subquery
step lies on the edge of a range: samples are at 7 s past the quarter minute, queries at half minutes. It extrapolates
differently where a counter begins near zero inside a window, so all counters but one begin far from it. What else it
does differently is asked of Prometheus 3 only (`NEWER`), and tested by hand beside the engine.
"""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.annotations.collected import MAX_TOLD, Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.series.series_store import SeriesStore
from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_address

START = 1_700_000_007 // 60 * 60 + 7
INTERVAL = 15
ROWS = 240
AT = START - 7 + 50 * 60 + 30


def release() -> tuple[int, ...]:
    """Return the version of the Prometheus that is found first, (0,) where there is none."""
    try:
        told = subprocess.run(
            ["prometheus", "--version"], capture_output=True, text=True, check=True, timeout=PROCESS_S
        )
    except FileNotFoundError:
        return (0,)
    version = re.search(r"version (\d+)\.(\d+)", told.stdout + told.stderr)
    assert version, told
    return tuple(map(int, version.groups()))


NEWER = release() >= (3,)
"""Whether the reference is Prometheus 3."""

FEATURES = (
    "promql-experimental-functions,promql-duration-expr" if NEWER else "promql-negative-offset,promql-at-modifier"
)
"""What is stable in 3.14 and we have, and 3.5 has behind flags."""

Samples = dict[Series, list[float | None]]


def _series(name: str, **labels: str) -> Series:
    return Series(name, labels_of(labels))


def _counter(rng: random.Random, step: float, reset: float = 0.0) -> list[float | None]:
    total, values = 1000.0, list[float | None]()
    for _ in range(ROWS):
        total = 0.0 if rng.random() < reset else total + round(rng.random() * step, 3)
        values.append(total)
    return values


def fleet() -> Samples:
    """Return an hour of counters that reset, gauges with holes, special values, and histograms."""
    rng = random.Random(7)
    data: Samples = {}
    for job in ("api", "web"):
        for instance in ("a:1", "b:2", "c:3"):
            for status in ("200", "404", "500"):
                reset = 0.02 if instance == "b:2" else 0.0
                series = _series("requests_total", job=job, instance=instance, status=status)
                data[series] = _counter(rng, 40 if status == "200" else 3, reset)
            gauge: list[float | None] = [round(50 + 40 * math.sin(n / 9) + rng.random(), 3) for n in range(ROWS)]
            holes = rng.sample(range(ROWS), 40) if instance == "c:3" else []
            for hole in holes:
                gauge[hole] = None
            data[_series("temperature", job=job, instance=instance, node="n" + instance[-1])] = gauge
    for instance in ("a:1", "b:2"):
        rows = [_counter(rng, 5) for _ in range(5)]
        total = [0.0] * ROWS
        for le, row in zip(("0.1", "0.5", "1.0", "2.5", "+Inf"), rows, strict=True):
            total = [t + (v or 0.0) for t, v in zip(total, row, strict=True)]
            data[_series("latency_seconds_bucket", instance=instance, le=le)] = list(total)
        data[_series("latency_seconds_count", instance=instance)] = list(total)
        data[_series("latency_seconds_sum", instance=instance)] = [0.7 * t for t in total]
    data[_series("special", kind="nan")] = [math.nan if n % 3 else 4.0 for n in range(ROWS)]
    data[_series("special", kind="inf")] = [math.inf if n % 5 == 0 else float(n) for n in range(ROWS)]
    data[_series("special", kind="negative")] = [-float(n % 7) - 0.5 for n in range(ROWS)]
    data[_series("special", kind="constant")] = [3.25] * ROWS
    data[_series("late", kind="starts")] = [None] * 150 + [100.0 + 7 * n for n in range(ROWS - 150)]
    data[_series("late", kind="stops")] = [float(n % 4) for n in range(90)] + [None] * (ROWS - 90)
    for le, count in (("0.1", 5.0), ("1.0", 3.0), ("+Inf", 9.0)):
        data[_series("uneven_bucket", le=le)] = [count * n for n in range(1, ROWS + 1)]
    for le in ("1.0", "abc", "+Inf"):
        data[_series("odd_bucket", le=le)] = [10.0 * n for n in range(1, ROWS + 1)]
    data[_series("odd_bucket")] = [10.0] * ROWS
    data[_series("fresh_total")] = [None] * 170 + [3.0 + 40 * n for n in range(ROWS - 170)]
    data[_series("info", instance="a:1", version="v1")] = [1.0] * ROWS
    data[_series("info", instance="b:2", version="v2")] = [1.0] * ROWS
    return data


def our_engine(data: Samples) -> PromqlEngine:
    store = SeriesStore(retention_s=1e9)
    for series, values in data.items():
        layout = Layout((series,))
        for n, value in enumerate(values):
            if value is not None:
                store.append(str(series), layout, (START + n * INTERVAL) * 1000, np.array([value]))
    return PromqlEngine(store)


def _openmetrics(data: Samples) -> str:
    lines: list[str] = []
    for name in sorted({s.name for s in data}):
        for series, values in data.items():
            if series.name == name:
                labels = ",".join(f'{k}="{v}"' for k, v in series.labels)
                for n, value in enumerate(values):
                    if value is not None:
                        shown = "+Inf" if value == math.inf else "NaN" if math.isnan(value) else repr(value)
                        lines.append(f"{name}{{{labels}}} {shown} {START + n * INTERVAL}")
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run a real Prometheus over the fleet's samples in an empty folder; yield its address."""
    (folder / "samples.txt").write_text(_openmetrics(fleet()))
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    places = [str(folder / "samples.txt"), str(folder / "data")]
    create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", *places]
    subprocess.run(create, check=True, capture_output=True, timeout=PROCESS_S)
    address = free_address()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address={address}",
                f"--enable-feature={FEATURES}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(f"http://{address}/-/ready", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=PROCESS_S)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PROCESS_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "prometheus ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=HANG_S):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("prometheus did not become ready")


@dataclass(frozen=True)
class Refusal:
    """An error of the reference: its type and message."""

    kind: str
    message: str


def ask(reference: str, path: str, **parameters: object) -> Any:
    """Return the `data` of an answer, or a Refusal."""
    answer = ask_whole(reference, path, **parameters)
    return answer if isinstance(answer, Refusal) else answer["data"]


def ask_whole(reference: str, path: str, **parameters: object) -> Any:
    """Return an answer with its `warnings` and `infos`, or a Refusal."""
    url = f"{reference}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=HANG_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        answer = json.load(error)
        return Refusal(answer["errorType"], answer["error"])


def _same(ours: str, theirs: str) -> bool:
    a, b = float(ours), float(theirs)
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _by_series(result: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {json.dumps(r["metric"], sort_keys=True): r.get("values") or [r["value"]] for r in result}


def compare(ours: Any, theirs: Any) -> None:
    assert ours["resultType"] == theirs["resultType"]
    if ours["resultType"] == "string":
        assert ours["result"] == theirs["result"]
        return
    if ours["resultType"] == "scalar":
        assert ours["result"][0] == theirs["result"][0]
        assert _same(ours["result"][1], theirs["result"][1])
        return
    mine, reference = _by_series(ours["result"]), _by_series(theirs["result"])
    assert sorted(mine) == sorted(reference)
    for series, values in reference.items():
        assert [t for t, _ in mine[series]] == [t for t, _ in values], series
        wrong = [(m, r) for m, r in zip(mine[series], values, strict=True) if not _same(m[1], r[1])]
        assert not wrong, (series, wrong[:3])


_NAMELESS = ' for metric name ""'
"""3.5 has this where there is no name; later releases say nothing then."""


def compare_annotations(ours: Annotations, theirs: Any, *, over_time: bool) -> None:
    """Compare what is told of a query; a map of Go's has no order, and what is left out of more than ten is random."""
    for key, level in (("warnings", "warning"), ("infos", "info")):
        mine, reference = list(ours.told(level)), theirs.get(key, [])  # type: ignore[arg-type]  # the two levels
        if len(mine) > MAX_TOLD:
            assert (len(mine), mine[-1]) == (len(reference), reference[-1])
        else:
            placed = {one.rpartition(" (")[0]: one for one in mine}
            # 3.5 takes every subquery for one at the beginning.
            reference = [placed.get(one.removesuffix(" (1:1)"), one) for one in reference]
            assert {_as_told(one, over_time) for one in mine} == {_as_told(one, over_time) for one in reference}


def _as_told(said: str, over_time: bool) -> str:
    """Return a sentence without what 3.5 tells of one step of a range query, and not of the next: the metric's name."""
    said = said.replace(_NAMELESS, "")
    if over_time and "monotonicity" in said:
        return re.sub(r' for metric name "\w+"', "", said)
    return said
