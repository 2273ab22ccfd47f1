"""Every query of the dashboards on the demo's own store, and on a real Prometheus that scraped the demo.

A panel without data fails, unless it is listed here with the reason.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from alerts.packs import threshold_values
from controlplane.rollout.options import Metric
from dashboards.generate import BOARDS
from dashboards.settings import Settings
from tests.contract.real_servers import prometheus
from tests.e2e.demo_world import Demo, running
from tests.patience import HANG_S, PROCESS_S

pytestmark = [pytest.mark.needs("triton", "prometheus"), pytest.mark.timeout(600)]

NO_ENGINE = "the demo has no such engine"
ALL_WELL = "nothing of the kind happens in the demo"
NO_LOGS = "the demo runs no log-exporter"
NO_PROXY = "the demo has no proxy of others"
NO_CLOUD = "the demo reads no provider and no cloud"
NOT_SET = "the demo's fleet.yaml sets up none"
ABSENT: dict[str, dict[str, str]] = {
    "fleet": {"Error budget left": NOT_SET, "Burn rate over an hour": NOT_SET, "Alerts": ALL_WELL}
    | dict.fromkeys(
        (
            "Lines that tell an event, per hour",
            "Last lines of events",
            "Lines sent on",
            "Destinations that take no lines",
        ),
        NO_LOGS,
    ),
    "model": {
        "Error budget left": NOT_SET,
        "LoRA adapters": NO_ENGINE,
        "Memory of loaded models": NO_ENGINE,
        "Engines not ready": ALL_WELL,
    },
    "rollout": {"Running rollouts": "a rollout may have ended", "Rollouts that need attention": ALL_WELL},
    "alerts": {
        "Alerts": ALL_WELL,
        "Firing": ALL_WELL,
        "Age of heartbeats": NOT_SET,
        "People on call": NOT_SET,
        "Age of the calendars": NOT_SET,
        "Shifts left in the calendars": NOT_SET,
    },
    "gateway": {"Failed attempts per second by reason": ALL_WELL, "Without requests now": ALL_WELL}
    | dict.fromkeys(("Retries and second attempts", "Copies, cache and answers of other models"), ALL_WELL)
    | dict.fromkeys(
        (
            "Requests per second at proxies by outcome",
            "Errors at proxies",
            "Duration of requests at proxies",
            "Tokens per second at proxies",
        ),
        NO_PROXY,
    ),
    "cost": dict.fromkeys(
        (
            "Requests that providers counted today",
            "Requests per second at clouds by outcome",
            "GPUs of hosted models",
            "Age of the providers' numbers",
            "Time until rate limits are whole again",
        ),
        NO_CLOUD,
    )
    | {
        "Cost of a million output tokens": "the ledger of a new fleet may not have grown yet",
        "Charges of providers today": NOT_SET,
        "Tokens that providers counted today": NOT_SET,
        "Rate limits left at hosted APIs": NOT_SET,
    },
    "gpu": {
        "Slowed down now": "only NVML reports it",
        "Time slowed down": "the simulated dcgm-exporter does not report it",
        "XIDs in the exporter's own window": ALL_WELL,
        "Slowed down in the exporter's own window": ALL_WELL,
        "Memory of MIG instances": "the demo's GPUs are not divided",
        "MIG instances in use": "the demo's GPUs are not divided",
        "Pods": "the demo runs outside Kubernetes",
    },
    "vllm": {"Rejected requests per second": ALL_WELL},
    "sglang": {"*": NO_ENGINE},
    "tensorrt-llm": {"*": NO_ENGINE},
    "backups": {"*": NOT_SET},
    "control-plane": {
        "Targets down": ALL_WELL,
        "Missing metrics": ALL_WELL,
        "Connections to Slack": NOT_SET,
        "Endpoints that relabelling drops": NOT_SET,
        "Own metrics that cannot be read": ALL_WELL,
        "Series and samples that are left out": ALL_WELL,
        "Queue on disk": "the demo writes to no other server",
        "Samples per second": "the demo writes to no other server",
        "Lag": "the demo writes to no other server",
    },
}
"""Panels that may be without data, by dashboard and title, with the reason. `*`: all of the dashboard."""
ALWAYS = {("backups", "Jobs too old"), ("backups", "Jobs failed"), ("backups", "Runs now")}
"""Panels of listed dashboards that show a 0 all the same."""


class Place(NamedTuple):
    """A server that speaks Prometheus's API."""

    name: str
    url: str
    headers: dict[str, str]

    def has(self, expr: str, instant: bool) -> bool:
        """Return whether a query finds a number: now, or within the last ten minutes."""
        now = time.time()
        times = {"time": now} if instant else {"start": now - 600, "end": now, "step": 10}
        path = "query" if instant else "query_range"
        answer = httpx.post(
            f"{self.url}/api/v1/{path}", data={"query": expr, **times}, headers=self.headers, timeout=HANG_S
        ).json()
        assert answer["status"] == "success", (self.name, expr, answer)
        found = answer["data"]["result"]
        return any(value != "NaN" for s in found for _, value in (s.get("values") or [s["value"]]))


