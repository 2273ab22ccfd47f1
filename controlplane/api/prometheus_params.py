"""The Prometheus API's parameters, parsed as Prometheus does, with its error messages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import Request

from controlplane.config.durations import duration_seconds
from controlplane.errors import QueryError

MAX_POINTS = 11_000
"""Most points of a series, the same as in Prometheus."""
MAX_EXPR_LENGTH = 64 * 2**10
"""Longest expression, in characters. Chosen: dashboards are far below; a longer one is an attack on the parser."""

_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_YES, _NO = ("1", "t", "true"), ("0", "f", "false")
_FRACTION = re.compile(r"(\.\d{6})\d+")
_MAX_TIME = 253_402_300_799.0
"""9999-12-31T23:59:59Z."""


@dataclass(frozen=True)
class Params:
    """Parameters of the query string and the form together, as Go's `Request.Form` holds them."""

    values: Mapping[str, Sequence[str]]

    def get(self, name: str) -> str:
        """Return the first value, or ""."""
        found = self.values.get(name)
        return found[0] if found else ""

    def all(self, name: str) -> Sequence[str]:
        """Return every value."""
        return self.values.get(name, ())

    def expr(self) -> str:
        """Return `query`. Raises QueryError(bad_data) when it is too long."""
        expr = self.get("query")
        if len(expr) > MAX_EXPR_LENGTH:
            raise bad("query", f"longer than {MAX_EXPR_LENGTH} bytes")
        return expr

    def time(self, name: str) -> float:
        """Return an instant in unix seconds from a float or RFC 3339. Raises QueryError(bad_data)."""
        text = self.get(name)
        seconds = parse_time(text)
        if seconds is None:
            raise bad(name, f'cannot parse "{text}" to a valid timestamp')
        return seconds

    def time_or_none(self, name: str) -> float | None:
        """Return an optional instant. Raises QueryError(bad_data), in other words than `time`, as Prometheus does."""
        text = self.get(name)
        if not text:
            return None
        seconds = parse_time(text)
        if seconds is None:
            raise bad(name, f"invalid time value for '{name}': cannot parse \"{text}\" to a valid timestamp")
        return seconds

    def duration(self, name: str) -> float:
        """Return seconds from a float or a Prometheus duration. Raises QueryError(bad_data)."""
        return parse_duration(name, self.get(name))

    def flag(self, name: str) -> bool:
        """Return a bool as Go's strconv.ParseBool reads it in lower case. Absent: False. Raises QueryError."""
        text = self.get(name).lower()
        if text in ("", *_NO):
            return False
        if text in _YES:
            return True
        raise bad(name, f'error converting {name}: strconv.ParseBool: parsing "{text}": invalid syntax')

    def limit(self, name: str = "limit") -> int:
        """Return a count; 0 means no limit. Raises QueryError(bad_data)."""
        text = self.get(name)
        if not text:
            return 0
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise bad(name, f'cannot parse "{text}" to a valid limit')
        if int(text) < 0:
            raise bad(name, "limit must be non-negative")
        return int(text)

    def family_limit(self) -> int:
        """Return the `limit` of metric families. Its default is -1, no limit; 0 means no family, as in Prometheus.

        Raises QueryError(bad_data).
        """
        text = self.get("limit") or "-1"
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise QueryError("bad_data", "limit must be a number")
        return int(text)

    def timeout(self, longest: float) -> float:
        """Return the caller's time limit in seconds, at most `longest`."""
        if not self.get("timeout"):
            return longest
        seconds = self.duration("timeout")
        return min(seconds, longest)

    def lookback(self) -> float | None:
        """Return `lookback_delta` in seconds; None: it is absent or not above zero. Raises QueryError(bad_data)."""
        if not self.get("lookback_delta"):
            return None
        try:
            seconds = parse_duration("lookback_delta", self.get("lookback_delta"))
        except QueryError as error:
            reason = str(error).partition(": ")[2]
            raise QueryError("bad_data", f"error parsing lookback delta duration: {reason}") from error
        return seconds if seconds > 0 else None

    def interval(self) -> tuple[float | None, float | None]:
        """Return optional (start, end)."""
        return self.time_or_none("start"), self.time_or_none("end")

    def range(self) -> tuple[float, float, float]:
        """Return (start, end, step) in seconds, checked as Prometheus does. Raises QueryError(bad_data)."""
        start, end = self.time("start"), self.time("end")
        if end < start:
            raise bad("end", "end timestamp must not be before start time")
        step = self.duration("step")
        if round(step, 3) <= 0:
            raise bad("step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
        if round((end - start) * 1000) // round(step * 1000) > MAX_POINTS:
            raise QueryError(
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        return start, end, step


async def params_of(request: Request) -> Params:
    """Return the parameters of the query string and, on POST, of the form. The form's values come first, as in Go."""
    values: dict[str, list[str]] = {}
    if request.method == "POST":
        async with request.form(max_files=0, max_fields=1000) as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    values.setdefault(name, []).append(value)
    for name, value in request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return Params(values)


def bad(name: str, message: str) -> QueryError:
    """Return Prometheus's error for a wrong parameter."""
    return QueryError("bad_data", f'invalid parameter "{name}": {message}')


def parse_time(text: str) -> float | None:
    """Return unix seconds to the millisecond, or None when the text is not a time."""
    if _FLOAT.fullmatch(text):
        seconds = float(text)
        if math.isfinite(seconds) and abs(seconds) <= _MAX_TIME:
            return round(seconds, 3)
    elif "T" in text:
        try:
            moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC).timestamp()
    return None


def parse_duration(name: str, text: str) -> float:
    """Return seconds. Raises QueryError(bad_data)."""
    if _FLOAT.fullmatch(text):
        seconds = float(text)
        if math.isfinite(seconds) and abs(seconds) <= _MAX_TIME:
            return seconds
    else:
        try:
            return duration_seconds(text)
        except ValueError:
            pass
    raise bad(name, f'cannot parse "{text}" to a valid duration')
