"""Our Prometheus API and a real Prometheus, asked the same: the same statuses, the same bodies."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from controlplane.access.roles import Principal, Role
from controlplane.api import prometheus, prometheus_status
from controlplane.api.auth import include
from controlplane.api.problems import install
from controlplane.config.model import Fleet
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.querier import MetricsQuerier
from controlplane.metrics.series_store import SeriesStore

pytestmark = pytest.mark.needs("prometheus")

SAME = [
    "query?query=1%2B1&time=10.5",
    "query?query=vector(1)&time=1.25",
    'query?query="s"&time=1',
    "query?query=vector(1e300*10)&time=1",
    "query?query=1/0&time=1",
    "query?query=nothing&time=1",
    "query?query=1&time=x",
    "query?query=1&timeout=x",
    "query?query=1&time=2015-07-01T20:10:51.781Z",
    "query_range?query=time()&start=0&end=2&step=1",
    "query_range?query=time()&start=1.5&end=2015&step=1h",
    "query_range?query=up&start=0&end=20000&step=1",
    "query_range?query=up&start=5&end=1&step=1",
    "query_range?query=up&start=0&end=1&step=0",
    "query_range?query=up&start=0&end=1&step=x",
    "query_range?query=up",
    'query_range?query="s"&start=0&end=1&step=1',
    "series",
    "series?match[]=up",
    "series?match[]=up&start=x",
    "labels",
    "labels?start=x",
    "label/job/values",
    "metadata",
    "metadata?limit=x",
    "rules",
    "rules?type=all",
    "alerts",
]
"""Bodies are equal, word for word."""

ALIKE = [
    "query?query=up{",
    "query?query=",
    "query?query=nosuch()",
    "query?query=rate(up)",
    'query?query=up%2B"x"',
    "series?match[]={}",
    "series?match[]=sum(up)",
    "series?match[]=up{",
    "labels?match[]=up{",
    "label/job/values?match[]=up{",
]
"""The parsers word syntax errors differently; status, type and the parameter's name are the same."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", *arguments, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(process, f"http://{address}/-/ready", folder / "log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"prometheus did not start: {log.read_text()[-2000:]}")


class Everyone:
    """Lets any token in: access has its own tests."""

    def authenticate(self, text: str, now: float) -> Any:
        return Principal("test", Role.VIEWER, "00000000")


class Empty:
    """Services of a control plane without any data, like the Prometheus that it is compared to."""

    def __init__(self) -> None:
        self.series_store = SeriesStore(3600.0)
        self.queries = MetricsQuerier(PromqlEngine(self.series_store))
        self.tokens, self.clock, self.alerts = Everyone(), self, self

    def now(self) -> float:
        return time.time()

    def rules(self) -> list[Any]:
        return []

    def active(self) -> list[Any]:
        return []

    def config(self) -> Any:
        return Fleet.model_validate({"fleet": {"name": "empty"}})


@pytest.fixture(scope="module")
def ours() -> Iterator[FastAPI]:
    app = FastAPI()
    services = Empty()
    app.state.services = services
    install(app)
    include(app, prometheus.router)
    include(app, prometheus_status.router)
    yield app
    services.queries.close()


async def ask(ours: FastAPI, real: str, path: str) -> tuple[httpx.Response, httpx.Response]:
    transport = httpx.ASGITransport(ours)
    headers = {"Authorization": "Bearer any"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ours", headers=headers) as client:
        answer = await client.get(f"/api/v1/{path}")
    async with httpx.AsyncClient(base_url=real) as client:
        return answer, await client.get(f"/api/v1/{path}")


@pytest.mark.parametrize("path", SAME)
async def test_the_same_answer(ours: FastAPI, real: str, path: str) -> None:
    answer, expected = await ask(ours, real, path)
    assert (answer.status_code, answer.json()) == (expected.status_code, expected.json())
    assert answer.headers["content-type"] == expected.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ALIKE)
async def test_the_same_refusal(ours: FastAPI, real: str, path: str) -> None:
    answer, expected = await ask(ours, real, path)
    assert answer.status_code == expected.status_code
    body, model = answer.json(), expected.json()
    assert {**body, "error": ""} == {**model, "error": ""}
    place = re.match(r'invalid parameter "[^"]+": ', model["error"])
    assert place is None or body["error"].startswith(place[0])
