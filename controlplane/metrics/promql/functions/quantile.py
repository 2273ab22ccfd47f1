"""Quantiles of samples, with Prometheus's interpolation."""

from __future__ import annotations

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray


def quantile_rows(wanted: FloatArray, values: FloatArray, filled: BoolArray) -> FloatArray:
    """Return the quantile `wanted` [n] of the filled elements of each row: float64 of shape [n].

    `values` and `filled` are [n, width]. A wanted NaN yields NaN, below 0 it yields -Inf, above 1 it yields +Inf. NaN
    values sort below all others. A row without a filled element yields NaN.
    """
    rows = np.arange(len(values))
    counts = filled.sum(axis=1)
    missing = (np.isnan(values) & filled).sum(axis=1)
    ordered = np.sort(np.where(filled, np.where(np.isnan(values), -np.inf, values), np.inf), axis=1)
    inside = (wanted >= 0) & (wanted <= 1) & (counts > 0)
    rank = np.where(inside, wanted, 0.0) * np.maximum(counts - 1, 0)
    low = np.floor(rank).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0))
    weight = rank - low
    lower = np.where(low < missing, np.nan, ordered[rows, low])
    upper = np.where(high < missing, np.nan, ordered[rows, high])
    result: FloatArray = lower * (1 - weight) + upper * weight
    result = np.where(wanted < 0, -np.inf, np.where(wanted > 1, np.inf, result))
    return np.where(np.isnan(wanted) | (counts == 0), np.nan, result)
