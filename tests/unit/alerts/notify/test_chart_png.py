"""A chart is drawn whatever its values are."""

from __future__ import annotations

import io
import itertools
import math

import pytest
from PIL import Image

from alerts.charts import Chart, ChartLine
from alerts.notify.chart_png import HEIGHT, WIDTH, png

ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1e308, -1e308, 5e-324)


@pytest.mark.parametrize("threshold", [None, *ODD])
def test_odd_values_are_drawn(threshold: float | None) -> None:
    for values in [(), *((value,) for value in ODD), *itertools.product(ODD, repeat=2)]:
        line = ChartLine("a", tuple((60.0 * number, value) for number, value in enumerate(values)))
        image = Image.open(io.BytesIO(png(Chart("漢\n\x00" * 100, 0.0, 3600.0, (line,), threshold))))
        assert image.size == (WIDTH, HEIGHT)


def test_a_threshold_beside_enormous_values_is_where_it_belongs() -> None:
    line = ChartLine("a", ((0.0, -1e308), (3600.0, 1e308)))
    image = Image.open(io.BytesIO(png(Chart("", 0.0, 3600.0, (line,), 0.0)))).convert("RGB")
    red = {y for y in range(HEIGHT) if image.getpixel((54, y)) == (0xD1, 0x24, 0x2F)}
    assert red == {81}, "in the middle between margins of 20 and 18 pixels"
