"""Our PromQL against a real Prometheus on the same samples.

The reference is 2.42, whose ranges are closed on the left where Prometheus 3 (and we) leave them open. So no sample
and no subquery step lies on the edge of a range: samples are at 7 s past the quarter minute, queries at half minutes.
It also extrapolates differently where a counter begins near zero inside a window: our counters begin far from it.
"""

from __future__ import annotations

import json
import math
import random
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.series_store import SeriesStore

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(300)]

START = 1_700_000_007 // 60 * 60 + 7
INTERVAL = 15
ROWS = 240
AT = START - 7 + 50 * 60 + 30

Samples = dict[Series, list[float | None]]


def _series(name: str, **labels: str) -> Series:
    return Series(name, labels_of(labels))


def _counter(rng: random.Random, step: float, reset: float = 0.0) -> list[float | None]:
    total, values = 1000.0, []
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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real Prometheus over the fleet's samples; yield its address."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.txt").write_text(_openmetrics(fleet()))
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "samples.txt", folder / "data"]
    subprocess.run(create, check=True, capture_output=True, timeout=60)
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address={address}",
                "--enable-feature=promql-negative-offset,promql-at-modifier",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(f"http://{address}/-/ready", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "prometheus ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("prometheus did not become ready")


@pytest.fixture(scope="module")
def engine() -> PromqlEngine:
    return our_engine(fleet())


def _ask(reference: str, path: str, **parameters: object) -> Any:
    url = f"{reference}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]
    except urllib.error.HTTPError as error:
        return json.load(error)["errorType"]


def _same(ours: str, theirs: str) -> bool:
    a, b = float(ours), float(theirs)
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _by_series(result: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {json.dumps(r["metric"], sort_keys=True): r.get("values") or [r["value"]] for r in result}


def _compare(ours: Any, theirs: Any) -> None:
    assert ours["resultType"] == theirs["resultType"]
    if ours["resultType"] in ("scalar", "string"):
        assert ours["result"][0] == theirs["result"][0]
        assert _same(ours["result"][1], theirs["result"][1])
        return
    mine, reference = _by_series(ours["result"]), _by_series(theirs["result"])
    assert sorted(mine) == sorted(reference)
    for series, values in reference.items():
        assert [t for t, _ in mine[series]] == [t for t, _ in values], series
        wrong = [(m, r) for m, r in zip(mine[series], values, strict=True) if not _same(m[1], r[1])]
        assert not wrong, (series, wrong[:3])


QUERIES = """
1 + 2 * 3 ^ 2 - 4 % 3
-temperature
time() - 1.7e9
vector(1) + 1
scalar(info{instance="a:1"})
scalar(info)
requests_total
requests_total{status=~"4..|5.."}
requests_total{status!~"4.*", job="api"}
{__name__=~"requests_.+", instance="a:1"}
requests_total{nope=""}
requests_total offset 7m
requests_total offset -3m
requests_total @ 1700001000
sum(requests_total @ end() - requests_total @ start())
late
rate(requests_total[5m])
rate(requests_total[1m])
rate(requests_total[20s])
rate(late[10m])
increase(requests_total[7m])
increase(late[30m])
irate(requests_total[2m])
delta(temperature[6m])
idelta(temperature[6m])
deriv(temperature[10m])
deriv(special[10m])
predict_linear(temperature[10m], 600)
changes(temperature[10m])
changes(special[10m])
resets(requests_total[30m])
avg_over_time(temperature[5m])
sum_over_time(temperature[5m])
min_over_time(special[5m])
max_over_time(special[5m])
count_over_time(temperature[5m])
last_over_time(late[30m])
present_over_time(late[10m])
stddev_over_time(temperature[10m])
stdvar_over_time(temperature[10m])
quantile_over_time(0.3, temperature[10m])
quantile_over_time(1.5, temperature[10m])
quantile_over_time(0.5, special[4m])
absent_over_time(late{kind="stops"}[10m])
absent_over_time(nope{a="b", c!="d"}[10m])
absent(nope{a="b"})
absent(sum(nope))
absent(requests_total)
sum(requests_total)
sum by (job) (rate(requests_total[5m]))
avg by (status, job) (requests_total)
min without (instance, node) (temperature)
max by (instance) (special or temperature)
count by (job) (requests_total)
group by (status) (requests_total)
stddev by (job) (temperature)
stdvar(temperature)
sum(special)
avg(special)
min(special)
max(special)
quantile(0.9, requests_total)
quantile by (job) (0.25, temperature)
quantile(-1, temperature)
topk(3, requests_total)
topk by (job) (1, temperature)
bottomk(2, temperature)
topk(2, special)
bottomk(2, special)
topk(0, temperature)
count_values("value", info)
count_values by (job) ("status", round(temperature, 50))
temperature + temperature
temperature - on (instance, job) temperature
requests_total / ignoring (status) group_left sum without (status) (requests_total)
temperature * on (instance) group_left (version) info
info * on (instance) group_right (version) temperature
temperature > 50
temperature > bool 50
50 < temperature
temperature != 50 < bool 60
1 > bool 2
temperature > on (instance, job) (temperature offset 5m)
temperature == temperature
temperature and temperature > 60
temperature and on (instance) info
temperature unless on (instance) info
temperature or info
late or special
temperature % 7
-temperature % 7
2 ^ (temperature / 10)
abs(temperature) atan2 10
temperature / 0
histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))
histogram_quantile(0.5, sum by (le) (rate(latency_seconds_bucket[5m])))
histogram_quantile(1.2, latency_seconds_bucket)
histogram_quantile(0.99, latency_seconds_bucket{le!="0.5"})
histogram_quantile(0.99, latency_seconds_bucket{le!="+Inf"})
rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])
abs(special)
ceil(temperature)
floor(-temperature)
round(temperature)
round(temperature, 0.1)
exp(special)
ln(special)
log2(temperature)
log10(special)
sqrt(special)
sgn(special)
clamp(temperature, 30, 60)
clamp(temperature, 60, 30)
clamp_min(special, 3)
clamp_max(special, 3)
timestamp(temperature)
timestamp(temperature offset 2m)
timestamp(temperature + 1)
label_replace(temperature, "host", "$1-x", "instance", "(.*):(.*)")
label_replace(temperature, "instance", "", "instance", ".*")
label_replace(temperature, "host", "${2}_$1", "instance", "(?P<name>.):(.)")
label_join(temperature, "both", "-", "job", "instance", "nope")
sort(temperature)
sort_desc(temperature)
minute()
hour(vector(1700000000))
day_of_week(vector(1709164800))
day_of_month(vector(1709164800))
days_in_month(vector(1709164800))
month()
year(temperature * 1e8)
day_of_year(vector(1709164800))
max_over_time(rate(requests_total[2m])[10m:1m])
avg_over_time(temperature[10m:40s])
sum_over_time((temperature > 60)[15m:1m])
rate(sum by (job) (requests_total)[10m:1m])
max_over_time(temperature[10m:1m] offset 4m)
max_over_time(temperature[10m:1m] @ 1700001030)
min_over_time(vector(time())[10m:1m])
deriv(rate(requests_total[2m])[10m:])
quantile_over_time(0.5, late[20m:1m])
(sum by (job) (rate(requests_total{status="7"}[5m])) or 0 * sum by (job) (rate(requests_total[5m]))) > bool 0.01
"""

EXPRESSIONS = [line for line in QUERIES.strip().splitlines() if line]

ORDERED = ("sort", "sort_desc", "topk", "bottomk")


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_answers_as_prometheus_does(engine: PromqlEngine, reference: str, expr: str) -> None:
    for at in (AT, AT - 25 * 60, AT + 13 * 60):
        ours = engine.instant(expr, at).to_prometheus_json()
        theirs = _ask(reference, "query", query=expr, time=at)
        _compare(ours, theirs)
        if expr.startswith(ORDERED) and " by " not in expr:
            assert [r["metric"] for r in ours["result"]] == [r["metric"] for r in theirs["result"]]
    start, end = AT - 45 * 60, AT + 15 * 60
    theirs = _ask(reference, "query_range", query=expr, start=start, end=end, step=60)
    _compare(engine.range(expr, start, end, 60).to_prometheus_json(), theirs)


ERRORS = [
    ("requests_total + on (job) temperature", "execution"),
    ("temperature + on (instance) group_left (version) (info or info offset 1m) + on (job) temperature", "execution"),
    ("rate({__name__=~'requests_total|temperature'}[5m]) + {", "bad_data"),
    ("abs({__name__=~'latency_seconds_(count|sum)'})", "execution"),
    ("rate({__name__=~'latency_seconds_(count|sum)'}[5m])", "execution"),
    (
        "label_replace(temperature, 'instance', 'x', 'job', '.*') + label_replace(temperature, '', 'x', 'job', '.*')",
        "execution",
    ),
    ("topk(NaN, temperature)", "execution"),
    ("requests_total and 1", "bad_data"),
    ("sum(", "bad_data"),
    ("nofunction(x)", "bad_data"),
    ("{a=~'.*'}", "bad_data"),
    ("rate(requests_total)", "bad_data"),
    ("x{a=~'['}", "bad_data"),
]


@pytest.mark.parametrize(("expr", "kind"), ERRORS)
def test_refuses_what_prometheus_refuses(engine: PromqlEngine, reference: str, expr: str, kind: str) -> None:
    assert _ask(reference, "query", query=expr, time=AT) == kind
    with pytest.raises(QueryError) as caught:
        engine.instant(expr, AT)
    assert caught.value.kind == kind
