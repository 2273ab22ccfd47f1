"""A control plane whose metrics live in a real Prometheus: it ships what it scrapes, and evaluates its rules there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from pathlib import Path

import pytest

from controlplane.app.wiring import ControlPlane, running
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.metrics.promql.values import Vector
from tests.fakes.metrics_servers import prometheus
from tests.patience import until

pytestmark = pytest.mark.needs("prometheus")
TOKEN = "cp_0123456789ab_" + "a" * 64
RULES = """
groups:
  - name: g
    interval: 1s
    rules:
      - {record: "answer:doubled", expr: 2 * engine_answer}
      - {alert: AnswerHigh, expr: "answer:doubled > 80"}
  - name: own
    interval: 1s
    rules:
      - {alert: Failing, expr: "sum by (rule_group) (increase(controlplane_failures[1m])) > 0"}
"""


def states(plane: ControlPlane) -> dict[str, str]:
    return {rule.rule.name: rule.state for report in plane.alerting.reports() for rule in report.rules}


async def serve_engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = b"engine_answer 42\n"
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.close()


def fleet(folder: Path, engine: str, url: str) -> LoadedFleet:
    """A fleet of one engine, whose metrics live at `url`."""
    config = {
        "fleet": {"name": "x"},
        "scrape": {"interval": "1s"},
        "evaluation_interval": "1s",
        "rules": ["rules.yml"],
        "targets": [{"engine": "custom", "addresses": [engine]}],
        "metrics": {
            "query_url": url,
            "remote_write": {"url": f"{url}/api/v1/write", "queue_config": {"batch_send_deadline": "100ms"}},
        },
    }
    (folder / "rules.yml").write_text(RULES)
    (folder / "fleet.yaml").write_text(json.dumps(config))
    return load_fleet(folder / "fleet.yaml")


async def test_rules_recorded_series_and_queries_live_in_the_other_server(tmp_path: Path) -> None:
    engine = await asyncio.start_server(serve_engine, "127.0.0.1", 0)
    address = f"127.0.0.1:{engine.sockets[0].getsockname()[1]}"
    (tmp_path / "prometheus").mkdir()
    with contextlib.ExitStack() as server:
        url = server.enter_context(prometheus(tmp_path / "prometheus"))
        loaded = fleet(tmp_path, address, url)
        async with running(loaded, tmp_path, TOKEN, "127.0.0.1:8080", observe_only=False) as (plane, _):
            await until(lambda: states(plane)["AnswerHigh"] == "firing")
            value = await plane.metrics.querier.instant_value("answer:doubled", time.time())
            assert isinstance(value, Vector)
            ((labels, doubled),) = value.samples
            assert (dict(labels)["job"], doubled) == ("custom", 84.0)
            assert plane.not_ready() == {}
            assert plane.metrics.shipping()[0].dropped == {}
        # The next process finds the alert firing and its data there; then the server goes away.
        failures = itertools.count()
        async with running(loaded, tmp_path, TOKEN, "127.0.0.1:8080", observe_only=False) as (plane, _):
            plane.watch_itself(lambda: b'controlplane_failures{rule_group="f;g"} %d\n' % next(failures))
            await until(lambda: plane.alerting.reports()[0].last_evaluation)
            assert states(plane)["AnswerHigh"] == "firing"
            await asyncio.to_thread(server.close)
            await until(lambda: states(plane)["Failing"] == "firing")
            await until(lambda: plane.alerting.reports()[0].rules[1].last_error)
            assert states(plane)["AnswerHigh"] == "firing"
            assert plane.metrics.remote
            await plane.metrics.remote.check()
            assert "connection refused" in plane.not_ready()["metrics"]
            await until(lambda: plane.metrics.shipping()[0].failing)
    engine.close()
