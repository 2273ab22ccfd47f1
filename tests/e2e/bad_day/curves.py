"""Curves over a grid of times: daily load, incidents, noise and the counters that they drive."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray

STEP_S = 60.0
"""Seconds between two points of a grid."""
BACK_S, AHEAD_S = 24.5 * 3600.0, 8 * 3600.0
"""Seconds of a grid before and after the begin of the live world. After its end the numbers stand still."""
TAIL = 4.0
"""Shape of the durations, which are log-logistic: the P99 is 3.15 times the median."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class Grid:
    """Evenly spaced times around `now`, in unix seconds."""

    now: float

    @property
    def start(self) -> float:
        """Time of the first point."""
        return self.now - BACK_S

    @property
    def times(self) -> FloatArray:
        """All points, [points]."""
        times: FloatArray = self.start + STEP_S * np.arange(round((BACK_S + AHEAD_S) / STEP_S) + 1)
        return times

    def rows(self, table: FloatArray, times: FloatArray) -> FloatArray:
        """Return the rows of a [points, columns] table at `times`, interpolated, as [times, columns]."""
        place = np.clip((times - self.start) / STEP_S, 0.0, len(table) - 1.0)
        before = np.minimum(place.astype(np.intp), len(table) - 2)
        part = (place - before)[:, None]
        # A counter that stands still must stay the same to the last digit, or it would count as reset.
        rows: FloatArray = table[before] + (table[before + 1] - table[before]) * part
        return rows

    def bump(self, begins_s: float, ends_s: float, slope_s: float = 300.0) -> FloatArray:
        """Return 0 to 1, [points]: 1 between two times that are seconds after `now`, with slopes at both ends."""
        up = (self.times - self.now - begins_s) / slope_s
        down = (ends_s - self.times + self.now) / slope_s
        found: FloatArray = np.clip(np.minimum(up, down), 0.0, 1.0)
        return found

    def day(self, shift_h: float = 0.0) -> FloatArray:
        """Return the load of a day as a share of its peak, [points]: 1 at `now`, 0.3 twelve hours before it.

        The hour of the machine does not matter: the world looks the same whenever it starts.
        """
        hours = (self.times - self.now) / HOUR_S - shift_h
        day: FloatArray = 0.65 + 0.35 * np.cos(2.0 * np.pi * hours / 24.0)
        return day

    def noise(self, name: str, size: float = 0.06) -> FloatArray:
        """Return a smooth random factor around 1, [points]. A name always has the same one."""
        draws = np.random.default_rng(zlib.crc32(name.encode())).normal(size=len(self.times) + 14)
        smooth = np.convolve(draws, np.ones(15) / 15.0, mode="valid") * 15.0**0.5
        factor: FloatArray = np.clip(1.0 + size * smooth, 0.3, 2.0)
        return factor


def counted(rate: FloatArray, before_s: float = 86400.0) -> FloatArray:
    """Return the counter that grows by `rate` a second, [points]. It ran for `before_s` seconds before the grid."""
    grown = np.concatenate(([0.0], np.cumsum(rate[:-1]) * STEP_S))
    total: FloatArray = np.round(grown + rate[0] * before_s, 3)
    return total


def below(bound: float, median: FloatArray) -> FloatArray:
    """Return the share of durations that are at most `bound`, where their median is `median`; [points]."""
    if not np.isfinite(bound):
        return np.ones_like(median)
    share: FloatArray = 1.0 / (1.0 + (median / bound) ** TAIL)
    return share


def mean(median: FloatArray) -> FloatArray:
    """Return the mean of durations with this median, [points]."""
    found: FloatArray = median * (np.pi / TAIL) / np.sin(np.pi / TAIL)
    return found
