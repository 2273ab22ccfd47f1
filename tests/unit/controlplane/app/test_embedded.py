"""The embedded metrics across restarts: what is there again, and from when on rules may trust it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alerts.lookback import MAX_S
from collectors.samples import Layout, Series
from controlplane.app.embedded import FOLDER, GAP_S, KEEP_S, Embedded
from controlplane.config.model import Metrics
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.storage.errors import StorageLocked
from controlplane.pools import ThreadPool
from tests.fakes.machine_clock import Machine

FILES = ThreadPool("files", 1)

START = 1_800_000_000.0
LAYOUT = Layout((Series("a", (("job", "x"),)), Series("b", ())))


class Clock(Machine):
    def __init__(self) -> None:
        super().__init__(START)

    @property
    def at(self) -> float:
        return self.now()

    @at.setter
    def at(self, moment: float) -> None:
        self.elapsed += moment - self.now()


def write(embedded: Embedded, clock: Clock, rows: int) -> None:
    for n in range(rows):
        embedded.store.append("t", LAYOUT, round(clock.at * 1000), np.array([n, -n], dtype=np.float64))
        clock.at += 15


async def test_samples_are_there_again_and_queries_in_both_processes_see_them(tmp_path: Path) -> None:
    clock = Clock()
    first = Embedded.open(Metrics(), tmp_path, clock.clock)
    assert first.since == START
    write(first, clock, 30)
    await first.tidy_up(FILES)
    assert first.report().disk_bytes > 0
    await first.close()

    second = Embedded.open(Metrics(), tmp_path, clock.clock)
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
    embedded = Embedded.open(Metrics(), folder, clock.clock)
    write(embedded, clock, 30)
    await embedded.close()
    clock.at += pause_s
    return Embedded.open(Metrics(), folder, clock.clock)


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
    embedded = Embedded.open(Metrics(), tmp_path, clock.clock)
    write(embedded, clock, 100)
    await embedded.close()
    second = Embedded.open(Metrics(), tmp_path, clock.clock)
    assert second.since == clock.at - MAX_S - GAP_S
    await second.close()


async def test_two_control_planes_never_share_a_folder(tmp_path: Path) -> None:
    first = Embedded.open(Metrics(), tmp_path, Clock().clock)
    with pytest.raises(StorageLocked, match="give this one another --data-dir"):
        Embedded.open(Metrics(), tmp_path, Clock().clock)
    await first.close()
    await Embedded.open(Metrics(), tmp_path, Clock().clock).close()
    assert (tmp_path / FOLDER).stat().st_mode & 0o077 == 0


async def test_limits_of_the_configuration_hold(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(max_series_per_target=1, retention="1m"), tmp_path, clock.clock)
    write(embedded, clock, 1)
    assert embedded.store.refused() == {"t": 1}
    clock.at += 3600
    await embedded.tidy_up(FILES)
    assert embedded.store.stats().series == 0
    await embedded.close()


async def test_where_another_server_answers_little_is_kept_here(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(query_url="http://prometheus:9090"), tmp_path, clock.clock)
    write(embedded, clock, 1)
    clock.at += 2 * 3600
    await embedded.tidy_up(FILES)
    assert embedded.store.stats().series == 0
    await embedded.close()


def step(embedded: Embedded, clock: Clock, by_s: float) -> None:
    clock.set(by_s)
    assert clock.clock.adopt()
    embedded.clock_was_set(by_s)


async def test_a_date_that_was_set_wrongly_costs_no_history(tmp_path: Path) -> None:
    clock = Clock()
    embedded = Embedded.open(Metrics(retention="1h"), tmp_path, clock.clock)
    write(embedded, clock, 100)
    years = 10 * 365 * 86400.0
    step(embedded, clock, years)
    write(embedded, clock, 3)
    clock.at += 1200
    await embedded.tidy_up(FILES)
    step(embedded, clock, -years)
    write(embedded, clock, 1)
    await embedded.tidy_up(FILES)
    assert (await embedded.querier.instant("count_over_time(a[50m])", clock.at))[0].value == 101
    # Believed for an hour, the new date counts.
    step(embedded, clock, years)
    clock.at += KEEP_S + 1
    write(embedded, clock, 1)
    await embedded.tidy_up(FILES)
    assert embedded.store.stats().oldest_ms == round((clock.at - 15) * 1000)
    await embedded.close()


async def test_a_start_with_an_earlier_clock_goes_on_from_there(tmp_path: Path) -> None:
    clock = Clock()
    first = Embedded.open(Metrics(), tmp_path, clock.clock)
    write(first, clock, 100)
    assert first.ahead_s == 0  # there was nothing
    await first.close()
    clock.set(-600)
    clock.restart()
    second = Embedded.open(Metrics(), tmp_path, clock.clock)
    assert second.ahead_s == 585
    assert second.since == clock.at  # what lies right before is hidden: rules wait for new samples
    write(second, clock, 3)
    assert [v.value for v in await second.querier.instant("a", clock.at)] == [2]
    assert [v.value for v in await second.querier.instant("resets(a[2m])", clock.at)] == [0]
    await second.close()
    third = Embedded.open(Metrics(), tmp_path, clock.clock)
    assert third.ahead_s == -15  # once is enough
    await third.close()


async def test_a_writer_whose_clock_is_ahead_is_no_step_of_this_one(tmp_path: Path) -> None:
    clock = Clock()
    first = Embedded.open(Metrics(), tmp_path, clock.clock)
    write(first, clock, 10)
    first.store.append("write:1", Layout((Series("w", ()),)), round((clock.at + 590) * 1000), np.array([1.0]))
    await first.close()
    second = Embedded.open(Metrics(), tmp_path, clock.clock)
    assert second.ahead_s == -15
    assert [v.value for v in await second.querier.instant("a", clock.at)] == [9]
    await second.close()
