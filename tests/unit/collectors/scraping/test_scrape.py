"""ScrapeManager on a virtual clock: times of scrapes, rows in the sink, health of targets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import ScrapeTimeout, UnexpectedStatus
from collectors.exposition.parser import Limits, Parsed
from collectors.samples import FloatArray, Layout, Picked, Series, View, labels_of
from collectors.scraping.report import report_key
from collectors.scraping.scrape import ScrapeManager
from collectors.scraping.ticks import SLOTS, hashed_offset, next_tick
from collectors.target import Lack, Source, SourceRecipe, Target, TargetHealth
from tests.fakes.recipes import MadeBy
from tests.fakes.scrape_once import scrape_once

T0 = 1_700_000_000.0
A = Target("vllm", "http://a:1/metrics", "vllm", "a:1", labels=(("model", "chat"),), interval_s=10, timeout_s=5)
B = Target("triton", "http://b:1/metrics", "triton", "b:1", interval_s=10, timeout_s=5)
EXPECTED = ("llm_requests_total", "llm_tokens_total")
REPORT_LABELS = (("instance", "a:1"), ("job", "vllm"), ("model", "chat"))


class VirtualTime:
    """A clock that stands still until a test advances it. Sleepers wake in the order of their times."""

    def __init__(self) -> None:
        self.time = T0
        self.set_by = 0.0
        """Seconds by which the clock was set. It does not change when sleepers wake."""
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time + self.set_by

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, future))
        await future

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def to(self, second: float) -> None:
        """Advance to T0 + `second`, stopping at each sleeper's time on the way."""
        await self.settle()
        while due := sorted((s for s in self._sleepers if s[0] <= T0 + second), key=lambda s: s[0]):
            self._sleepers.remove(due[0])
            self.time = max(self.time, due[0][0])
            if not due[0][1].done():
                due[0][1].set_result(None)
            await self.settle()
        self.time = T0 + second


@dataclass
class RecordingSink:
    """A SampleSink that keeps rows and ends. Times are seconds after T0."""

    rows: list[tuple[str, float, dict[Series, float]]] = field(default_factory=list)
    ends: list[tuple[str, float]] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    broken: bool = False

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        if self.broken:
            raise RuntimeError("the sink is broken")
        self.rows.append((source, timestamp_ms / 1000 - T0, dict(zip(layout.raw, values.tolist(), strict=True))))
        self.layouts.append(layout)

    def end(self, source: str, timestamp_ms: int) -> None:
        self.ends.append((source, timestamp_ms / 1000 - T0))

    def of(self, source: str) -> list[tuple[float, dict[str, float]]]:
        return [(at, {s.name: v for s, v in row.items()}) for name, at, row in self.rows if name == source]

    def up(self, target: Target) -> list[tuple[float, float]]:
        return [(at, row["up"]) for at, row in self.of(report_key(target))]


class ScriptedSource:
    """A Source that answers from a list. The last answer repeats; exceptions are raised; futures are awaited."""

    def __init__(self, answers: Iterable[bytes | BaseException | asyncio.Future[bytes]]) -> None:
        self.answers = list(answers)
        self.reads: list[float] = []
        self.closed = False

    async def read(self, timeout_s: float) -> bytes:
        self.reads.append(timeout_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, bytes) else await answer

    async def close(self) -> None:
        self.closed = True


def present(metric: str) -> Series:
    return Series("collector_metric_present", labels_of({**dict(REPORT_LABELS), "metric": metric}))


def plain_layout(_target: Target, parsed: Parsed) -> Layout:
    return Layout(parsed.series, metadata=parsed.metadata)


