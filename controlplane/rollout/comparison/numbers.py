"""Numbers of verdicts as people read them."""

from __future__ import annotations


def count(value: float) -> str:
    """Return a number of requests: 15204.0 → `15,204`."""
    return f"{value:,.0f}"


def points(share: float) -> str:
    """Return a difference of shares in points: 0.022 → `2.2`, 0.0005 → `0.05`."""
    return _short(share * 100)


def percent(share: float) -> str:
    """Return a share in percent: 0.031 → `3.1%`."""
    return f"{_short(share * 100)}%"


def quantity(value: float | None, unit: str) -> str:
    """Return a median with its unit: 0.42 → `0.42 s`, 0.0123 → `12 ms`, 310.0 → `310 tokens`. None → `unknown`."""
    if value is None:
        return "unknown"
    if unit == "tokens":
        return f"{value:,.0f} tokens"
    return f"{_short(value)} s" if value >= 0.1 else f"{_short(value * 1000)} ms"


def duration(seconds: float) -> str:
    """Return a wait roughly: 40 → `1 minute`, 700 → `12 minutes`, 10000 → `3 hours`."""
    minutes = max(1, round(seconds / 60))
    number, unit = (minutes, "minute") if minutes < 120 else (round(minutes / 60), "hour")
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _short(value: float) -> str:
    """Return at most one decimal from 1 on, two significant digits below, without needless zeros."""
    if abs(value) >= 1:
        return f"{value:.1f}".removesuffix(".0")
    shown = f"{value:.2g}"
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0" if "e" in shown else shown
