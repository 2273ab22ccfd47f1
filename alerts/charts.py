"""A small chart of an alert's expression, as data. Notifiers draw it; the host of alerting makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from alerts.interfaces import Message


@dataclass(frozen=True)
class ChartLine:
    """One series: pairs of unix second and value, by time. NaN is a gap."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """The series of a message's alerts over some time, in unix seconds, and the value that they are compared to."""

    title: str
    start: float
    end: float
    lines: tuple[ChartLine, ...]
    threshold: float | None = None


class ChartSource(Protocol):
    """Makes charts."""

    async def chart(self, message: Message) -> Chart | None:
        """Return the chart of a message's alerts; None when there is nothing to show. Raises QueryFailed."""
        ...


class NoCharts:
    """Implements ChartSource without metrics."""

    async def chart(self, message: Message) -> Chart | None:
        """Return None."""
        return None


NO_CHARTS = NoCharts()


@runtime_checkable
class Charting(Protocol):
    """A notifier that shows charts."""

    def use_charts(self, source: ChartSource) -> None:
        """Use a source for the charts of the next messages."""
        ...