class Bench:
    """A manager with scripted sources. It ticks at full intervals after T0."""

    def __init__(self, builder: Callable[[Target, Parsed], Layout] = plain_layout) -> None:
        self.time, self.sink = VirtualTime(), RecordingSink()
        self.sources: dict[str, ScriptedSource] = {}
        self.made: list[Target] = []
        self.manager = ScrapeManager(
            self.sink,
            partial(MadeBy, self.source),
            builder,
            self.time,
            Limits(max_samples=10_000),
            find_lack=lambda target, layout: (
                Lack(expected=EXPECTED) if len(layout.raw) > 1 else Lack(EXPECTED[:1], "answers", EXPECTED)
            ),
            offset=lambda _: 0.0,
            sleep=self.time.sleep,
            monotonic=lambda: 0.25,
        )

    def source(self, target: Target) -> Source:
        self.made.append(target)
        return self.sources[target.url]

    def script(self, target: Target, *answers: bytes | BaseException | asyncio.Future[bytes]) -> ScriptedSource:
        self.sources[target.url] = ScriptedSource(answers)
        return self.sources[target.url]

    def health(self, target: Target) -> TargetHealth:
        return next(h for h in self.manager.health() if h.target == target)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_scrape_lands_with_its_report(bench: Bench) -> None:
    bench.script(A, b"a 1\nb 2\n")
    health = await scrape_once(bench.manager, A)
    assert bench.sink.of(A.key) == [(0.0, {"a": 1.0, "b": 2.0})]
    assert bench.sink.rows[1] == (
        "vllm/a:1/http://a:1/metrics#report",
        0.0,
        {
            Series("up", REPORT_LABELS): 1.0,
            Series("scrape_duration_seconds", REPORT_LABELS): 0.0,
            Series("scrape_samples_scraped", REPORT_LABELS): 2.0,
            Series("scrape_samples_post_metric_relabeling", REPORT_LABELS): 2.0,
            Series("scrape_series_added", REPORT_LABELS): 2.0,
            Series("scrape_body_size_bytes", REPORT_LABELS): 8.0,
            **{present(metric): 1.0 for metric in EXPECTED},
        },
    )
    of_its_kind = labels_of({**dict(REPORT_LABELS), "engine": "vllm"})
    assert bench.sink.layouts[1].views == (View(Series("target_up", of_its_kind), (0,)),)
    assert bench.sink.layouts[1].metadata["up"].type == "gauge"
    assert health == TargetHealth(A, "up", last_scrape_at=T0, last_good_at=T0, duration_s=0.0, samples=2, since=T0)
    assert bench.sources[A.url].reads == [5]


async def test_which_expected_metrics_a_target_has_is_known_from_its_last_good_scrape(bench: Bench) -> None:
    bench.script(A, UnexpectedStatus(503), b"a 1\nb 1\n", b"a 1\n", UnexpectedStatus(503), b"a 1\nb 1\n")
    await bench.manager.apply([A])
    await bench.time.to(50.5)
    await bench.manager.close()
    reports = [row for source, _, row in bench.sink.rows if source == report_key(A)]
    assert [[row.get(present(metric)) for metric in EXPECTED] for row in reports] == [
        [None, None],
        [1.0, 1.0],
        [0.0, 1.0],
        [0.0, 1.0],
        [1.0, 1.0],
    ]


async def test_targets_are_scraped_at_their_ticks_with_the_scheduled_time(bench: Bench) -> None:
    bench.script(A, b"a 1\n", b"a 2\n", b"a 3\n")
    await bench.manager.apply([A])
    assert bench.health(A) == TargetHealth(A)  # unknown before the first scrape
    await bench.time.to(30.5)
    await bench.manager.close()
    assert bench.sink.of(A.key) == [(10.0, {"a": 1.0}), (20.0, {"a": 2.0}), (30.0, {"a": 3.0})]
    assert bench.sources[A.url].closed
    assert bench.sink.ends == []  # the end of the control plane says nothing about the targets


async def test_equal_bodies_share_one_layout(bench: Bench) -> None:
    bench.script(A, b"a 1\n", b"a 2\n", b"a 2\nb 1\nc 1\n", b"a 2\n")
    for at in range(4):
        await scrape_once(bench.manager, A, T0 + at)
    raw, report = bench.sink.layouts[::2], bench.sink.layouts[1::2]
    assert raw[0] is raw[1]
    assert len({id(layout) for layout in report}) == 1
    assert [row["scrape_series_added"] for _, row in bench.sink.of(report_key(A))] == [1.0, 0.0, 2.0, 0.0]
    assert bench.health(A).missing == ("llm_requests_total",)


async def test_a_failure_is_up_0_and_ends_the_series_once(bench: Bench) -> None:
    bench.script(A, b"a 1\n", UnexpectedStatus("answered 500"), ScrapeTimeout("timed out"), b"a 2\n", b"a{ 1\n")
    for at in range(5):
        await scrape_once(bench.manager, A, T0 + at)
        if at == 2:
            assert bench.health(A) == TargetHealth(
                A,
                "down",
                "timed out",
                "timeout",
                last_scrape_at=T0 + 2,
                last_good_at=T0,
                duration_s=0.0,
                since=T0 + 1,
            )
    assert bench.sink.of(A.key) == [(0.0, {"a": 1.0}), (3.0, {"a": 2.0})]
    assert bench.sink.ends == [(A.key, 1.0), (A.key, 4.0)]
    assert bench.sink.up(A) == [(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0), (4.0, 0.0)]
    assert bench.sink.of(report_key(A))[4][1]["scrape_body_size_bytes"] == 5.0
    assert bench.health(A).last_error == "line 1: expected a label, got ' 1'"
    assert bench.manager.counters.scrapes == 5
    assert bench.manager.counters.failures == {"status": 1, "timeout": 1, "malformed": 1}


async def test_how_long_a_target_has_been_as_it_is_outlasts_a_clock_that_is_set(bench: Bench) -> None:
    bench.script(A, b"a 1\n")
    await scrape_once(bench.manager, A, T0)
    bench.manager.clock_was_set(-3600.0)
    health = bench.health(A)
    assert (health.since, health.last_scrape_at) == (T0 - 3600, T0 - 3600)
    assert health.known_since is not None
    assert health.known_since <= T0 - 3600 + bench.time.now() - T0


async def test_how_long_a_target_has_been_as_it_is(bench: Bench) -> None:
    gone = UnexpectedStatus("answered 500")
    bench.script(
        A, b"a 1\nb 1\n", gone, gone, b"a 1\nb 1\n", b"a 1\nb 1\n", b"a 1\n", b"a 1\nb 1\n", b"", b"a 1\nb 1\n"
    )
    seen = []
    for at in range(9):
        health = await scrape_once(bench.manager, A, T0 + at)
        assert health.since is not None
        seen.append((health.health, health.since - T0, health.recovered))
    assert seen == [
        ("up", 0, False),
        ("down", 1, False),
        ("down", 1, False),
        ("up", 3, True),
        ("up", 3, True),
        ("up", 5, False),  # without the metrics that it should have
        ("up", 6, True),
        ("up", 7, False),  # without a single sample
        ("up", 8, True),
    ]


async def test_samples_that_no_database_stores_are_left_out_counted_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.script(A, b'a 1\nb{x="\0"} 1\nc 1\nd{x="\0"} 1\n', b'a 1\nb{x="\0"} 1\nc 2\nd{x="\0"} 1\n', b"a 1\n")
    left_out = [(await scrape_once(bench.manager, A, T0 + at)).unstorable for at in range(3)]
    assert left_out == [2, 2, 0]
    assert bench.sink.of(A.key)[:2] == [(0.0, {"a": 1.0, "c": 1.0}), (1.0, {"a": 1.0, "c": 2.0})]
    assert bench.manager.counters.unstorable_samples == 4
    said = [r.getMessage() for r in caplog.records if "NUL" in r.getMessage()]
    assert said == ["target vllm/a:1: line 2 holds a NUL, which no database stores: it is left out, with 1 more"]


async def test_a_target_that_never_answered_has_nothing_to_end(bench: Bench) -> None:
    bench.script(A, UnexpectedStatus("answered 500"))
    await scrape_once(bench.manager, A)
    assert bench.sink.ends == []
    assert bench.sink.up(A) == [(0.0, 0.0)]


async def test_a_target_that_is_gone_is_ended_and_the_others_go_on(bench: Bench) -> None:
    for target in (A, B):
        bench.script(target, b"a 1\n")
    await bench.manager.apply([A, B])
    await bench.time.to(12)
    await bench.manager.apply([B])
    await bench.time.to(25)
    assert bench.sink.ends == [(A.key, 12.0), (report_key(A), 12.0)]
    assert bench.sink.up(A) == [(10.0, 1.0)]
    assert bench.sink.up(B) == [(10.0, 1.0), (20.0, 1.0)]
    assert bench.sources[A.url].closed
    assert bench.made == [A, B]  # B was left as it was
    assert [h.target for h in bench.manager.health()] == [B]
    await bench.manager.close()


async def test_a_target_that_changed_starts_anew_and_its_series_go_on(bench: Bench) -> None:
    bench.script(A, b"a 1\n", UnexpectedStatus("answered 500"))
    await bench.manager.apply([A, A])
    await bench.time.to(12)
    faster = replace(A, interval_s=5)
    await bench.manager.apply([faster])
    assert bench.sink.ends == []
    assert bench.health(faster).health == "unknown"
    await bench.time.to(16)
    assert bench.sink.up(A) == [(10.0, 1.0), (15.0, 0.0)]
    assert bench.sink.ends == [(A.key, 15.0)]  # series from before the change end with the first failure
    assert bench.made == [A, faster]
    await bench.manager.close()


async def test_a_tick_during_a_long_scrape_is_skipped_not_queued(bench: Bench) -> None:
    slow: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    bench.script(A, slow, b"a 2\n")
    bench.script(B, b"b 1\n")
    await bench.manager.apply([A, B])
    await bench.time.to(34)
    assert bench.sink.up(A) == []
    assert bench.sink.up(B) == [(10.0, 1.0), (20.0, 1.0), (30.0, 1.0)]  # a hanging target delays no other
    slow.set_result(b"a 1\n")
    await bench.time.to(45)
    assert bench.sink.of(A.key) == [(10.0, {"a": 1.0}), (40.0, {"a": 2.0})]
    assert bench.manager.counters.skipped_ticks == 2
    await bench.manager.close()


async def test_a_wake_up_far_too_late_is_no_scrape_of_that_time(bench: Bench) -> None:
    bench.script(A, b"a 1\n")
    await bench.manager.apply([A])
    await bench.time.settle()
    bench.time.time = T0 + 3605  # suspended over the tick at 10
    await bench.time.to(3605)
    assert bench.sink.rows == []
    await bench.time.to(3611)
    assert bench.sink.up(A) == [(3610.0, 1.0)]
    assert bench.manager.counters.skipped_ticks == 360
    await bench.manager.close()


@pytest.mark.parametrize("by", [1.0, -1.0, 30.0, -30.0, 300.0, -300.0, 3600.0, -3600.0])
async def test_a_clock_that_is_set_hurries_no_scrape_and_puts_none_off(bench: Bench, by: float) -> None:
    bench.script(A, b"a 1\n")
    await bench.manager.apply([A])
    await bench.time.to(25)
    bench.time.set_by = by
    bench.manager.clock_was_set(by)
    await bench.time.to(58)
    # The tick due at 30 comes then, although the clock was set. The next ticks are at multiples of ten of the new time.
    extra = [30.0] if by == -1.0 else []
    since = [30 + by, *extra, *((40.0, 50.0) if abs(by) == 1.0 else (40 + by, 50 + by))]
    assert [at for at, _ in bench.sink.up(A)] == [10.0, 20.0, *since]
    assert bench.manager.counters.skipped_ticks == 0
    await bench.manager.close()


@pytest.mark.parametrize("by", [-300.0, 300.0])
async def test_what_is_read_while_the_clock_is_set_belongs_to_the_new_time(bench: Bench, by: float) -> None:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    bench.script(A, answer)
    await bench.manager.apply([A])
    await bench.time.to(12)
    bench.time.set_by = by
    bench.manager.clock_was_set(by)
    answer.set_result(b"a 1\n")
    await bench.time.settle()
    assert bench.sink.of(A.key) == [(10.0 + by, {"a": 1.0})]
    assert bench.sink.up(A) == [(10.0 + by, 1.0)]
    assert bench.health(A).last_scrape_at == T0 + 10 + by
    await bench.manager.close()


