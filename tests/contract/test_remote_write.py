"""Remote write received: our answers beside a real Prometheus's and a real VictoriaMetrics's, and a real sender."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cramjam import snappy

from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.contract.promql_reference import NEWER
from tests.contract.real_servers import TOKEN, ControlPlane, control_plane, prometheus, victoria_metrics
from tests.patience import HANG_S, wait_until

pytestmark = [pytest.mark.needs("prometheus", "victoriametrics"), pytest.mark.timeout(600)]

HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
FLEET = "fleet: {name: written}\nrules: []\n"
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


@cache
def now_ms() -> int:
    """Return the time of the first test of this file, in milliseconds. The whole suite was collected long before."""
    return int(time.time() * 1000)


def series(name: str, *samples: tuple[float, float], **labels: str) -> TimeSeries:
    """Return a series with samples at seconds from now."""
    pairs = sorted({"__name__": name, **labels}.items()) if name else sorted(labels.items())
    return TimeSeries(tuple(pairs), tuple((now_ms() + round(at * 1000), value) for at, value in samples))


def body(*written: TimeSeries) -> bytes:
    return encode(WriteRequest(written))


def packed(message: bytes) -> bytes:
    return bytes(snappy.compress_raw(message))


def field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2, len(content))) + content


def label(name: bytes, value: bytes) -> bytes:
    return field(1, field(1, name) + field(2, value))


class Case(NamedTuple):
    """A request, and the status of: us, Prometheus 2.42, VictoriaMetrics. In order: later ones build on earlier."""

    body: bytes
    ours: int
    real: int
    victoria: int
    words: str = ""
    """How both our answer and Prometheus's begin."""
    headers: dict[str, str] = HEADERS
    newer: int = 0
    """The status of Prometheus 3, where it is another than 2.42's."""

    @property
    def expected(self) -> tuple[int, int, int]:
        """The statuses."""
        return self.ours, (NEWER and self.newer) or self.real, self.victoria


