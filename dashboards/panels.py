"""Panel classes for the dashboards, based on grafanalib. They emit Grafana's schema 39.

grafanalib emits schema 12, with keys that Grafana dropped and shapes (gauge, bar gauge, table) from before Grafana 8.
This module emits the current shape, so that Grafana needs no migration when it opens a dashboard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import attr
from grafanalib import core

SCHEMA_VERSION = 39
"""Schema of Grafana 10.4. Newer releases read it unchanged."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""Reference as an object, because Grafana migrates references as texts only below schema 36."""

_KEPT = frozenset({"type", "title", "links", "transparent"})
"""Keys that are kept from grafanalib's panels. This module writes all others."""
GREEN, YELLOW, RED = "green", "yellow", "red"


@attr.s(auto_attribs=True, frozen=True)
class Query:
    """One PromQL query of a panel. With `instant`, only the last value is queried."""

    expr: str
    legend: str = "__auto"
    instant: bool = False
    buckets: bool = False
    """The series are the buckets of a histogram."""

    @property
    def format(self) -> str:
        """Grafana's name of the result's shape."""
        return "heatmap" if self.buckets else "table" if self.instant else "time_series"


@attr.s(auto_attribs=True, frozen=True)
class Limit:
    """From `value` upwards the panel shows `color`."""

    value: float
    color: str = RED


@attr.s(auto_attribs=True, frozen=True)
class Link:
    """A link of each value of a panel. `url` may have Grafana's variables; a link without an address is left out."""

    title: str
    url: str

    def to_json(self) -> dict[str, Any]:
        """Return Grafana's data link. It opens beside the dashboard."""
        return {"title": self.title, "url": self.url, "targetBlank": True}


@attr.s(auto_attribs=True, kw_only=True)
class Panel(ABC):
    """Base of the panels. `width` is in twenty-fourths of the page, `height` in Grafana's rows."""

    title: str
    description: str
    """Meaning of the values, and of a wrong one. Grafana shows it at the panel's corner."""
    queries: Sequence[Query]
    unit: str
    """Grafana's name of the unit: `s`, `percentunit` (0 to 1), `reqps`, `bytes`, `none` for a plain count."""
    width: int = 8
    height: int = 8
    limits: Sequence[Limit] = ()
    lowest: str = GREEN
    """Colour below the first limit."""
    minimum: float | None = None
    maximum: float | None = None
    links: Sequence[Link] = ()

    @abstractmethod
    def base(self) -> core.Panel:
        """Return the grafanalib panel on which this panel is based."""

    def options(self) -> dict[str, Any]:
        """Return the panel type's options."""
        return {}

    def custom(self) -> dict[str, Any]:
        """Return the panel type's own field configuration."""
        return {}

    def overrides(self) -> list[dict[str, Any]]:
        """Return field overrides."""
        return []

    def transformations(self) -> list[dict[str, Any]]:
        """Return data transformations."""
        return []

    def to_json(self, panel_id: int, x: int, y: int) -> dict[str, Any]:
        """Return the panel's JSON content at a place in the grid."""
        authored = self.base().to_json_data()
        panel = {k: v for k, v in authored.items() if v is not None and k in _KEPT}
        steps: list[dict[str, Any]] = [{"color": self.lowest, "value": None}]
        steps += [{"color": limit.color, "value": limit.value} for limit in self.limits]
        defaults: dict[str, Any] = {
            "color": {"mode": "thresholds" if self.limits and not isinstance(self, Lines) else "palette-classic"},
            "custom": self.custom(),
            "mappings": [],
            "thresholds": {"mode": "absolute", "steps": steps},
            "unit": self.unit,
        }
        if self.minimum is not None:
            defaults["min"] = self.minimum
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if not defaults["custom"]:
            del defaults["custom"]
        if links := [link.to_json() for link in self.links if link.url]:
            defaults["links"] = links
        panel |= {
            "id": panel_id,
            "datasource": DATASOURCE,
            "description": self.description,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [_target(number, query) for number, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": self.overrides()},
            "options": self.options(),
            "transformations": self.transformations(),
        }
        return panel


class Lines(Panel):
    """A panel of values over time."""

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.TimeSeries(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return legend and tooltip."""
        return {
            "legend": {
                "calcs": ["lastNotNull", "max"],
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def custom(self) -> dict[str, Any]:
        """Return the settings of lines. Gaps stay gaps, because absent is not zero."""
        return {
            "drawStyle": "line",
            "fillOpacity": 8,
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,
            "thresholdsStyle": {"mode": "dashed" if self.limits else "off"},
        }


class Heat(Panel):
    """A panel of a histogram over time: one column a step, one row a bucket, darker for more.

    Its one query must be grouped by `le`, with the legend `{{le}}`.
    """

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.Heatmap(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return the options of buckets that Prometheus has counted already."""
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {
                "exponent": 0.5,
                "fill": "dark-orange",
                "mode": "scheme",
                "reverse": False,
                "scheme": "Oranges",
                "steps": 64,
            },
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "unit": self.unit},
        }

    def custom(self) -> dict[str, Any]:
        """Return the scale: the buckets' own."""
        return {"scaleDistribution": {"type": "linear"}}


class States(Panel):
    """A panel of bars over time: a coloured stretch while a series has a value, one row a series."""

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.StateTimeline(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return the options of rows without numbers, since the row's name says what is so."""
        return {
            "alignValue": "left",
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
            "mergeValues": True,
            "perPage": 20,
            "rowHeight": 0.8,
            "showValue": "never",
            "tooltip": {"mode": "single", "sort": "none"},
        }

    def custom(self) -> dict[str, Any]:
        """Return the settings of filled bars."""
        return {"fillOpacity": 80, "lineWidth": 0}


@attr.s(auto_attribs=True, kw_only=True)
class Number(Panel):
    """A panel of the last value, in large type."""

    width: int = 4
    height: int = 5

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.Stat(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return the options: the limits colour the background."""
        return {
            "colorMode": "background",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
        }


class Bars(Panel):
    """A panel of the last values of many series, as bars."""

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.BarGauge(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return the options of horizontal bars with a gradient."""
        return {
            "displayMode": "gradient",
            "minVizHeight": 10,
            "minVizWidth": 0,
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showUnfilled": True,
            "valueMode": "color",
        }


@attr.s(auto_attribs=True, kw_only=True)
class Rows(Panel):
    """A table: one row per series, one column per label and per query. `columns` are the labels in their order."""

    columns: Sequence[str] = ()
    values: Sequence[str] = ("Value",)
    """One heading per query."""

    def base(self) -> core.Panel:
        """Return the grafanalib panel."""
        return core.Table(title=self.title)

    def options(self) -> dict[str, Any]:
        """Return the table's own options."""
        return {"cellHeight": "sm", "showHeader": True}

    def transformations(self) -> list[dict[str, Any]]:
        """Return transformations that join the queries by their labels and keep the named columns."""
        numbers = ["Value"] if len(self.queries) == 1 else [f"Value #{chr(65 + i)}" for i in range(len(self.queries))]
        order = [*self.columns, *numbers]
        return [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "includeByName": dict.fromkeys(order, True),
                    "indexByName": {name: i for i, name in enumerate(order)},
                    "renameByName": dict(zip(numbers, self.values, strict=True)),
                },
            },
        ]


def _target(number: int, query: Query) -> dict[str, Any]:
    authored = core.Target(expr=query.expr, refId=chr(65 + number), legendFormat=query.legend).to_json_data()
    return {k: authored[k] for k in ("expr", "refId", "legendFormat")} | {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "format": query.format,
        "instant": query.instant,
        "range": not query.instant,
    }
