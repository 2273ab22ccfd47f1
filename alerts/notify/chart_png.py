"""Draws a chart as a PNG. Pure; it takes a few milliseconds of CPU."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from datetime import UTC, datetime

from PIL import Image, ImageDraw, ImageFont

from alerts.charts import Chart

WIDTH, HEIGHT = 480, 160
"""Size in pixels: Slack shows an image of this width without scaling on a phone. Chosen."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 20, 18
"""Margins in pixels for the values, the title and the times."""
_FONT_SIZE, _TITLE_CHARACTERS = 11, 76
_INK, _GRID, _THRESHOLD, _PAPER = "#444444", "#e4e4e4", "#d1242f", "#ffffff"
_COLOURS = ("#0969da", "#1a7f37", "#8250df", "#bf8700", "#0f766e", "#bf3989", "#57606a", "#953800")
"""One for each line. All are dark enough to be read on white."""
_DASH, _GAP = 6, 4
MOST = 1e300
"""Greatest value that is drawn; a greater one is drawn as this. Chosen: differences and margins stay finite."""

Area = tuple[float, float]
"""Lowest and highest value that the chart shows."""


def png(chart: Chart) -> bytes:
    """Return a chart as a PNG of WIDTH by HEIGHT pixels on white."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_SIZE)
    threshold = None if chart.threshold is None or not math.isfinite(chart.threshold) else _drawn(chart.threshold)
    area = _area(chart, threshold)
    for value in (area[0], (area[0] + area[1]) / 2, area[1]):
        y = _y(value, area)
        draw.line([(_LEFT, y), (WIDTH - _RIGHT, y)], fill=_GRID)
        draw.text((_LEFT - 4, y), f"{value:.4g}", fill=_INK, font=font, anchor="rm")
    if threshold is not None:
        y = _y(threshold, area)
        for x in range(_LEFT, WIDTH - _RIGHT, _DASH + _GAP):
            draw.line([(x, y), (min(x + _DASH, WIDTH - _RIGHT), y)], fill=_THRESHOLD)
        draw.text((WIDTH - _RIGHT, y - 2), f"{threshold:.4g}", fill=_THRESHOLD, font=font, anchor="rb")
    for number, line in enumerate(chart.lines):
        colour = _COLOURS[number % len(_COLOURS)]
        for run in _runs([(_x(at, chart), _y(value, area)) for at, value in line.points]):
            if len(run) > 1:
                draw.line(run, fill=colour, width=2)
            else:
                draw.point(run, fill=colour)
    draw.text((_LEFT, 4), chart.title[:_TITLE_CHARACTERS], fill=_INK, font=font)
    draw.text((_LEFT, HEIGHT - 3), _time(chart.start), fill=_INK, font=font, anchor="ls")
    draw.text((WIDTH - _RIGHT, HEIGHT - 3), f"{_time(chart.end)} UTC", fill=_INK, font=font, anchor="rs")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _drawn(value: float) -> float:
    return max(-MOST, min(MOST, value))


def _area(chart: Chart, threshold: float | None) -> Area:
    values = [_drawn(value) for line in chart.lines for _, value in line.points if math.isfinite(value)]
    values += [] if threshold is None else [threshold]
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def _x(at: float, chart: Chart) -> float:
    share = (at - chart.start) / max(chart.end - chart.start, 1.0)
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, area: Area) -> float:
    if not math.isfinite(value):
        return math.nan
    return HEIGHT - _BOTTOM - (_drawn(value) - area[0]) / (area[1] - area[0]) * (HEIGHT - _TOP - _BOTTOM)


def _runs(places: list[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Split a line at its gaps."""
    run: list[tuple[float, float]] = []
    for place in places:
        if not math.isnan(place[1]):
            run.append(place)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")
