"""Puts the chart of a message into Slack: an upload of three calls, and an image block.

A chart never prevents a message. A new message waits for it for HEAD_START_S at most, and gets it by an edit if it
comes later. An edit waits for CHART_S at most. After a fault the next messages go without one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from alerts.charts import NO_CHARTS, ChartSource
from alerts.errors import DeliveryFailed, QueryFailed
from alerts.interfaces import Message
from alerts.notify.chart_png import png
from alerts.notify.slack.api import SlackCalls

CHART_S = 2.0
"""Seconds for the query, the drawing and the upload together, and for an edit that adds a chart. Chosen: an edit must
not be late for its picture."""
HEAD_START_S = 0.5
"""Seconds that a new message, which people are woken by, waits for its chart. Chosen: nobody notices half a second, and
a chart that comes within it saves an edit."""
PAUSE_S, REFUSED_PAUSE_S = 60.0, 3600.0
"""Seconds without charts after a fault, and after a refusal that only an operator can cure. Chosen."""
ALT_CHARACTERS = 2000
"""Slack's limit of an image's alternative text."""
_log = logging.getLogger(__name__)

Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls a method of the Web API by GET; raises DeliveryFailed."""
Drawing = asyncio.Task[tuple[dict[str, Any] | None, str]]
"""Returns an image block, or None, and why there is none, if that is news."""


async def drawn(drawing: Drawing, *, is_urgent: bool) -> bool:
    """Wait for a chart, HEAD_START_S at most if the message is urgent. Return whether it has ended."""
    await asyncio.wait({drawing}, timeout=HEAD_START_S if is_urgent else None)
    return drawing.done()


class SlackCharts:
    """Makes image blocks for the messages of one notifier."""

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.source: ChartSource = NO_CHARTS
        self._name, self._monotonic = name, monotonic
        self._paused_until = 0.0
        self._told = ""

    @asynccontextmanager
    async def drawing(self, message: Message, calls: SlackCalls) -> AsyncIterator[Drawing]:
        """Make the image block of a message while the caller goes on; it is given up when the caller ends before.

        The task returns as `block` does.
        """

        async def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
            return await calls.call(method, params, get=True)

        drawing = asyncio.create_task(self.block(message, call, calls.session))
        try:
            yield drawing
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)

    async def block(
        self, message: Message, call: Call, session: aiohttp.ClientSession
    ) -> tuple[dict[str, Any] | None, str]:
        """Return the image block of a message, and why it has none, if that is news. Raises nothing."""
        if message.notice is not None or self._monotonic() < self._paused_until:
            return None, ""
        try:
            async with asyncio.timeout(CHART_S):
                block = await self._block(message, call, session)
        except TimeoutError:
            return None, self.failed(f"it took longer than {CHART_S:g} s")
        except (DeliveryFailed, QueryFailed, aiohttp.ClientError, OSError) as fault:
            is_refused = isinstance(fault, DeliveryFailed) and fault.permanent
            return None, self.failed(str(fault), REFUSED_PAUSE_S if is_refused else PAUSE_S)
        except Exception as bug:  # noqa: BLE001 - the job boundary: a bug in a picture must not prevent the message
            _log.exception("notifier %s: the chart of %s could not be made", self._name, message.id)
            return None, self.failed(f"internal error ({type(bug).__name__})")
        if block is not None:
            self._told = ""
        return block, ""

    def failed(self, why: str, pause_s: float = PAUSE_S) -> str:
        """Make no chart for a while. Return the note for the delivery; "" when the reason was noted before."""
        self._paused_until = self._monotonic() + pause_s
        if why == self._told:
            return ""
        self._told = why
        _log.warning("notifier %s: messages go without a chart: %s", self._name, why)
        return f"sent without a chart: {why}"

    async def _block(self, message: Message, call: Call, session: aiohttp.ClientSession) -> dict[str, Any] | None:
        chart = await self.source.chart(message)
        if chart is None:
            return None
        image = await asyncio.to_thread(png, chart)
        place = await call("files.getUploadURLExternal", {"filename": "chart.png", "length": len(image)})
        async with session.post(str(place.get("upload_url", "")), data=image, allow_redirects=False) as answer:
            if answer.status != 200:
                raise DeliveryFailed(f"Slack answered the upload of a chart with HTTP {answer.status}")
        file = str(place.get("file_id", ""))
        files = f'[{{"id":"{file}","title":"chart"}}]' if file.isalnum() else ""
        await call("files.completeUploadExternal", {"files": files})
        alt = f"{chart.title} during the last hour, and the threshold"[:ALT_CHARACTERS]
        return {"type": "image", "slack_file": {"id": file}, "alt_text": alt}
