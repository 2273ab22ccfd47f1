"""Base of notifiers around another one."""

from __future__ import annotations

from alerts.charts import Charting, ChartSource
from alerts.interfaces import Notifier
from alerts.notify.pace import Shared, Sharing


class Around:
    """The parts of a notifier that pass through to the one inside."""

    def __init__(self, inner: Notifier) -> None:
        self.name, self.inner = inner.name, inner

    @property
    def opens_incidents(self) -> bool:
        """Whether an alert stays open at the receiver until a message resolves it."""
        return bool(getattr(self.inner, "opens_incidents", False))

    def use_charts(self, source: ChartSource) -> None:
        """Use a source for the charts of the next messages, if the notifier inside shows charts."""
        if isinstance(self.inner, Charting):
            self.inner.use_charts(source)

    def use_buckets(self, shared: Shared) -> None:
        """Let the notifier inside share the limits of its messages, if it does that."""
        if isinstance(self.inner, Sharing):
            self.inner.use_buckets(shared)

    async def close(self) -> None:
        """Release the connections of the notifier inside."""
        await self.inner.close()