class World(NamedTuple):
    """The demo, its store, and a Prometheus that scrapes it."""

    demo: Demo
    places: tuple[Place, Place]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("dashboards")) as demo:
        context = (demo.folder / "config" / "controlplane" / "config.toml").read_text()
        url, token = (re.search(rf'{k} = "(.*)"', context)[1] for k in ("url", "token"))  # type: ignore[index]
        config = (
            "global: {scrape_interval: 2s}\n"
            "scrape_configs:\n"
            "- {job_name: federate, honor_labels: true, metrics_path: /federate, scrape_timeout: 2s, "
            f"authorization: {{credentials: {token}}}, "
            """params: {"match[]": ['{__name__=~".+"}']}, """
            f"static_configs: [{{targets: ['{url.removeprefix('http://')}']}}]}}\n"
        )
        with prometheus(tmp_path_factory.mktemp("prometheus"), config) as theirs:
            own = Place("the demo's store", url, {"Authorization": f"Bearer {token}"})
            yield World(demo, (own, Place("Prometheus", theirs, {})))


def filled(expr: str) -> str:
    """Return a query with every variable set to all."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: "1m" if found[1] == "__rate_interval" else ".*", expr)


def queries(board: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in BOARDS[board](Settings(threshold_values()))["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def empty(place: Place, board: str) -> set[str]:
    """Return the titles of a dashboard's panels without data. A panel has data if one of its queries has."""
    titles: dict[str, bool] = {}
    for title, target in queries(board):
        titles[title] = titles.get(title, False) or place.has(filled(target["expr"]), target["instant"])
    return {title for title, there in titles.items() if not there}


def may_be_empty(board: str) -> set[str]:
    listed = ABSENT.get(board, {})
    every = {title for title, _ in queries(board) if (board, title) not in ALWAYS}
    return every if "*" in listed else set(listed)


def test_a_rollout_runs_so_that_its_panels_have_something_to_show(world: World) -> None:
    world.demo.until("load", lambda: world.demo.load()["chat"]["requests"] > 10)
    world.demo.cp("promote", "chat", "v2", *[f"--report-only={metric.value}" for metric in Metric])


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_has_data_in_the_demos_store_and_in_a_prometheus(world: World, board: str) -> None:
    for place in world.places:
        deadline = time.monotonic() + PROCESS_S
        while missing := empty(place, board) - may_be_empty(board):
            assert time.monotonic() < deadline, f"{place.name}: no data in panels of {board}: {sorted(missing)}"
            time.sleep(1)


def test_the_list_of_absent_panels_names_panels_that_exist() -> None:
    for board, listed in ABSENT.items():
        assert set(listed) - {"*"} <= {title for title, _ in queries(board)}, board
