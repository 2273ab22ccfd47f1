"""What is shipped is what is stored: read back from a real Prometheus and a real VictoriaMetrics."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import FloatArray, Layout, Series, labels_of
from collectors.target import Target
from controlplane.app.metrics_elsewhere import shipper_to
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.write.shipping.shipper import Shipper
from controlplane.metrics.write.tee import TeeSink
from tests.fakes.fleet_text import parse_fleet
from tests.fakes.metrics_servers import prometheus, victoria_metrics
from tests.patience import HANG_S, until

CATALOGUE = load_catalogue()
NOW = int(time.time()) // 60 * 60


class WallClock:
    def now(self) -> float:
        return time.time()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(prometheus, id="prometheus", marks=pytest.mark.needs("prometheus")),
        pytest.param(victoria_metrics, id="victoriametrics", marks=pytest.mark.needs("victoriametrics")),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with request.param(tmp_path_factory.mktemp("server")) as url:
        yield url


def shipper(url: str, folder: Path, **more: Any) -> Shipper:
    endpoint = {"url": f"{url}/api/v1/write", "queue_config": {"batch_send_deadline": "100ms"}, **more}
    text = json.dumps({"fleet": {"name": "x"}, "metrics": {"remote_write": endpoint}})
    (wanted,) = parse_fleet(text, folder / "fleet.yaml").metrics.remote_write
    return shipper_to(wanted, folder, CATALOGUE, WallClock())


def vllm(fixtures: Path, instance: str) -> tuple[Layout, FloatArray]:
    """The capture of a real vLLM, as scraping stores it."""
    parsed = parse((fixtures / "vllm-0.32-llm.prom").read_bytes())
    target = Target("vllm", "http://x/metrics", "vllm", instance, labels_of({"model": "chat"}))
    return canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE), parsed.values


async def emptied(made: Shipper, samples: int) -> None:
    await until(lambda: made.report().sent >= samples and not made.report().pending)


async def asked(url: str, seen: Callable[[list[Any]], object], query: str, at: float) -> dict[tuple[Any, ...], float]:
    """Query until what was written is seen, and return it."""
    async with httpx.AsyncClient(timeout=HANG_S) as client, asyncio.timeout(HANG_S):
        while True:
            await client.get(f"{url}/internal/force_flush")  # VictoriaMetrics's own; any other answer is as good
            answer = (await client.get(f"{url}/api/v1/query", params={"query": query, "time": at})).json()
            if seen(answer["data"]["result"]):
                return {labels_of(r["metric"]): float(r["value"][1]) for r in answer["data"]["result"]}
            await asyncio.sleep(0.2)


async def test_every_series_of_a_real_capture_arrives_raw_and_canonical(
    server: str, tmp_path: Path, fixtures: Path
) -> None:
    layout, values = vllm(fixtures, "all:8000")
    store, made = SeriesStore(), shipper(server, tmp_path)
    await made.start()
    sink = TeeSink([store, made])
    for n in range(3):
        sink.append("vllm/all", layout, (NOW - 45 + 15 * n) * 1000, values + n)
    await emptied(made, 3 * (len(layout.raw) + len(layout.views)))
    await made.close()
    querier = MetricsQuerier(PromqlEngine(store))
    ours = {s.labels: s.value for s in await querier.instant('{instance="all:8000"}', NOW)}
    querier.close()
    assert len(ours) == len(layout.raw) + len(layout.views) > 500
    theirs = await asked(server, lambda found: len(found) >= len(ours), '{instance="all:8000"}', NOW)
    assert theirs.keys() == ours.keys()
    apart = {k: (v, theirs[k]) for k, v in ours.items() if not math.isclose(v, theirs[k], rel_tol=1e-12)}
    assert apart == {}


@pytest.mark.parametrize(
    ("send", "wanted"), [("canonical", r"llm_.+"), ("raw", r"(vllm:|http_|python_|process_).+"), ("recorded", r"x:y")]
)
async def test_only_what_is_chosen_is_sent(send: str, wanted: str, server: str, tmp_path: Path, fixtures: Path) -> None:
    instance = f"only-{send}:8000"
    layout, values = vllm(fixtures, instance)
    made = shipper(server, tmp_path, send=[send])
    await made.start()
    made.append("vllm/one", layout, NOW * 1000, values)
    made.append(
        "rule:f;g;x:y", Layout((Series("x:y", labels_of({"instance": instance})),)), NOW * 1000, np.array([1.0])
    )
    await emptied(made, 1)
    sent = made.report().sent
    await made.close()
    found = await asked(server, lambda found: len(found) >= sent, f'{{instance="{instance}"}}', NOW)
    names = {dict(labels)["__name__"] for labels in found}
    matching = await asked(server, lambda _: True, f'{{__name__=~"{wanted}",instance="{instance}"}}', NOW)
    assert names == {dict(labels)["__name__"] for labels in matching} != set()
    assert len(found) == sent


async def test_what_ends_is_stale_there_at_once(server: str, tmp_path: Path) -> None:
    made = shipper(server, tmp_path)
    await made.start()
    one, other = (Series("ends", labels_of({"case": str(tmp_path), "n": n})) for n in "12")
    made.append("s", Layout((one, other)), (NOW - 30) * 1000, np.array([1.0, 2.0]))
    made.append("s", Layout((one,)), (NOW - 15) * 1000, np.array([3.0]))
    made.end("s", NOW * 1000)
    await emptied(made, 5)
    await made.close()
    query = f'ends{{case="{tmp_path}"}}'
    at = {}
    for moment in (NOW - 20, NOW - 10, NOW + 1):
        wanted = {NOW - 20: 2, NOW - 10: 1, NOW + 1: 0}[moment]
        found = await asked(server, lambda found, wanted=wanted: len(found) == wanted, query, moment)  # type: ignore[misc]
        at[moment - NOW] = sorted(found.values())
    assert at == {-20: [1.0, 2.0], -10: [3.0], 1: []}


async def test_a_server_that_refuses_says_why_and_samples_are_counted(
    server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = shipper(server, tmp_path)
    made._sender._client._url = made._sender._client._url.with_path("/nowhere")  # type: ignore[attr-defined]
    await made.start()
    made.append("s", Layout((Series("refused", ()),)), NOW * 1000, np.array([1.0]))
    await until(lambda: made.report().dropped)
    (reason,) = made.report().dropped
    await made.close()
    assert reason in ("status_404", "status_400", "status_405")
    assert "samples are dropped" in caplog.text


async def test_a_crash_between_sending_and_knowing_loses_nothing(server: str, tmp_path: Path) -> None:
    layout = Layout(tuple(Series("crash", labels_of({"case": str(tmp_path), "n": str(n)})) for n in range(3)))
    made = shipper(server, tmp_path)
    queue, sender = made._queue, made._sender
    queue.open()
    for n in range(4):
        made.append("s", layout, (NOW - 60 + n) * 1000, np.full(3, float(n)))
    queue.flush()
    window = queue.read(NOW * 1000, 1, 6, 10**7)
    assert window
    await sender.send(window)
    queue._close_file()
    queue._reader.close()  # and the process is gone
    await sender._client.close()  # type: ignore[attr-defined]
    again = shipper(server, tmp_path)
    again.append("s", layout, (NOW - 50) * 1000, np.full(3, 10.0))
    await again.start()
    expected = {NOW - 60 + n for n in range(4)} | {NOW - 50}

    def whole(found: list[Any]) -> bool:
        return [{at for at, _ in series["values"]} for series in found] == [expected] * 3

    async with httpx.AsyncClient(timeout=HANG_S) as client, asyncio.timeout(HANG_S):
        found: list[Any] = []
        while not whole(found):
            await client.get(f"{server}/internal/force_flush")
            asking: dict[str, str | float] = {"query": f'crash{{case="{tmp_path}"}}[2m]', "time": NOW}
            found = (await client.get(f"{server}/api/v1/query", params=asking)).json()["data"]["result"]
            await asyncio.sleep(0.2)
    assert again.report().dropped == {}
    await again.close()
