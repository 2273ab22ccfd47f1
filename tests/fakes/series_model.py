"""A simple and slow series store: every series is a dictionary of its samples by time. Tests compare with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from collectors.samples import Labels, Layout, Series
from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.series.budget import Budget, EngineLimits
from controlplane.metrics.series.layout_series import with_name
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.samples import SampleSet
from controlplane.metrics.series.store_reader import StoreReader

STALE: float = np.array([STALE_BITS], dtype=np.int64).view(np.float64)[0]
EVERYTHING = (Matcher("__name__", MatchOp.NOT_EQUAL, ""),)


def is_stale(value: float) -> bool:
    return int(np.float64(value).view(np.int64)) == STALE_BITS


@dataclass
class Sample:
    value: float
    end: bool = False
    """Whether this is a staleness marker: the source ended, or its layout changed."""


@dataclass
class Model:
    """The answers that a store should give. Samples of different sources have different times."""

    series: dict[Series, dict[int, Sample]] = field(default_factory=dict)
    """Samples of the current era."""
    layouts: dict[str, Layout | None] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    newest_at: int | None = None
    eras: list[tuple[int, int, dict[Series, dict[int, Sample]]]] = field(default_factory=list)
    """Ended eras: (start of the hidden time, end, samples)."""
    hides_from: int | None = None
    """Time from which on the current era hides earlier eras; None in the first era."""
    absent: set[str] = field(default_factory=set)
    """Sources without a row in this era."""
    here: set[str] = field(default_factory=set)
    """Sources that this process has written to. It keeps their layouts over steps of the clock."""

    def set_clock(self, now: int, hide: int) -> None:
        """Begin an era at `now`: the clock was set. Samples from `hide` before `now` on are hidden."""
        if self.newest_at is None or (self.newest_at < now and self.hides_from is None):
            return
        begins = 10**18 if self.hides_from is None else self.hides_from
        self.eras.append((begins, self.newest_at, self.series))
        self.series, self.hides_from = {}, now - hide
        self.newest_at = min(self.newest_at, now - 1)
        self.last = {source: min(at, now - 1) for source, at in self.last.items()}
        self.absent = set(self.last)
        self.layouts = {s: layout if s in self.here else None for s, layout in self.layouts.items()}

    def reopened(self) -> None:
        """Restart: the new process has only the layouts with rows in this era."""
        self.here = set()
        self.layouts = {s: None if s in self.absent else layout for s, layout in self.layouts.items()}

    def visible(self) -> dict[Series, dict[int, Sample]]:
        """Return the samples that no later era hides."""
        if self.hides_from is None:
            return self.series
        eras = [*self.eras, (self.hides_from, 10**18, self.series)]
        shown: dict[Series, dict[int, Sample]] = {}
        for number, (_, _, found) in enumerate(eras):
            later = [(start, end) for start, end, _ in eras[number + 1 :]]
            for series, samples in found.items():
                kept = {t: s for t, s in samples.items() if not any(start <= t <= end for start, end in later)}
                shown.setdefault(series, {}).update(kept)
        return shown

    def append(self, source: str, layout: Layout, at: int, values: Sequence[float]) -> None:
        if at <= self.last.get(source, -(10**18)):
            return
        before = None if source in self.absent else self.layouts.get(source)
        self.layouts[source], self.last[source] = layout, at
        self.here.add(source)
        self.absent.discard(source)
        self.newest_at = max(at, self.newest_at or at)
        now = self._named(layout)
        for series in self._named(before) - now:
            self.series.setdefault(series, {})[at] = Sample(STALE, end=True)
        seen: set[Series] = set()
        for series, columns, factor in self._stretches(layout):
            if series not in seen:
                seen.add(series)
                value = self._value([values[c] for c in columns], factor)
                self.series.setdefault(series, {})[at] = Sample(value)

    def end(self, source: str, at: int) -> None:
        layout = self.layouts.get(source)
        if layout is None or at <= self.last[source]:
            return
        self.layouts[source], self.last[source] = None, at
        self.absent.discard(source)
        self.newest_at = max(at, self.newest_at or at)
        for series in self._named(layout):
            self.series.setdefault(series, {})[at] = Sample(STALE, end=True)

    @staticmethod
    def _value(values: list[float], factor: float) -> float:
        if any(is_stale(v) for v in values):
            return STALE
        with np.errstate(all="ignore"):
            total = values[0] if len(values) == 1 else float(np.array(values)[:, None].sum(axis=0)[0])
            return float(total * factor)

    @staticmethod
    def _stretches(layout: Layout) -> list[tuple[Series, tuple[int, ...], float]]:
        raw = [(series, (n,), 1.0) for n, series in enumerate(layout.raw)]
        return [*raw, *((view.series, view.columns, view.factor) for view in layout.views)]

    def _named(self, layout: Layout | None) -> set[Series]:
        return {series for series, _, _ in self._stretches(layout)} if layout else set()

    # -- expected answers ----------------------------------------------------------------------------------------

    def read(self, name: str, after: int, until: int) -> dict[Labels, list[tuple[int, float]]]:
        found = {}
        for series, samples in self.visible().items():
            if name in ("", series.name):
                kept = [
                    (t, s.value) for t, s in sorted(samples.items()) if after < t <= until and not is_stale(s.value)
                ]
                if kept:
                    found[with_name(series)] = kept
        return found

    def newest(self, name: str, after: int, until: int) -> dict[Labels, tuple[int, float]]:
        found = {}
        for series, samples in self.visible().items():
            times = [t for t in samples if after < t <= until]
            if name in ("", series.name) and times and not is_stale(samples[max(times)].value):
                found[with_name(series)] = (max(times), samples[max(times)].value)
        return found

    def series_in(self, start: int, end: int) -> list[Labels]:
        return sorted(
            with_name(series)
            for series, samples in self.visible().items()
            if any(start <= t <= end and not s.end for t, s in samples.items())
        )


def matchers(name: str) -> tuple[Matcher, ...]:
    return (Matcher("__name__", MatchOp.EQUAL, name),) if name else EVERYTHING


def flat(samples: SampleSet) -> dict[Labels, list[tuple[int, float]]]:
    """Return the samples of every series that has samples."""
    found = {}
    for number, labels in enumerate(samples.labels):
        axis, base = int(samples.axis[number]), int(samples.base[number])
        times = samples.times[samples.axis_start[axis] : samples.axis_start[axis + 1]]
        if len(times):
            found[labels] = list(zip(times.tolist(), samples.values[base : base + len(times)].tolist(), strict=True))
    return found


def read(store: StoreReader, name: str, after: int, until: int) -> dict[Labels, list[tuple[int, float]]]:
    with np.errstate(all="ignore"):  # as the engine has it
        return flat(store.read(matchers(name), after, until, Budget(EngineLimits())))


def newest(store: StoreReader, name: str, windows: Sequence[tuple[int, int]]) -> list[dict[Labels, tuple[int, float]]]:
    """Return, for each window, the newest sample of every series that has one."""
    after, until = (np.array(column, dtype=np.int64) for column in zip(*windows, strict=True))
    with np.errstate(all="ignore"):
        labels, got = store.newest(matchers(name), after, until, Budget(EngineLimits()))
    return [
        {
            one: (int(got.times[n, step]), float(got.values[n, step]))
            for n, one in enumerate(labels)
            if got.present[n, step]
        }
        for step in range(len(windows))
    ]


def same(one: float, other: float) -> bool:
    """Return whether two values are the same. All NaNs that are not staleness markers are the same."""
    if one != one or other != other:
        return one != one and other != other and is_stale(one) == is_stale(other)
    return one == other and np.signbit(one) == np.signbit(other)
