"""Causes that need attention: the alerts and sentences about one model, or one node, are one entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.fleet.views import AlertView, AttentionView
from controlplane.web.languages import noted as _
from controlplane.web.links import alerts_of, part

SHOWN = 6
"""Causes on the page. Chosen: they leave the first row of cards on the screen."""
LINES = 2
"""Lines of one cause: its needs, then its kinds of alerts."""
RANKS = {"critical": 1, "warning": 2}
"""Ranks of firing alerts by severity. A rollout that needs a person is before them, what waits is after them."""
PERSON, OTHER_SEVERITY, WAITS, PENDING = 0, 3, 4, 5
NEEDS = {
    "person": _("needs a person"),
    "waiting": _("waits"),
    "decision": _("needs a decision"),
    "went_back": _("went back"),
    "engine_not_ready": _("not ready"),
    "gateway_silent": _("silent"),
    "gateway_refuses": _("refuses"),
    "gateway_shared": _("one name"),
    "gateway_behind": _("behind"),
    "no_gateway": _("no gateway"),
}
"""Words for the needs of rollouts, engines and gateways."""


KINDS = {
    "model": _("model"),
    "node": _("node"),
    "instance": _("target"),
    "alertname": _("alert"),
    "gateway": _("gateways"),
}
"""Words for the kinds of subjects."""


@dataclass(frozen=True)
class AlertKind:
    """The active alerts of one name and cause."""

    first: AlertView
    """The worst of them; among equals the oldest."""
    count: int
    href: str


@dataclass(frozen=True)
class Cause:
    """Everything that needs attention on one model, node, instance, or rule."""

    kind: str
    """model, node, instance, alertname, or gateway."""
    name: str
    href: str
    """Page of the subject; "": it has none."""
    rank: int
    """0 is the most urgent."""
    needs: tuple[tuple[AttentionView, int], ...]
    """Needs of different kinds, each with the number of its kind."""
    alerts: tuple[AlertKind, ...]
    """The worst kinds, as many as the needs leave of LINES."""
    more: int
    """Alerts and needs of further kinds."""
    all_href: str
    """Page with all alerts of the cause; of gateways, their own."""

    @property
    def state(self) -> str:
        """firing or pending: the weight of the entry."""
        return "firing" if self.rank < WAITS else "pending"


def causes_of(alerts: Sequence[AlertView], needs: Sequence[AttentionView], models: Iterable[str]) -> list[Cause]:
    """Return the causes, the most urgent first, then the oldest. `models` are the models that have a page."""
    alerts_by: dict[tuple[str, str], list[AlertView]] = {}
    needs_by: dict[tuple[str, str], list[AttentionView]] = {}
    for alert in alerts:
        alerts_by.setdefault(_subject(alert.labels), []).append(alert)
    for need in needs:
        needs_by.setdefault(("model", need.model) if need.model else ("gateway", ""), []).append(need)
    known = set(models)
    found = [
        _cause(key, alerts_by.get(key, ()), needs_by.get(key, ()), known)
        for key in dict.fromkeys([*needs_by, *alerts_by])
    ]
    return sorted(found, key=lambda cause: (cause.rank, _since(cause), cause.name))


def alert_rank(alert: AlertView) -> int:
    """Return the urgency of an active alert; 0 would be the most urgent."""
    return RANKS.get(alert.severity, OTHER_SEVERITY) if alert.state == "firing" else PENDING


def _subject(labels: Mapping[str, str]) -> tuple[str, str]:
    for name in ("model", "node", "instance"):
        if labels.get(name):
            return name, labels[name]
    return "alertname", labels.get("alertname", "")


def _cause(
    key: tuple[str, str], alerts: Sequence[AlertView], needs: Sequence[AttentionView], models: set[str]
) -> Cause:
    kind, name = key
    of_name: dict[str, list[AlertView]] = {}
    for alert in sorted(alerts, key=lambda a: (alert_rank(a), a.active_at)):
        of_name.setdefault(alert.name, []).append(alert)
    all_href = "/gateway" if kind == "gateway" else alerts_of(kind, name)
    kinds = [
        AlertKind(same[0], len(same), all_href if len(same) > 1 else f"/alerts/{same[0].fingerprint}")
        for same in of_name.values()
    ]
    of_need: dict[str, list[AttentionView]] = {}
    for need in needs:
        of_need.setdefault(need.need, []).append(need)
    wants = [(same[0], len(same)) for same in of_need.values()]
    left = max(1, LINES - len(wants)) if kinds else 0
    ranks = [alert_rank(k.first) for k in kinds] + [PERSON if n.need == "person" else WAITS for n in needs]
    return Cause(
        kind=kind,
        name=name,
        href=f"/models/{part(name)}" if kind == "model" and name in models else "",
        rank=min(ranks),
        needs=tuple(wants[: LINES - (1 if kinds else 0)]),
        alerts=tuple(kinds[:left]),
        more=sum(k.count for k in kinds[left:]) + sum(count for _need, count in wants[LINES - (1 if kinds else 0) :]),
        all_href=all_href,
    )


def _since(cause: Cause) -> str:
    times = [kind.first.active_at for kind in cause.alerts] + [need.since for need, _count in cause.needs if need.since]
    return min(times, default="")
