"""Panel classes for the dashboards, based on grafanalib. They emit Grafana's schema 39.

grafanalib emits schema 12, with keys that Grafana dropped and shapes (gauge, bar gauge, table) from before Grafana 8.
This module emits the current shape, so that Grafana needs no migration when it opens a dashboard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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


@attr.s(auto_attribs=True, frozen=True)
class Limit:
    """From `value` upwards the panel shows `color`."""

    value: float
    color: str = RED


@attr.s(auto_attribs=True, kw_only=True)
class _Panel(ABC):
    """Base of the panels. `width` is in twenty-fourths of the page, `height` in Grafana's rows."""

    title: str
    queries: Sequence[Query]
    description: str = ""
    unit: str = "short"
    width: int = 8
    height: int = 8
    limits: Sequence[Limit] = ()
    minimum: float | None = None
    maximum: float | None = None

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
        steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
        steps += [{"color": limit.color, "value": limit.value} for limit in self.limits]
        defaults: dict[str, Any] = {
            "color": {"mode": "thresholds" if self.limits and not self.custom() else "palette-classic"},
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


class Lines(_Panel):
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


class Number(_Panel):
    """A panel of the last value, in large type."""

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


class Bars(_Panel):
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
class Rows(_Panel):
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
        "format": "table" if query.instant else "time_series",
        "instant": query.instant,
        "range": not query.instant,
    }


def variable(name: str, query: str) -> dict[str, Any]:
    """Return a variable with several values and "All". A query provides its values."""
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


def datasource_variable() -> dict[str, Any]:
    """Return the variable for the choice of a Prometheus-compatible data source."""
    return {
        "name": "datasource",
        "label": "data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "options": [],
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
    }


Section = tuple[str, Sequence[_Panel]]
"""Title of a row and its panels. Panels are placed from left to right, and wrap after 24 columns."""


def dashboard(
    *, uid: str, title: str, description: str, variables: Mapping[str, str], sections: Sequence[Section]
) -> dict[str, Any]:
    """Return a dashboard. `variables` maps a name to the query that provides its values."""
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, members in sections:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": heading,
                "collapsed": False,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
                "panels": [],
            }
        )
        y, x, tallest = y + 1, 0, 0
        for panel in members:
            if x + panel.width > 24:
                y, x, tallest = y + tallest, 0, 0
            panels.append(panel.to_json(len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["llm", "generated"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [datasource_variable(), *(variable(n, q) for n, q in variables.items())]},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }
