"""Written samples as timelines: what is stored, what is refused and in which words."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.samples import Layout, Metadata, Series
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Matrix
from controlplane.metrics.series.series_store import SeriesStore, StoreLimits
from controlplane.metrics.write.ingest import AHEAD_MS, REFUSALS, SLICE, Ingest, WriteReport
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, decode, encode
from tests.unit.controlplane.metrics.answers import as_vector

NOW = 1_800_000_000.0
NOW_MS = int(NOW * 1000)
RETENTION_S = 3600.0
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]


class Clock:
    time = NOW

    def now(self) -> float:
        return self.time


class Rig:
    def __init__(self, max_series: int = 100, limits: StoreLimits | None = None) -> None:
        self.clock = Clock()
        self.store = SeriesStore(RETENTION_S, limits)
        self.max_series = max_series
        self.restart()

    def restart(self) -> None:
        """A new process over what the store kept."""
        self.ingest = Ingest(self.store, self.clock, RETENTION_S, self.max_series)

    async def write(self, *series: tuple[dict[str, str], Sequence[tuple[float, float]]], **more: Any) -> WriteReport:
        """Write samples given as (seconds from NOW, value)."""
        request = WriteRequest(
            tuple(
                TimeSeries(tuple(sorted(labels.items())), tuple((NOW_MS + round(at * 1000), v) for at, v in samples))
                for labels, samples in series
            ),
            **more,
        )
        return await self.ingest.write(request)

    def samples(self, selector: str) -> list[tuple[float, float]]:
        """Return (seconds from NOW, value) of one series."""
        found = PromqlEngine(self.store).instant(f"{selector}[2h]", NOW + 900)
        assert isinstance(found, Matrix)
        assert len(found.series) <= 1
        return [(at - NOW, v) for s in found.series for at, v in zip(s.times.tolist(), s.values.tolist(), strict=True)]


UP = {"__name__": "up", "job": "a"}


async def test_written_samples_are_there_at_once() -> None:
    rig = Rig()
    report = await rig.write((UP, [(-30, 1.0), (-15, 0.0)]), ({**UP, "job": "b"}, [(-20, 5.0)]))
    assert (report.stored, report.sentence) == (3, "")
    assert rig.samples('up{job="a"}') == [(-30, 1.0), (-15, 0.0)]
    assert rig.samples('up{job="b"}') == [(-20, 5.0)]
    assert rig.ingest.stored == 3


async def test_series_of_one_request_do_not_end_each_other() -> None:
    rig = Rig()
    await rig.write((UP, [(-60, 1.0)]))
    await rig.write(({**UP, "job": "b"}, [(-30, 1.0)]))
    found = PromqlEngine(rig.store).instant("count(up)", NOW)
    assert [s.value for s in as_vector(found).samples] == [2.0]


@pytest.mark.parametrize(
    ("sample", "reason", "words"),
    [
        ((-31, 1.0), "out_of_order", 'out of order sample: {__name__="up", job="a"} at 1799999969000'),
        (
            (-30, 2.0),
            "duplicate",
            "duplicate sample for timestamp 1799999970000; overrides not allowed: existing 1.0, new value 2.0",
        ),
        ((601, 1.0), "out_of_bounds", 'out of bounds: timestamp 1800000601000 of {__name__="up", job="a"} is too far'),
        ((-3601, 1.0), "out_of_bounds", "out of bounds: timestamp 1799996399000 of .* is older than the retention"),
    ],
)
async def test_a_sample_out_of_its_time_is_refused_and_the_others_are_stored(
    sample: tuple[float, float], reason: str, words: str
) -> None:
    rig = Rig()
    await rig.write((UP, [(-30, 1.0)]))
    report = await rig.write((UP, [sample, (-10, 3.0)]), ({**UP, "job": "b"}, [(-10, 4.0)]))
    assert (report.stored, dict(report.refused)) == (2, {reason: 1})
    assert report.sentence.endswith("; 1 of 3 samples were refused, the others are stored")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(report.sentence)
    assert rig.samples('up{job="a"}') == [(-30, 1.0), (-10, 3.0)]
    assert rig.samples('up{job="b"}') == [(-10, 4.0)]
    assert rig.ingest.refused[reason] == 1


async def test_the_edges_of_what_is_in_bounds_are_stored() -> None:
    rig = Rig()
    assert (await rig.write((UP, [(-RETENTION_S, 1.0), (AHEAD_MS / 1000, 2.0)]))).stored == 2


async def test_a_repeated_request_is_taken_in_silence() -> None:
    rig = Rig()
    await rig.write((UP, [(-30, 1.0)]))
    report = await rig.write((UP, [(-30, 1.0)]))
    assert (report.stored, report.repeated, report.sentence) == (0, 1, "")
    assert rig.samples("up") == [(-30, 1.0)]
    report = await rig.write((UP, [(-30, 1.0), (-30, 2.0)]))
    assert report.sentence.endswith("; 1 of 2 samples were refused, the others are stored")
    report = await rig.write((UP, [(-30, 2.0)]))
    assert report.sentence.endswith("; 1 samples were refused, that is all of them")


async def test_values_are_compared_by_their_bits() -> None:
    rig = Rig()
    for value, refused in ((OTHER_NAN, 0), (OTHER_NAN, 0), (STALE, 1), (1.0, 1)):
        report = await rig.write((UP, [(-30, value)]))
        assert report.refused.total() == refused
    await rig.write((UP, [(-20, 0.0)]))
    assert (await rig.write((UP, [(-20, -0.0)]))).refused["duplicate"] == 1


async def test_a_staleness_marker_ends_a_series_and_keeps_its_bits() -> None:
    rig = Rig()
    body = encode(WriteRequest((TimeSeries(tuple(UP.items()), ((NOW_MS - 60_000, 1.0), (NOW_MS - 30_000, STALE))),)))
    assert (await rig.ingest.write(decode(body))).stored == 2
    engine = PromqlEngine(rig.store)
    assert len(as_vector(engine.instant("up", NOW - 31)).samples) == 1
    assert as_vector(engine.instant("up", NOW)).samples == []
    assert rig.samples("up") == [(-60, 1.0)]


async def test_a_restart_goes_on_where_the_store_had_got_to() -> None:
    rig = Rig()
    await rig.write((UP, [(-30, 1.0)]))
    rig.restart()
    report = await rig.write((UP, [(-31, 1.0), (-30, 1.0), (-15, 2.0)]))
    assert (report.stored, dict(report.refused)) == (1, {"out_of_order": 1})
    assert rig.samples("up") == [(-30, 1.0), (-15, 2.0)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((("job", "a"),), 'invalid metric name or labels, got {job="a"}'),
        ((), "invalid metric name or labels, got {}"),
        (
            (("__name__", "up"), ("a", "1"), ("a", "2")),
            'invalid labels for series, labels {__name__="up", a="1", a="2"}, duplicated label a',
        ),
    ],
)
async def test_a_series_with_wrong_labels_is_refused_alone(labels: Any, words: str) -> None:
    rig = Rig()
    good = TimeSeries(tuple(UP.items()), ((NOW_MS, 1.0),))
    report = await rig.ingest.write(
        WriteRequest((TimeSeries(labels, ((NOW_MS - 1, 1.0), (NOW_MS, 1.0))), good)),
    )
    assert (report.stored, report.refused["invalid_labels"]) == (1, 2)
    assert report.sentence == f"{words}; 2 of 3 samples were refused, the others are stored"


async def test_long_labels_are_not_repeated_in_full() -> None:
    report = await Rig().write(({"job": "a" * 4000}, [(0, 1.0)]))
    assert len(report.sentence) < 500


async def test_native_histograms_are_refused_in_words() -> None:
    rig = Rig()
    report = await rig.write((UP, [(0, 1.0)]), histograms=2)
    assert (report.stored, report.refused["histogram"]) == (1, 2)
    assert report.sentence.startswith("native histograms are disabled: 2 samples")


async def test_a_bucket_bound_has_one_spelling() -> None:
    rig = Rig()
    bucket = {"__name__": "h_bucket", "le": "2"}
    await rig.write((bucket, [(-30, 1.0)]), ({"__name__": "s", "quantile": "0.50"}, [(-30, 1.0)]))
    await rig.write(({**bucket, "le": "2.0"}, [(-20, 2.0)]), ({"__name__": "other", "le": "2"}, [(-30, 1.0)]))
    assert rig.samples('h_bucket{le="2.0"}') == [(-30, 1.0), (-20, 2.0)]
    assert rig.samples('s{quantile="0.5"}') == [(-30, 1.0)]
    assert rig.samples('other{le="2"}') == [(-30, 1.0)]
    assert (await rig.write((bucket, [(-25, 3.0)]))).refused["out_of_order"] == 1


async def test_beyond_the_limit_of_series_known_ones_go_on() -> None:
    rig = Rig(max_series=2)
    await rig.write(*(({**UP, "job": job}, [(-30, 1.0)]) for job in "ab"))
    report = await rig.write(*(({**UP, "job": job}, [(-20, 1.0)]) for job in "abc"))
    assert (report.stored, dict(report.refused)) == (2, {"series_limit": 1})
    assert report.sentence.startswith("too many series: 2 are written already")


async def test_series_that_expired_make_room() -> None:
    rig = Rig(max_series=1)
    await rig.write((UP, [(0, 1.0)]))
    rig.clock.time += RETENTION_S + 61
    report = await rig.write(({**UP, "job": "b"}, [(RETENTION_S, 1.0)]))
    assert (report.stored, report.sentence) == (1, "")


async def test_the_stores_own_limit_is_told_too() -> None:
    rig = Rig(limits=StoreLimits(max_series=1))
    report = await rig.write((UP, [(0, 1.0)]), ({**UP, "job": "b"}, [(0, 1.0)]))
    assert (report.stored, dict(report.refused)) == (1, {"series_limit": 1})
    assert "the store holds all that it may" in report.sentence


async def test_type_and_help_are_remembered_and_a_scrapes_word_stays_possible() -> None:
    rig = Rig()
    await rig.write(metadata=(("up", Metadata("gauge", "written")), ("x", Metadata("counter", ""))))
    assert rig.store.metadata() == {"up": Metadata("gauge", "written"), "x": Metadata("counter", "")}


async def test_a_series_that_is_also_scraped_has_the_samples_of_both() -> None:
    rig = Rig()
    layout = Layout((Series("up", (("job", "a"),)),))
    for at in (-60, -30):
        rig.store.append("target", layout, NOW_MS + at * 1000, np.array([1.0]))
    report = await rig.write((UP, [(-60, 5.0), (-45, 6.0), (-15, 7.0)]))
    assert (report.stored, report.sentence) == (3, "")
    samples = rig.samples("up")
    assert samples[1:] == [(-45, 6.0), (-30, 1.0), (-15, 7.0)]
    assert samples[0] in [(-60, 1.0), (-60, 5.0)]
    rig.store.end("target", NOW_MS)
    assert (await rig.write((UP, [(10, 8.0)]))).stored == 1
    assert rig.samples("up")[-1] == (10, 8.0)


async def test_a_large_request_lets_other_work_through() -> None:
    rig = Rig(max_series=5 * SLICE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await rig.write(*(({**UP, "job": str(n)}, [(0, 1.0)]) for n in range(4 * SLICE)))
    counting.cancel()
    assert turns >= 4


async def test_every_reason_is_known_to_the_metrics() -> None:
    assert sorted(REFUSALS) == list(REFUSALS)


NAMES = st.sampled_from(
    [(), (("__name__", "a"),), (("__name__", "b"), ("le", "1")), (("__name__", "b"), ("le", "1.0"))]
)
SAMPLES = st.lists(
    st.tuples(
        st.sampled_from([0, NOW_MS - 2, NOW_MS - 1, NOW_MS, 2**62, -(2**62)]), st.sampled_from([1.0, 2.0, STALE])
    ),
    max_size=4,
)


@given(st.lists(st.lists(st.tuples(NAMES, SAMPLES), max_size=3), max_size=4))
def test_every_sample_is_accounted_for(requests: list[list[tuple[Any, list[tuple[int, float]]]]]) -> None:
    rig = Rig()
    stored = 0
    for series in requests:
        request = WriteRequest(tuple(TimeSeries(labels, tuple(samples)) for labels, samples in series))
        report = asyncio.run(rig.ingest.write(request))
        sent = sum(len(samples) for _, samples in series)
        assert report.stored + report.repeated + report.refused.total() == sent
        assert bool(report.sentence) == bool(report.refused.total())
        assert set(report.refused) <= set(REFUSALS)
        stored += report.stored
    stats = rig.store.stats()
    assert (stats.samples_appended, stats.rows_out_of_order) == (stored, 0)


@pytest.mark.parametrize(("name", "value"), [("model", "a\0b"), ("a\0b", "x"), ("model", "\ud800")])
async def test_a_label_that_no_database_stores_is_refused_by_name_and_the_others_are_stored(
    name: str, value: str
) -> None:
    rig = Rig()
    report = await rig.write(({**UP, name: value}, [(-30, 1.0)]), (UP, [(-30, 2.0)]))
    assert (report.stored, report.refused) == (1, {"invalid_labels": 1})
    assert f"label {name!r} holds a NUL or half of a surrogate pair, which no database stores" in report.first
