"""A dashboard around its panels: variables, links, annotations, and the places of the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.panels import DATASOURCE, SCHEMA_VERSION, Panel
from dashboards.settings import Settings

Section = tuple[str, Sequence[Panel]]
"""Title of a row and its panels. Panels are placed from left to right, and wrap after 24 columns."""

FLEET = 'fleet=~"$fleet"'
"""Matcher of every query. Series without the label match "All": only a store of several fleets has the label."""


def select(*matchers: str) -> str:
    """Return a selector of the chosen fleets and `matchers`: `{fleet=~"$fleet", model=~"$model"}`."""
    return "{" + ", ".join((FLEET, *(m for m in matchers if m))) + "}"


def chosen(*names: str) -> str:
    """Return matchers of the variables with these names, which are labels too: `model=~"$model"`."""
    return ", ".join(f'{name}=~"${name}"' for name in names)


def values_of(metric: str, label: str, *matchers: str) -> str:
    """Return the query of a variable: the values of a metric's label in the chosen fleets.

    Several metrics are joined by `|`: a model that had no request yet has backends already.
    """
    if "|" in metric:
        named = f'__name__=~"{metric}"'
        return f"label_values({select(named, *matchers)}, {label})"
    return f"label_values({metric}{select(*matchers)}, {label})"


def dashboard(
    settings: Settings,
    *,
    uid: str,
    title: str,
    description: str,
    variables: Mapping[str, str],
    sections: Sequence[Section],
    page: str = "",
) -> dict[str, Any]:
    """Return a dashboard. `variables` maps a name to the query that provides its values.

    `page`: path of the console's page on the same matter.
    """
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, members in sections:
        panels.append(_row(heading, len(panels) + 1, y))
        y, x, tallest = y + 1, 0, 0
        for panel in members:
            if x + panel.width > 24:
                y, x, tallest = y + tallest, 0, 0
            panels.append(panel.to_json(len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    own = {"fleet": "label_values(target_up, fleet)", **variables}
    return {
        "uid": settings.uid(uid),
        "title": title,
        "description": description,
        "tags": settings.tags,
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *(_variable(name, query) for name, query in own.items())]},
        "annotations": {"list": _annotations("model" in own)},
        "links": _links(settings, page),
        "panels": panels,
    }


def _row(heading: str, panel_id: int, y: int) -> dict[str, Any]:
    place = {"h": 1, "w": 24, "x": 0, "y": y}
    return {"id": panel_id, "type": "row", "title": heading, "collapsed": False, "gridPos": place, "panels": []}


def _variable(name: str, query: str) -> dict[str, Any]:
    """Return a variable with several values and "All"."""
    return {
        "name": name,
        "label": name.replace("_", " "),
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


def _datasource() -> dict[str, Any]:
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


def _annotations(of_models: bool) -> list[dict[str, Any]]:
    """Return the marks over every chart: alerts while they fire, and rollouts while they run.

    Alerts without a model are marked too where models are chosen: a GPU or a node may be the cause.
    """
    alerts = select('alertstate="firing"', 'severity=~"warning|critical"', 'model=~"$model|"' if of_models else "")
    rollouts = select('model=~"$model"' if of_models else "")
    return [
        _annotation(
            "Alerts",
            f"ALERTS{alerts}",
            "red",
            title="{{alertname}}",
            text="{{model}} {{version}} {{instance}} {{gpu}}",
            tags="severity,model",
        ),
        _annotation(
            "Rollouts",
            f"controlplane_rollout_running{rollouts} == 1",
            "blue",
            title="{{model}}: {{from_version}} to {{to_version}}",
            text="{{strategy}}",
            tags="model",
        ),
    ]


def _annotation(name: str, expr: str, color: str, *, title: str, text: str, tags: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expr,
        "step": "30s",
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": tags,
        "useValueForTime": False,
    }


def _links(settings: Settings, page: str) -> list[dict[str, Any]]:
    """Return the links above the dashboard: the other dashboards, and the console and the runbooks where known."""
    kept = {"asDropdown": True, "includeVars": True, "keepTime": True}
    found = [_link(title="Dashboards", type="dashboards", tags=[settings.menu_tag], **kept)]
    for title, url in (("Console", settings.page(page or "/")), ("Runbooks", settings.all_runbooks)):
        if url:
            found.append(_link(title=title, type="link", url=url, icon="external link", targetBlank=True))
    return found


def _link(**fields: Any) -> dict[str, Any]:
    plain = {"asDropdown": False, "icon": "", "includeVars": False, "keepTime": False, "tags": [], "targetBlank": False}
    return {**plain, "tooltip": "", "url": "", **fields}