async def test_a_hanging_source_is_cut_off_and_a_scrape_under_way_can_be_stopped(bench: Bench) -> None:
    hangs = replace(A, timeout_s=-0.9)  # cut off a second after its deadline: 0.1 s from now
    bench.script(hangs, asyncio.get_running_loop().create_future())
    health = await scrape_once(bench.manager, hangs)
    assert (health.health, health.last_error_reason) == ("down", "timeout")
    bench.script(B, asyncio.get_running_loop().create_future())
    await bench.manager.apply([B])
    await bench.time.to(11)
    await bench.manager.apply([])
    assert bench.sink.up(B) == []
    assert bench.sources[B.url].closed


async def test_a_bug_keeps_the_loop_alive_and_does_not_look_like_life(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def builder(target: Target, parsed: Parsed) -> Layout:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise KeyError("mapping")
        return plain_layout(target, parsed)

    bench = Bench(builder)
    bench.script(A, b"a 1\n", b"b 1\n", b"b 1\n", b"b 1\n")
    await bench.manager.apply([A])
    await bench.time.to(35)
    assert bench.sink.up(A) == [(10.0, 1.0), (20.0, 0.0), (30.0, 0.0)]
    assert bench.sink.ends == [(A.key, 20.0)]
    assert bench.health(A).last_error == "internal error, see the log of the control plane"
    assert bench.health(A).last_error_reason == "internal"
    await bench.time.to(45)
    assert bench.sink.up(A)[-1] == (40.0, 1.0)
    assert bench.manager.counters.failures == {"internal": 2}
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["target vllm/a:1: internal error (KeyError); logged once"]
    await bench.manager.close()


async def test_a_target_whose_source_cannot_be_made_is_down_and_the_others_go_on(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recipe_of(target: Target) -> SourceRecipe:
        if target == A:
            raise KeyError("vllm/a:1")
        return MadeBy(bench.source, target)

    monkeypatch.setattr(bench.manager, "_recipe_of", recipe_of)
    bench.script(B, b"b 1\n")
    for second in (15, 35):
        await bench.manager.apply([A, B])  # as every look at the lists of targets does
        await bench.time.to(second)
    assert bench.sink.up(A) == [(10.0, 0.0), (20.0, 0.0), (30.0, 0.0)]
    assert bench.sink.up(B) == [(10.0, 1.0), (20.0, 1.0), (30.0, 1.0)]
    assert "internal error (KeyError: 'vllm/a:1')" in str(bench.health(A).last_error)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["target vllm/a:1: no source can be made: internal error (KeyError: 'vllm/a:1')"]
    await bench.manager.close()


async def test_a_broken_sink_or_factory_is_survived_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    health = await scrape_once(bench.manager, B)  # no source is scripted: the factory raises KeyError
    assert (health.health, health.last_error_reason) == ("down", "internal")
    bench.script(A, b"a 1\n")
    bench.sink.broken = True
    await scrape_once(bench.manager, A)
    bench.sink.broken = False
    assert (await scrape_once(bench.manager, A, T0 + 1)).health == "up"
    assert bench.manager.counters.failures == {"internal": 2}


async def test_repeated_series_are_counted_and_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.script(A, b"a 1\na 2\na 3\n")
    for at in range(3):
        await scrape_once(bench.manager, A, T0 + at)
    assert bench.manager.counters.duplicate_samples == 6
    assert bench.sink.of(A.key)[0] == (0.0, {"a": 1.0})
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "target vllm/a:1: repeats series on 2 lines; the first counts"
    ]


async def test_what_relabelling_leaves_is_counted_and_what_it_makes_equal_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build(_target: Target, parsed: Parsed) -> Layout:
        """Drop `b`, and store `a` once: three samples are left of four, of two series."""
        kept = (parsed.series[0], parsed.series[3])
        return Layout(kept, picked=Picked(np.array([0, 3], np.int32), 3))

    bench = Bench(build)
    bench.script(A, b'a{x="1"} 1\na{x="2"} 2\nb 3\nc 4\n', b'a{x="1"} 5\na{x="2"} 6\nb 7\nc 8\n')
    health = [await scrape_once(bench.manager, A, T0 + at) for at in range(2)]
    assert [row for _, row in bench.sink.of(A.key)] == [{"a": 1.0, "c": 4.0}, {"a": 5.0, "c": 8.0}]
    for _, report in bench.sink.of(report_key(A)):
        assert (report["scrape_samples_scraped"], report["scrape_samples_post_metric_relabeling"]) == (4.0, 3.0)
    assert [(h.samples, h.duplicates) for h in health] == [(2, 1), (2, 1)]
    assert bench.manager.counters.duplicate_samples == 2
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "target vllm/a:1: metric_relabel_configs make 1 series equal to others of the target; the first counts"
    ]


