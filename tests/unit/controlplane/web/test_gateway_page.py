"""The page of the gateways: reports, routes with their numbers, refusals, and what to do without a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from alerts.interfaces import VectorSample
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from controlplane.errors import Unavailable
from controlplane.fleet.operations.routes import QUERIES, route_models
from controlplane.gateway.desired.document import WHOLE, BackendSpec, Desired, ModelSpec, VersionSpec
from controlplane.metrics.promql.values import Vector
from controlplane.store.gateways import GatewayStore, ModelReport, Report
from tests.unit.controlplane.web.reading import sections, words

CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "gateway": {"control_plane": {"url": "http://cp:1", "authorization": {"credentials_file": "token"}}},
        "models": [
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"driver": "gateway"},
                "versions": {v: {"backends": [{"url": f"http://{v}:1", "engine": "vllm"}]} for v in ("v1", "v2")},
            }
        ],
    }
)
REPORT = Report("edge-1", "i-1", "1.2.3", "10.0.0.1:8400", 2, ready=True, revision="abc", open_streams=3)


def sample(value: float, **labels: str) -> VectorSample:
    return VectorSample(labels_of(labels), value)


NUMBERS = {
    "requests": [
        sample(9.5, model="chat", version="v1", outcome="success"),
        sample(0.5, model="chat", version="v1", outcome="error"),
        sample(7.0, model="chat", version="v1", outcome="aborted"),
    ],
    "p99": [sample(1.5, model="chat", version="v1"), sample(float("nan"), model="chat", version="v2")],
    "running": [sample(4.0, model="chat", version="v1", backend="http://v1:1")],
    "waiting": [sample(12.0, model="chat")],
    "ejected": [sample(1.0, model="chat", version="v1", backend="http://v1:1")],
    "refused": [sample(41.0, model="chat", kind="rate_limited"), sample(2.0, model="", kind="unknown_model")],
}


def measure(console: Any, numbers: dict[str, list[VectorSample]]) -> None:
    """Let the queries of routes answer these numbers."""
    console.rig.config = CONFIG
    known = {QUERIES[name]: found for name, found in numbers.items()}

    async def answer(expr: str, at: float) -> Vector:
        return Vector(at, known.get(expr, []))

    console.rig.queries.instant_value = answer


async def test_without_a_gateway_the_page_says_how_to_start_one(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/gateway")
    assert "No gateway reports here yet." in words(page) and "controlplane gateway --config" in page
    assert sections(page)["/gateway"] is True


async def test_routes_show_weights_rates_errors_queue_and_ejected_backends(console: Any) -> None:
    measure(console, NUMBERS)
    GatewayStore(console.rig.db).report(REPORT, leaving=False)
    async with console.browser(Role.VIEWER) as browser:
        shown = words(await browser.page("/gateway"))
    assert "1 of 1 gateways are live 3 open streams 17 requests a second 12 wait in the queues 43 refused" in shown
    assert "queue 12 of 1000" in shown
    assert "v1 100 % 17 5 % 1.5 s 4 v1:1 4 ejected" in shown
    assert "v2 0 % testers only – – – – v2:1" in shown
    assert "rate_limited 41 above a limit of requests, tokens or open requests keys and limits" in shown


class Read(list[VectorSample]):
    """Samples that count how often they are looked through."""

    times = 0

    def __iter__(self) -> Iterator[VectorSample]:
        self.times += 1
        return super().__iter__()


def test_the_numbers_of_many_backends_are_looked_through_once() -> None:
    urls = [f"http://v1-{n}:1" for n in range(50)]
    backends = tuple(BackendSpec(url, "vllm", url) for url in urls)
    version = VersionSpec("v1", WHOLE, backends)
    running = Read(sample(float(n), model="chat", version="v1", backend=url) for n, url in enumerate(urls))
    (found,) = route_models(Desired("1", (ModelSpec("chat", 1, (version,)),)), {"running": running})
    assert [one.open_requests for one in found.versions[0].backends] == list(range(50))
    assert found.versions[0].open_requests == sum(range(50))
    assert running.times == 2, "once by backend, and once by version"


async def test_a_gateway_is_shown_by_the_worst_that_holds(console: Any) -> None:
    measure(console, {})
    store = GatewayStore(console.rig.db)
    store.report(REPORT, leaving=False)
    fault = "format 9 is unknown; <b>upgrade</b>"
    store.report(replace(REPORT, name="edge-2", fault=fault, models={"chat": ModelReport(3, {}, {})}), leaving=False)
    store.report(replace(REPORT, name="edge-3"), leaving=True)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/gateway")
    shown = words(page)
    assert shown.index("edge-2 10.0.0.1:8400 refuses") < shown.index("edge-1 10.0.0.1:8400 live")
    assert "edge-3 10.0.0.1:8400 left" in shown
    assert fault in shown and "<b>upgrade" not in page


async def test_what_cannot_be_read_is_named_and_the_rest_is_shown(console: Any, monkeypatch: Any) -> None:
    measure(console, {})
    GatewayStore(console.rig.db).report(REPORT, leaving=False)

    async def withheld(revision: str, wait_s: float) -> bytes | None:
        raise Unavailable("this control plane only observes")

    monkeypatch.setattr(console.rig.gateways.feed, "after", withheld)
    async with console.browser(Role.VIEWER) as browser:
        shown = words(await browser.page("/gateway"))
        assert (await browser.client.get("/cp/v1/gateways/routes")).status_code == 503
    assert "edge-1" in shown and "The routes are not known now: this control plane only observes" in shown


async def test_csv_has_a_row_for_each_backend(console: Any) -> None:
    measure(console, NUMBERS)
    async with console.browser(Role.VIEWER) as browser:
        answer = await browser.client.get("/gateway?format=csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="routes.csv"'
    assert answer.text.splitlines()[1:] == [
        "chat,v1,1.0,17.0,0.05,1.5,http://v1:1,vllm,4,,True,,False",
        "chat,v2,0.0,,,,http://v2:1,vllm,,,,,False",
    ]
