"""A real Prometheus that reads from us, and one that federates from us, over the same samples as ours."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.contract.real_servers import ControlPlane, control_plane, prometheus
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("prometheus")

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
ROWS = 40
FLEET = "fleet: {name: exports}\nrules: []\n"


class World(NamedTuple):
    ours: ControlPlane
    reader: str
    """A Prometheus that has nothing, and asks us."""
    keeper: str
    """A Prometheus that was sent the same samples."""
    at: int


def samples(at: int) -> bytes:
    times = [(at - 7 - 15 * back) * 1000 for back in reversed(range(ROWS))]

    def series(values: list[float], **labels: str) -> TimeSeries:
        return TimeSeries(tuple(sorted(labels.items())), tuple(zip(times[-len(values) :], values, strict=True)))

    odd = [0.1 + 0.2, 1e21, 1234567.0, 1e-7, -0.0, math.nan, math.inf, -math.inf]
    return encode(
        WriteRequest(
            (
                series([100.0 + n for n in range(ROWS)], __name__="gauge", job="a", instance="ü:1"),
                series([n / 3 for n in range(ROWS)], __name__="gauge", job="b", instance='"q"\\'),
                series([float(n) for n in range(ROWS)], __name__="requests_total", job="a"),
                *(series([value], __name__="odd", kind=str(n)) for n, value in enumerate(odd)),
                series([*[1.0] * 10, STALE, *[2.0] * 20, STALE], __name__="ended", job="a"),
            )
        )
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folders = [tmp_path_factory.mktemp(name) for name in ("ours", "reader", "keeper")]
    with control_plane(folders[0], FLEET) as ours:
        token = ours.headers["Authorization"].removeprefix("Bearer ")
        access = f"authorization: {{credentials: {token}}}"
        host = ours.url.removeprefix("http://")
        config = (
            "global: {scrape_interval: 1s}\n"
            f"remote_read: [{{url: '{ours.url}/api/v1/read', read_recent: true, {access}}}]\n"
            "scrape_configs:\n"
            f"- {{job_name: federate, honor_labels: true, metrics_path: /federate, {access}, "
            """params: {"match[]": ['gauge', '{__name__="odd"}', 'gauge{job="a"}']}, """
            f"static_configs: [{{targets: ['{host}']}}]}}\n"
        )
        flag = "--web.enable-remote-write-receiver"
        with prometheus(folders[1], config) as reader, prometheus(folders[2], "global: {}\n", flag) as keeper:
            at = int(time.time()) - 20
            for url, headers in ((ours.url, ours.headers), (keeper, {})):
                answer = httpx.post(f"{url}/api/v1/write", content=samples(at), headers=headers, timeout=HANG_S)
                assert answer.status_code == 204, answer.text
            yield World(ours, reader, keeper, at)


def ask(url: str, path: str, **params: Any) -> Any:
    answer = httpx.get(f"{url}/api/v1/{path}", params=params, timeout=HANG_S)
    body = answer.json()
    assert body["status"] == "success", body
    assert not body.get("warnings"), body
    return sorted(body["data"]["result"], key=lambda series: sorted(series["metric"].items()))


@pytest.mark.parametrize(
    "expr",
    [
        'gauge{job=~"a|b"}[20m]',
        "ended[20m]",
        "rate(requests_total[5m])",
        '{__name__="odd",kind!="5",job!="federate"}[20m]',
        'sum by (job) ({job!="",__name__!~"up|scrape_.*|odd|controlplane_.*"})',
        "ended",
        'gauge{job="b"}',
        "nothing",
    ],
)
def test_a_prometheus_that_reads_from_us_answers_as_one_that_has_the_samples(world: World, expr: str) -> None:
    for back in (0, 60, 290):
        at = world.at - back
        expected = ask(world.keeper, "query", query=expr, time=at)
        assert ask(world.reader, "query", query=expr, time=at) == expected


def test_a_range_goes_around_staleness_markers(world: World) -> None:
    params = {"query": "ended", "start": world.at - 700, "end": world.at, "step": 15}
    expected = ask(world.keeper, "query_range", **params)
    assert ask(world.reader, "query_range", **params) == expected
    assert len(expected[0]["values"]) < 46


def test_a_prometheus_that_federates_from_us_gets_what_another_would_give_it(world: World) -> None:
    def families(text: str) -> dict[str, set[tuple[Any, ...]]]:
        return {
            family.name: {(s.name, tuple(sorted(s.labels.items())), repr(s.value), s.timestamp) for s in family.samples}
            for family in text_string_to_metric_families(text)
        }

    params = {"match[]": ["gauge", '{__name__=~"odd|ended|requests_total"}', "nothing"]}
    ours = httpx.get(f"{world.ours.url}/federate", params=params, headers=world.ours.headers, timeout=HANG_S)
    theirs = httpx.get(f"{world.keeper}/federate", params=params, timeout=HANG_S)
    assert (ours.status_code, theirs.status_code) == (200, 200)
    assert families(ours.text) == families(theirs.text)
    assert sorted(ours.text.splitlines()) == sorted(theirs.text.splitlines())
    deadline = time.monotonic() + HANG_S
    while not (found := ask(world.reader, "query", query='up{job="federate"}')) or found[0]["value"][1] != "1":
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.parametrize("match", [["up{"], ["sum(up)"]])
def test_a_bad_selector_is_refused_by_both(world: World, match: list[str]) -> None:
    ours = httpx.get(
        f"{world.ours.url}/federate", params={"match[]": match}, headers=world.ours.headers, timeout=HANG_S
    )
    theirs = httpx.get(f"{world.keeper}/federate", params={"match[]": match}, timeout=HANG_S)
    assert ours.status_code == theirs.status_code == 400


@pytest.mark.parametrize("body", [b"", b"junk", b"\x03\x08abc"])
def test_a_body_that_cannot_be_read_is_refused_by_both(world: World, body: bytes) -> None:
    ours = httpx.post(f"{world.ours.url}/api/v1/read", content=body, headers=world.ours.headers, timeout=HANG_S)
    theirs = httpx.post(f"{world.keeper}/api/v1/read", content=body, timeout=HANG_S)
    assert (ours.status_code, theirs.status_code) == (400, 400), (ours.text, theirs.text)


@pytest.mark.parametrize("status", ["config", "flags", "runtimeinfo", "tsdb", "buildinfo"])
def test_a_status_has_the_fields_of_prometheus(world: World, status: str) -> None:
    ours = httpx.get(f"{world.ours.url}/api/v1/status/{status}", headers=world.ours.headers, timeout=HANG_S).json()
    theirs = httpx.get(f"{world.keeper}/api/v1/status/{status}", timeout=HANG_S).json()
    assert ours["status"] == theirs["status"] == "success"
    if status == "flags":
        assert ours["data"].keys() <= theirs["data"].keys()
        return
    for field, value in theirs["data"].items():
        assert type(ours["data"][field]) is type(value), field


def test_cardinality_is_counted_as_prometheus_counts(tmp_path: Path, world: World) -> None:
    def counted(url: str, headers: dict[str, str], field: str) -> dict[str, int]:
        found = httpx.get(f"{url}/api/v1/status/tsdb?limit=1000", headers=headers, timeout=HANG_S).json()["data"][field]
        return {one["name"]: one["value"] for one in found}

    mine = ("gauge", "odd", "ended", "requests_total")
    for field, names in (
        ("seriesCountByMetricName", mine),
        ("seriesCountByLabelValuePair", [f"__name__={name}" for name in mine]),
    ):
        ours, theirs = counted(world.ours.url, world.ours.headers, field), counted(world.keeper, {}, field)
        assert [ours[name] for name in names] == [theirs[name] for name in names]