async def test_more_samples_than_the_limit_of_the_job_fail_the_scrape(bench: Bench) -> None:
    limited = replace(A, sample_limit=2)
    bench.script(A, b"a 1\nb 2\n", b"a 1\nb 2\nc 3\n")
    health = [await scrape_once(bench.manager, limited, T0 + at) for at in range(2)]
    assert [(h.health, h.last_error_reason) for h in health] == [("up", ""), ("down", "too-large")]
    assert health[1].last_error == "3 samples after metric_relabel_configs, more than the sample_limit of the job"


async def test_a_large_body_is_parsed_off_the_loop_with_the_same_result(bench: Bench) -> None:
    body = b"".join(b'tokens_total{request="%030d"} %d\n' % (i, i) for i in range(6000))
    assert len(body) > 256 * 1024
    bench.script(A, body)
    for at in range(2):
        assert (await scrape_once(bench.manager, A, T0 + at)).samples == 6000
    assert bench.sink.layouts[0] is bench.sink.layouts[2]
    bench.script(B, body * 2)
    assert (await scrape_once(bench.manager, B)).last_error_reason == "too-large"


async def test_a_source_that_does_not_close_is_logged_without_its_url(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bench.script(A, b"a 1\n")

    async def fail() -> None:
        raise RuntimeError("token=secret")

    monkeypatch.setattr(source, "close", fail)
    await scrape_once(bench.manager, A)
    await bench.manager.apply([])
    assert caplog.records[-1].getMessage() == "target vllm/a:1: its source did not close: RuntimeError"
    assert bench.manager.health() == []


def test_offsets_spread_targets_and_are_stable() -> None:
    targets = [replace(A, instance=f"a:{port}") for port in range(1000)]
    offsets = [hashed_offset(target) for target in targets]
    assert offsets == [hashed_offset(target) for target in targets]
    assert hashed_offset(A) == 1.25  # the same after every restart
    assert set(offsets) == {round(slot / SLOTS * 10, 3) for slot in range(SLOTS)}
    assert all(40 < offsets.count(slot) < 100 for slot in set(offsets))


@pytest.mark.parametrize(
    ("now", "last", "tick"),
    [
        (100.0, None, 103.0),
        (103.0, None, 113.0),
        (102.9, 103.0, 113.0),  # woken early: not the same tick again
        (103.5, 103.0, 113.0),
        (145.0, 103.0, 153.0),  # late: the missed ones are skipped
        (50.0, 103.0, 53.0),  # the clock was set back: no waiting for the old time
    ],
)
def test_the_next_tick(now: float, last: float | None, tick: float) -> None:
    assert next_tick(now, last, 10.0, 3.0) == tick


@given(
    st.floats(1.6e9, 2e9), st.sampled_from([0.1, 0.3, 1.0, 5.0, 15.0, 60.0]), st.integers(0, 59_999), st.integers(1, 20)
)
def test_ticks_ascend_by_exactly_one_interval(start: float, interval: float, offset_ms: int, count: int) -> None:
    offset = offset_ms / 1000 % interval
    tick = next_tick(start, None, interval, offset)
    assert start < tick <= start + interval + 1e-6
    for _ in range(count):
        after = next_tick(tick, tick, interval, offset)
        assert after - tick == pytest.approx(interval, abs=1e-6)
        tick = after
