"""`prometheus-api-client`, as from PyPI, against a running control plane."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from collectors.samples import Metadata
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.contract.real_servers import ControlPlane, control_plane
from tests.patience import HANG_S, wait_until

NOW = time.time() // 15 * 15
STEPS = 21
FLEET = "fleet: {name: client}\nrules: []\nscrape: {interval: 1s}\n"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Five minutes of two gauges at 15 s."""
    request = WriteRequest(
        tuple(
            TimeSeries(
                (("__name__", "queue_length"), ("instance", name)),
                tuple((int((NOW - 15 * back) * 1000), base + STEPS - 1 - back) for back in reversed(range(STEPS))),
            )
            for name, base in (("a", 0.0), ("b", 100.0))
        ),
        (("queue_length", Metadata("gauge", "Requests that wait.")),),
    )
    with control_plane(tmp_path_factory.mktemp("plane"), FLEET) as running:
        headers = {**running.headers, "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        answer = httpx.post(f"{running.url}/api/v1/write", content=encode(request), headers=headers, timeout=HANG_S)
        assert answer.status_code == 204, answer.text
        wait_until(lambda: scraped_itself(running))
        yield running


def scraped_itself(plane: ControlPlane) -> bool:
    params = {"query": "controlplane_store_series"}
    answer = httpx.get(f"{plane.url}/api/v1/query", params=params, headers=plane.headers, timeout=HANG_S)
    return bool(answer.json()["data"]["result"])


@pytest.fixture(params=["GET", "POST"])
def client(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Any]:
    with PrometheusConnect(plane.url, headers=plane.headers, method=request.param, timeout=HANG_S) as connected:
        yield connected


def test_it_connects(client: Any) -> None:
    assert client.check_prometheus_connection()


def test_it_lists_metrics_labels_and_series(client: Any) -> None:
    assert "queue_length" in client.all_metrics()
    assert {"__name__", "instance"} <= set(client.get_label_names())
    assert client.get_label_names(params={"match[]": "queue_length"}) == ["__name__", "instance"]
    assert client.get_label_values("instance", params={"match[]": "queue_length"}) == ["a", "b"]
    start, end = datetime.fromtimestamp(NOW - 600), datetime.fromtimestamp(NOW)
    found = client.get_series(start, end, {"match[]": "queue_length"})
    assert found == [{"__name__": "queue_length", "instance": name} for name in "ab"]


def test_it_asks_for_values(client: Any) -> None:
    found = client.get_current_metric_value("queue_length", label_config={"instance": "b"}, params={"time": NOW})
    assert found == [{"metric": {"__name__": "queue_length", "instance": "b"}, "value": [NOW, "120"]}]
    assert client.custom_query("sum(queue_length)", params={"time": NOW}) == [{"metric": {}, "value": [NOW, "140"]}]


def test_it_asks_for_ranges(client: Any) -> None:
    start, end = datetime.fromtimestamp(NOW - 60), datetime.fromtimestamp(NOW)
    found = client.custom_query_range('queue_length{instance="a"}', start, end, "15s")
    assert [value for _, value in found[0]["values"]] == ["16", "17", "18", "19", "20"]
    told = client.get_metric_aggregation("queue_length", ["max", "average"], start, end, "15s")
    assert told == {"max": 120.0, "average": pytest.approx(68.0)}
    chunks = client.get_metric_range_data(
        "queue_length", {"instance": "a"}, datetime.fromtimestamp(NOW - 45), end, chunk_size=timedelta(seconds=30)
    )
    assert sum(len(chunk["values"]) for chunk in chunks) >= 3


def test_it_lists_targets_and_metadata(client: Any) -> None:
    targets = client.get_targets()
    assert [target["labels"]["job"] for target in targets["activeTargets"]] == ["controlplane"]
    assert client.get_targets(state="dropped")["activeTargets"] == []
    assert client.get_scrape_pools() == ["controlplane"]
    assert client.get_metric_metadata("queue_length") == [
        {"metric_name": "queue_length", "type": "gauge", "help": "Requests that wait.", "unit": ""}
    ]
    told = client.get_target_metadata(target={"job": "controlplane"}, metric="controlplane_store_series")
    assert [one["type"] for one in told] == ["gauge"]


def test_it_is_told_what_is_wrong(client: Any) -> None:
    with pytest.raises(PrometheusApiClientException, match=re.escape('HTTP Status Code 400 (b\'{"status":"error"')):
        client.custom_query("sum(")
