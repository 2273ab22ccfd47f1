"""Functions of instant vectors and scalars: arithmetic, sorting and calendar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.promql.context import Evaluation, Function
from controlplane.metrics.promql.frame import Frame, Scalars, empty, single
from controlplane.metrics.promql.syntax.tree import Node

Elementwise = Callable[[FloatArray], FloatArray]


def _each(function: Elementwise) -> Function:
    """Return a function that maps every value and drops the metric name."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        frame = evaluation.frame(args[0])
        return frame.with_values(function(frame.values)).without_name()

    return call


def _round(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    frame = evaluation.frame(args[0])
    to = evaluation.scalars(args[1]) if len(args) > 1 else np.ones(len(evaluation.steps))
    # Prometheus multiplies by the inverse first. That gives exact results for `round(x, 0.1)`.
    inverse = 1.0 / to
    return frame.with_values(np.floor(frame.values * inverse + 0.5) / inverse).without_name()


def _clamped(frame: Frame, low: FloatArray, high: FloatArray) -> Frame:
    # An infinite bound wins over a NaN on either side, as in Go's math.Min and math.Max.
    least = np.isneginf(frame.values) | np.isneginf(high)
    capped = np.where(least, -np.inf, np.minimum(high, frame.values))
    most = np.isposinf(capped) | np.isposinf(low)
    values = np.where(most, np.inf, np.maximum(low, capped))
    return frame.with_values(values, frame.present & ~(high < low)).occupied().without_name()


def _clamp(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    return _clamped(evaluation.frame(args[0]), evaluation.scalars(args[1]), evaluation.scalars(args[2]))


def _clamp_min(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    low = evaluation.scalars(args[1])
    return _clamped(evaluation.frame(args[0]), low, np.full(len(low), np.inf))


def _clamp_max(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    high = evaluation.scalars(args[1])
    return _clamped(evaluation.frame(args[0]), np.full(len(high), -np.inf), high)


def _scalar(evaluation: Evaluation, args: tuple[Node, ...]) -> Scalars:
    """Return the value of a vector that has exactly one, else NaN."""
    frame = evaluation.frame(args[0])
    only = frame.present.sum(axis=0) == 1
    return Scalars(np.where(only, np.where(frame.present, frame.values, 0.0).sum(axis=0), np.nan))


def _vector(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    return single(evaluation.scalars(args[0]))


def _time(evaluation: Evaluation, args: tuple[Node, ...]) -> Scalars:
    return Scalars(evaluation.steps / 1000)


def _pi(evaluation: Evaluation, args: tuple[Node, ...]) -> Scalars:
    return Scalars(np.full(len(evaluation.steps), np.pi))


def _timestamp(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return the timestamp of each sample: its own for a plain selector, else the evaluation's."""
    own = evaluation.sample_times(args[0])
    if own is not None:
        return own.without_name()
    frame = evaluation.frame(args[0])
    return frame.with_values(np.broadcast_to(evaluation.steps / 1000, frame.values.shape)).without_name()


def _sorted(descending: bool) -> Function:
    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        frame = evaluation.frame(args[0])
        if len(evaluation.steps) != 1:
            # The result of a range query is always sorted by labels.
            return frame
        column = -frame.values[:, 0] if descending else frame.values[:, 0]
        ordered = frame.take(np.argsort(column, kind="stable"))
        return Frame(ordered.labels, ordered.values, ordered.present, ordered=True)

    return call


def _calendar(part: Callable[[IntArray], IntArray]) -> Function:
    """Return a function of UTC time. `part` gets unix seconds."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        frame = evaluation.frame(args[0]) if args else single(evaluation.steps / 1000)
        if not len(frame.labels):
            return empty(len(evaluation.steps))
        values = frame.values
        # Seconds beyond numpy's calendar become NaN.
        usable = np.isfinite(values) & (np.abs(values) < 1e15)
        seconds = np.where(usable, values, 0.0).astype(np.int64)
        return frame.with_values(np.where(usable, part(seconds), np.nan)).without_name()

    return call


def _months(seconds: IntArray) -> IntArray:
    """Return months since January 1970."""
    return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _first_day(months: IntArray) -> IntArray:
    """Return the first day of each month as days since 1970-01-01. `months` counts from January 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _days(seconds: IntArray) -> IntArray:
    return seconds // 86_400


def _day_of_year(seconds: IntArray) -> IntArray:
    return _days(seconds) - _first_day(_months(seconds) // 12 * 12) + 1


MATH_FUNCTIONS: dict[str, Function] = {
    "abs": _each(np.abs),
    "ceil": _each(np.ceil),
    "floor": _each(np.floor),
    "exp": _each(np.exp),
    "ln": _each(np.log),
    "log2": _each(np.log2),
    "log10": _each(np.log10),
    "sqrt": _each(np.sqrt),
    "sgn": _each(np.sign),
    "sin": _each(np.sin),
    "cos": _each(np.cos),
    "tan": _each(np.tan),
    "asin": _each(np.arcsin),
    "acos": _each(np.arccos),
    "atan": _each(np.arctan),
    "sinh": _each(np.sinh),
    "cosh": _each(np.cosh),
    "tanh": _each(np.tanh),
    "asinh": _each(np.arcsinh),
    "acosh": _each(np.arccosh),
    "atanh": _each(np.arctanh),
    "deg": _each(np.rad2deg),
    "rad": _each(np.deg2rad),
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "scalar": _scalar,
    "vector": _vector,
    "time": _time,
    "pi": _pi,
    "timestamp": _timestamp,
    "sort": _sorted(False),
    "sort_desc": _sorted(True),
    "minute": _calendar(lambda s: s // 60 % 60),
    "hour": _calendar(lambda s: s // 3600 % 24),
    # Day 0 of the Unix era was a Thursday, day 4 of a week that starts on Sunday.
    "day_of_week": _calendar(lambda s: (_days(s) + 4) % 7),
    "day_of_month": _calendar(lambda s: _days(s) - _first_day(_months(s)) + 1),
    "day_of_year": _calendar(_day_of_year),
    "days_in_month": _calendar(lambda s: _first_day(_months(s) + 1) - _first_day(_months(s))),
    "month": _calendar(lambda s: _months(s) % 12 + 1),
    "year": _calendar(lambda s: _months(s) // 12 + 1970),
}
