"""The card of each model: its state, what fires on it, its lines, and the traffic of its versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.fleet.slos import SloView
from controlplane.fleet.trends import LineView, TrendsView
from controlplane.fleet.views import AlertView, AttentionView, ModelView, VersionView
from controlplane.web.fleet.sparkline import Sparkline, sparkline
from controlplane.web.languages import noted as _

STATES = {
    "firing": _("Alerts fire"),
    "pending": _("Needs a look"),
    "rollout": _("Rollout in progress"),
    "unknown": _("Unknown"),
    "good": _("Fine"),
}
"""The states of cards, the worst first, with the heading of each."""
MEASURES = {
    "requests": _("requests/s"),
    "p99": _("P99"),
    "ttft": _("first token"),
    "errors": _("errors"),
    "tokens": _("tokens/s"),
}
"""The lines of a card, with their names."""
WORDS = (
    *(_("ready"), _("loading"), _("unloading"), _("unavailable"), _("unknown"), _("firing"), _("pending")),
    *(_("stable"), _("candidate"), _("serving"), _("idle"), _("critical"), _("warning"), _("info")),
    *(_("spent"), _("burning"), _("learning"), _("good")),
)
"""Words of records that templates translate: states and roles of versions, alerts, and objectives."""
COLOURS = 8
"""Number of colours of versions."""
BADGES = 3
"""Names of alerts on a card."""
VERSIONS = 4
"""Versions on a card. Those that serve come first."""
COMPACT_FROM = 13
"""Number of models from which on cards leave out versions that serve nothing. Chosen: twelve fit on two screens."""
SLO_STATES = ("spent", "burning", "unknown", "learning", "good")
"""States of objectives, the worst first."""


class Share(NamedTuple):
    """One version's part of the traffic bar, in percent of its width."""

    version: str
    colour: int
    start: float
    width: float


class Drawn(NamedTuple):
    """A line of a model with its drawing."""

    name: str
    line: LineView | None
    """None: no source reports the number."""
    drawing: Sparkline | None

    @property
    def beyond(self) -> bool:
        """Whether the current value is beyond its limit."""
        line = self.line
        return line is not None and line.limit is not None and line.now is not None and line.now > line.limit


class Badge(NamedTuple):
    """The active alerts of one name on a model."""

    name: str
    state: str
    alerts: int
    fingerprint: str


@dataclass(frozen=True)
class Card:
    """One model as the fleet page shows it."""

    model: ModelView
    state: str
    """A key of STATES."""
    badges: tuple[Badge, ...]
    more_alerts: int
    shares: tuple[Share, ...]
    """Empty: the shares are not known."""
    versions: tuple[tuple[int, VersionView], ...]
    """Colour and version."""
    more_versions: int
    """Versions that a full card leaves out."""
    lines: tuple[Drawn, ...]
    slo: SloView | None
    """The objective in the worst state, or with the least budget left."""

    @property
    def candidate_share(self) -> float | None:
        """Share of the requests that the rollout's candidate gets, 0 to 1."""
        to = self.model.rollout.to if self.model.rollout else ""
        return next((v.traffic_share for v in self.model.versions if v.version == to), None)


def cards_of(
    models: Sequence[ModelView],
    alerts: Iterable[AlertView],
    needs: Iterable[AttentionView],
    slos: Iterable[SloView],
    trends: TrendsView,
    *,
    every_alert: bool = True,
) -> list[Card]:
    """Return a card for each model, in the order of the models.

    `every_alert`: `alerts` are all that are active. Otherwise no model is known to be fine.
    """
    alerts_by: dict[str, list[AlertView]] = {}
    slos_by: dict[str, list[SloView]] = {}
    for alert in alerts:
        alerts_by.setdefault(alert.labels.get("model", ""), []).append(alert)
    for slo in slos:
        slos_by.setdefault(slo.model, []).append(slo)
    needed = {(need.model, need.need == "person") for need in needs}
    compact = len(models) >= COMPACT_FROM
    lines = {one.model: {line.name: line for line in one.lines} for one in trends.models}
    return [
        _card(
            model,
            alerts_by.get(model.name, ()),
            needed,
            slos_by.get(model.name, ()),
            lines.get(model.name, {}),
            compact=compact,
            every_alert=every_alert,
        )
        for model in models
    ]


def _card(
    model: ModelView,
    alerts: Sequence[AlertView],
    needed: set[tuple[str, bool]],
    slos: Sequence[SloView],
    lines: Mapping[str, LineView],
    *,
    compact: bool,
    every_alert: bool,
) -> Card:
    state, badges = _state(model, alerts, needed, lines), _badges(alerts)
    coloured = [(number % COLOURS + 1, version) for number, version in enumerate(model.versions)]
    coloured.sort(key=lambda pair: _use(pair[1]))
    shown = (_serving(coloured) if compact else coloured)[:VERSIONS]
    return Card(
        model=model,
        state=state if every_alert or state != "good" else "unknown",
        badges=badges[:BADGES],
        more_alerts=sum(badge.alerts for badge in badges[BADGES:]),
        shares=_shares(model),
        versions=tuple(shown),
        more_versions=0 if compact else len(coloured) - len(shown),
        lines=tuple(_drawn(name, lines.get(name)) for name in MEASURES),
        slo=min(slos, key=_budget_order, default=None),
    )


def _drawn(name: str, line: LineView | None) -> Drawn:
    return Drawn(name, line, None if line is None else sparkline(line.points, line.limit))


def _use(version: VersionView) -> int:
    """Return 0 for a version that is stable or a candidate, 1 for another that gets traffic, 2 for an idle one."""
    if version.role in ("stable", "candidate"):
        return 0
    return 1 if version.traffic_share else 2


def _serving(versions: Sequence[tuple[int, VersionView]]) -> Sequence[tuple[int, VersionView]]:
    """Return the versions in use; none when one that is ready serves everything: the card's title names it."""
    found = [pair for pair in versions if _use(pair[1]) < 2]
    return () if len(found) == 1 and found[0][1].state == "ready" else found


def _budget_order(slo: SloView) -> tuple[int, float]:
    left = slo.budget_remaining_ratio
    return SLO_STATES.index(slo.state), 1.0 if left is None else left


def _state(
    model: ModelView, alerts: Sequence[AlertView], needed: set[tuple[str, bool]], lines: Mapping[str, LineView]
) -> str:
    states = {version.state for version in model.versions if version.role == "stable"}
    if (
        any(a.state == "firing" and a.severity != "info" for a in alerts)
        or (model.name, True) in needed
        or "unavailable" in states
    ):
        return "firing"
    if alerts or (model.name, False) in needed or model.drift:
        return "pending"
    if model.rollout:
        return "rollout"
    return "unknown" if states <= {"unknown"} and not lines else "good"


def _badges(alerts: Sequence[AlertView]) -> tuple[Badge, ...]:
    """Return the alerts by name, firing ones first."""
    found: dict[tuple[str, str], list[AlertView]] = {}
    for alert in alerts:
        found.setdefault((alert.state, alert.name), []).append(alert)
    badges = [Badge(name, state, len(same), same[0].fingerprint) for (state, name), same in found.items()]
    return tuple(sorted(badges, key=lambda badge: (badge.state != "firing", -badge.alerts, badge.name)))


def _shares(model: ModelView) -> tuple[Share, ...]:
    found, start = [], 0.0
    for number, version in enumerate(model.versions):
        if version.traffic_share:
            width = round(100 * version.traffic_share, 1)
            found.append(Share(version.version, number % COLOURS + 1, round(start, 1), width))
            start += width
    return tuple(found)
