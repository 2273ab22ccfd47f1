"""What fleet.yaml's `metrics:` becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from controlplane.app.metrics_elsewhere import left_queues, remote_querier
from controlplane.config.loader import LoadedFleet

Write = Callable[[str], LoadedFleet]


def test_without_an_address_nobody_else_is_asked_or_fed(fleet: Write, tmp_path: Path) -> None:
    metrics = fleet("").fleet.metrics
    assert remote_querier(metrics) is None


def test_a_queue_that_nobody_empties_any_more_is_named(fleet: Write, tmp_path: Path) -> None:
    metrics = fleet("metrics: {remote_write: [{url: 'http://m/a'}, {url: 'http://n', name: n}]}\n").fleet.metrics
    assert left_queues(metrics.remote_write, tmp_path) == []
    for name in ("m%2Fa", "n", "old"):
        (tmp_path / "remote-write" / name).mkdir(parents=True)
    folder = tmp_path / "remote-write" / "old"
    assert left_queues(metrics.remote_write, tmp_path) == [
        f"{folder}: samples for a remote_write endpoint that fleet.yaml no longer has; delete the folder"
    ]
