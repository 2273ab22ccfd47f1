"""The embedded metrics across restarts: what is there again, and from when on rules may trust it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alerts.lookback import MAX_S
from collectors.samples import Layout, Series
from controlplane.app.embedded import FOLDER, GAP_S, Embedded
from controlplane.config.model import Metrics
from controlplane.metrics.storage.errors import StorageLocked
from controlplane.metrics.workers.report import QueryReport

START = 1_800_000_000.0
LAYOUT = Layout((Series("a", (("job", "x"),)), Series("b", ())))


class Clock:
    def __init__(self, at: float = START) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


def write(embedded: Embedded, clock: Clock, rows: int) -> None:
    for n in range(rows):
        embedded.store.append("t", LAYOUT, round(clock.at * 1000), np.array([n, -n], dtype=np.float64))
        clock.at += 15


async def test_samples_are_there_again_and_queries_in_both_processes_see_them(tmp_path: Path) -> None:
    clock = Clock()
    first = Embedded.open(Metrics(), tmp_path, clock)
    assert first.since == START
    write(first, clock, 30)
    await first.tidy_up()
    assert first.report().disk_bytes > 0
    await first.close()

    second = Embedded.open(Metrics(), tmp_path, clock)
    try:
        assert second.store.stats().series == 2
        assert (await second.querier.instant("count_over_time(a[1h])", clock.at))[0].value == 30
        answer = await second.querier.instant_json("sum_over_time(b[1h])", clock.at)
        assert json.loads(answer.data)["result"][0]["value"][1] == "-435"
        write(second, clock, 1)
        answer = await second.querier.instant_json("count_over_time(a[1h])", clock.at)
        assert json.loads(answer.data)["result"][0]["value"][1] == "31"
    finally:
        await second.close()
    assert second.querier.report() == QueryReport()


async def restarted(folder: Path, clock: Clock, pause_s: float) -> Embedded:
    embedded = Embedded.open(Metrics(), folder, clock)
    write(embedded, clock, 30)
    await embedded.close()
    clock.at += pause_s
    return Embedded.open(Metrics(), folder, clock)


async def test_rules_may_trust_the_past_after_a_short_pause(tmp_path: Path) -> None:
    clock = Clock()
    second = await restarted(tmp_path, clock, GAP_S - 20)
    # 30 rows and the pause are not yet as long as rules are waited for: what counts is the first row.
    assert second.since == START
    await second.close()


async def test_a_long_pause_hides_the_past_until_rules_have_seen_enough(tmp_path: Path) -> None:
    clock = Clock()
    second = await restarted(tmp_path, clock, GAP_S + 20)
    back = clock.at
    assert second.since == back
    await second.close()
    third = await restarted(tmp_path, clock, 15)
    # The short pause of now does not hide the long one before it.
    assert third.since == back
    await third.close()


async def test_with_enough_of_the_past_nothing_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(), tmp_path, clock)
    write(embedded, clock, 100)
    await embedded.close()
    second = Embedded.open(Metrics(), tmp_path, clock)
    assert second.since == clock.at - MAX_S - GAP_S
    await second.close()


async def test_two_control_planes_never_share_a_folder(tmp_path: Path) -> None:
    first = Embedded.open(Metrics(), tmp_path, Clock())
    with pytest.raises(StorageLocked, match="give this one another --data-dir"):
        Embedded.open(Metrics(), tmp_path, Clock())
    await first.close()
    await Embedded.open(Metrics(), tmp_path, Clock()).close()
    assert (tmp_path / FOLDER).stat().st_mode & 0o077 == 0


async def test_limits_of_the_configuration_hold(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(max_series_per_target=1, retention="1m"), tmp_path, clock)
    write(embedded, clock, 1)
    assert embedded.store.refused() == {"t": 1}
    clock.at += 3600
    await embedded.tidy_up()
    assert embedded.store.stats().series == 0
    await embedded.close()


async def test_where_another_server_answers_little_is_kept_here(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(query_url="http://prometheus:9090"), tmp_path, clock)
    write(embedded, clock, 1)
    clock.at += 2 * 3600
    await embedded.tidy_up()
    assert embedded.store.stats().series == 0
    await embedded.close()