def cases() -> dict[str, Case]:
    """Return the requests by name."""
    return {
        "a sample": Case(body(series("up", (-60, 1.0))), 204, 204, 204),
        "the same again": Case(body(series("up", (-60, 1.0))), 204, 204, 204),
        "another value": Case(body(series("up", (-60, 2.0))), 400, 400, 204, "duplicate sample for timestamp"),
        "an older one": Case(body(series("up", (-70, 1.0))), 400, 400, 204, "out of order sample"),
        "a staleness marker": Case(body(series("up", (-30, STALE))), 204, 204, 204),
        "one too old": Case(body(series("old", (-3 * 86400, 1.0))), 400, 400, 204, "out of bounds"),
        "one of 1970": Case(body(TimeSeries((("__name__", "old"),), ((1, 1.0),))), 400, 400, 204, "out of bounds"),
        "an old one beside a new one": Case(body(series("new", (0, 1.0)), series("up", (-70, 1.0))), 400, 400, 204),
        # Both drop the late one in silence; 2.42 takes the future, Prometheus 3 refuses what is ten minutes ahead.
        "a series in the wrong order": Case(body(series("turned", (-10, 1.0), (-20, 1.0))), 400, 204, 204),
        "an hour ahead": Case(body(series("ahead", (3600, 1.0))), 400, 204, 204, newer=400),
        "no samples": Case(body(series("up")), 204, 204, 204),
        "nothing": Case(packed(b""), 204, 204, 204),
        "an empty body": Case(b"", 400, 400, 400),
        "no snappy": Case(b"nonsense", 400, 400, 400),
        "a bomb of 64 MiB that lies": Case(b"\x80\x80\x80\x20", 413, 400, 400),
        "a cut message": Case(packed(b"\x0a\x05\x0a"), 400, 400, 400),
        "a number for a series": Case(packed(b"\x08\x01"), 400, 400, 400),
        "field 0": Case(packed(b"\x02\x00"), 400, 400, 400),
        "half a number": Case(packed(b"\x50\x80"), 400, 400, 400),
        "an endless number": Case(packed(b"\x50" + b"\xff" * 11), 400, 400, 400),
        "an unknown field": Case(packed(b"\x50\x01"), 204, 204, 204),
        "a series without a name": Case(body(series("", (0, 1.0), job="x")), 400, 204, 204),
        "a series without labels": Case(body(series("", (0, 1.0))), 400, 500, 204, newer=204),
        "a UTF-8 name": Case(body(series("http.requests", (0, 1.0))), 204, 204, 204),
        "a native histogram": Case(
            packed(field(1, label(b"__name__", b"h") + field(4, b"\x08\x01"))),
            400,
            500,
            204,
            "native histograms are disabled",
        ),
        # 2.42 looks at no header; Prometheus 3 does, and knows 2.0.
        "remote write 2.0": Case(
            packed(b""),
            415,
            204,
            204,
            headers={**HEADERS, "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
        ),
        "JSON": Case(packed(b""), 415, 204, 204, headers={**HEADERS, "Content-Type": "application/json"}, newer=415),
        "no headers": Case(packed(b""), 204, 204, 204, headers={}),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return lambda name: tmp_path_factory.mktemp(name)


@pytest.fixture(scope="module")
def ours(folder: Callable[[str], Path]) -> Iterator[ControlPlane]:
    with control_plane(folder("ours"), FLEET) as plane:
        yield plane


@pytest.fixture(scope="module")
def real(folder: Callable[[str], Path]) -> Iterator[str]:
    with prometheus(folder("prometheus"), "global: {}\n", "--web.enable-remote-write-receiver") as url:
        yield url


@pytest.fixture(scope="module")
def victoria(folder: Callable[[str], Path]) -> Iterator[str]:
    with victoria_metrics(folder("victoria")) as url:
        yield url


def post(url: str, case: Case, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(
        f"{url}/api/v1/write", content=case.body, headers={**case.headers, **(headers or {})}, timeout=HANG_S
    )


def test_the_same_request_is_answered_as_by_others(ours: ControlPlane, real: str, victoria: str) -> None:
    for name, case in cases().items():
        answer, expected = post(ours.url, case, ours.headers), post(real, case)
        statuses = answer.status_code, expected.status_code, post(victoria, case).status_code
        assert statuses == case.expected, f"{name}: {answer.text}"
        assert answer.text.startswith(case.words), name
        assert expected.text.startswith(case.words), name
    assert values(ours.url, "up[1d]", ours.headers) == values(real, "up[1d]") == {(("__name__", "up"),): ["1"]}
    # Prometheus gives the whole request back where one sample is refused; we keep the others.
    assert values(ours.url, "new", ours.headers) == {(("__name__", "new"),): "1"}
    assert values(real, "new") == {}


def values(url: str, expr: str, headers: dict[str, str] | None = None, at: float | None = None) -> dict[Any, Any]:
    """Return value, or values, by labels."""
    params = {"query": expr, "time": str(at or now_ms() / 1000 + 1)}
    answer = httpx.get(f"{url}/api/v1/query", params=params, headers=headers, timeout=HANG_S)
    assert answer.status_code == 200, answer.text
    return {
        tuple(sorted(found["metric"].items())): [v for _, v in found["values"]]
        if "values" in found
        else found["value"][1]
        for found in answer.json()["data"]["result"]
    }


def test_every_sample_is_there_once_it_is_answered_for_and_after_a_restart(folder: Callable[[str], Path]) -> None:
    where = folder("restarted")
    with control_plane(where, FLEET) as plane:
        for n in range(20):
            sent = Case(body(series("steps", (n - 60, float(n))), series(f"new_{n}", (0, 1.0))), 204, 204, 204)
            assert post(plane.url, sent, plane.headers).status_code == 204
            assert values(plane.url, "steps", plane.headers) == {(("__name__", "steps"),): str(n)}
            assert values(plane.url, f"new_{n}", plane.headers) == {(("__name__", f"new_{n}"),): "1"}
    with control_plane(where, FLEET) as plane:
        old = Case(body(series("steps", (-50, 5.0), (-41, 19.0), (-40, 20.0))), 400, 400, 204)
        answer = post(plane.url, old, plane.headers)
        assert answer.text.startswith("out of order sample")
        assert answer.text.endswith("; 1 of 3 samples were refused, the others are stored\n")
        found = values(plane.url, "steps[2m]", plane.headers)
        assert found == {(("__name__", "steps"),): [str(n) for n in range(21)]}


SENDER = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: prometheus
    static_configs: [{targets: ["SELF"]}]
remote_write:
  - url: URL/api/v1/write
    authorization: {credentials: TOKEN}
    metadata_config: {send_interval: 1s}
    queue_config: {batch_send_deadline: 1s}
"""


def test_a_real_prometheus_writes_to_us(folder: Callable[[str], Path]) -> None:
    counter = "prometheus_tsdb_head_samples_appended_total"
    with control_plane(folder("receiver"), FLEET) as plane:
        config = SENDER.replace("URL", plane.url).replace("TOKEN", TOKEN)
        with prometheus(folder("sender"), config) as sender:

            def of_ours(expr: str, at: float) -> dict[Any, Any]:
                return values(plane.url, expr, plane.headers, at)

            wait_until(lambda: [v for v in of_ours(f"{counter}[1m]", time.time()).values() if len(v) >= 14])
            (newest,) = of_ours("timestamp(up{job='prometheus'})", time.time()).values()
            at = float(newest) - 1.6  # all shards are done; and off the samples: a range of 2.42 includes its start
            for expr in (
                "up{job='prometheus'}",
                f"rate({counter}[8s])",
                "count({job='prometheus'}) > 100",
                "prometheus_build_info",
            ):
                got, expected = of_ours(expr, at), values(sender, expr, at=at)
                assert got.keys() == expected.keys() != set(), expr
                for labels, value in expected.items():
                    assert float(got[labels]) == pytest.approx(float(value), rel=1e-9), expr
            wait_until(lambda: told(plane, counter))
            assert told(plane, counter)[0]["type"] == "counter"
            for lost in ("failed", "dropped"):
                found = values(sender, f"prometheus_remote_storage_samples_{lost}_total", at=time.time())
                assert set(found.values()) <= {"0"}


def told(plane: ControlPlane, metric: str) -> list[dict[str, str]]:
    answer = httpx.get(f"{plane.url}/api/v1/metadata", params={"metric": metric}, headers=plane.headers, timeout=HANG_S)
    found: list[dict[str, str]] = answer.json()["data"].get(metric, [])
    return found
