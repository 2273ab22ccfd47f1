"""The alerts as their page shows them: counted, grouped and cut to a page. Reads the database; every call blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerts.dispatch.storms import causes_of
from alerts.errors import MatcherError
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.matchers import Matcher, Op
from controlplane.api.alerts import resolved_alerts
from controlplane.api.services import Services
from controlplane.fleet.assemble import alert_view
from controlplane.fleet.holding.views import NO_HOLD, AlertHold
from controlplane.fleet.views import AlertView
from controlplane.web.alerting.asked import STATES, Asked, State

PAGE = 100
"""Rows of a page. Chosen: with their buttons they are a quarter of a megabyte of HTML at most."""
MOST_ACTIVE = 100_000
"""Most firing and pending alerts that are read. Chosen: ten times the largest storm that is planned for."""
MOST_RESOLVED = 1000
"""Ends of alerts that are read, newest first."""
RESOLVED_BELOW = 20
"""Resolved alerts below the active ones."""
MOST_GROUPS = 200
WITHOUT = "(none)"
"""The group of the alerts without the label, in an address."""
_RANKS = {"critical": 0, "warning": 1, "info": 2}


@dataclass
class Group:
    """Alerts with one value of a label."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    """Numbers of alerts by tab."""
    severity: str = ""
    """The worst of its active alerts."""
    alerts: list[AlertInstance] = field(default_factory=list)
    rows: Sequence[AlertView] = ()
    """Those that the page shows."""
    is_open: bool = False

    @property
    def total(self) -> int:
        """Number of its alerts on this tab."""
        return len(self.alerts)

    @property
    def key(self) -> str:
        """Name of the group in an address, which is never empty."""
        return self.name or WITHOUT


@dataclass(frozen=True)
class Board:
    """The content of the page."""

    counts: Mapping[str, int]
    """Numbers of alerts that pass the filters, by tab."""
    total: int
    """Number of alerts on this tab."""
    rows: Sequence[AlertView] = ()
    page: int = 1
    """The page of the rows: that of the address, or the last one there is."""
    resolved: Sequence[AlertView] = ()
    """The newest resolved alerts, for the foot of the tab `all`."""
    groups: Sequence[Group] = ()
    more_groups: int = 0
    heartbeats: Sequence[AlertView] = ()
    """Alerts of severity none, which are for machines and in no count."""
    fault: str = ""
    """Why the filter cannot be used."""
    many_resolved: bool = False
    """Whether more alerts ended than were read."""

    @property
    def pages(self) -> int:
        """Number of pages, at least one."""
        return _pages(self.total)

    def toggled(self, group: Group) -> tuple[str, ...]:
        """Return the names of the groups that are open once one is opened or folded."""
        return tuple(one.key for one in self.groups if one.is_open is not (one.name == group.name))

    def only(self, asked: Asked, group: Group) -> str:
        """Return matchers of one group's alerts, with those of the address."""
        matcher = Matcher(asked.group, Op.EQUAL, group.name)
        return f"{asked.label}, {matcher}" if asked.label else str(matcher)


class Found:
    """All alerts that pass the filters, in the order of the page, with what holds each back."""

    def __init__(self, services: Services, asked: Asked) -> None:
        """Read them. Raises MatcherError for a filter that cannot be read, and Unavailable."""
        passes = asked.matching()
        active = services.alerts.active(limit=MOST_ACTIVE)
        ended = resolved_alerts(services.alerts, MOST_RESOLVED)
        self.many_resolved = len(ended) >= MOST_RESOLVED
        self.heartbeats = [one for one in active if not _for_people(one)]
        self.holds: Mapping[str, AlertHold] = services.holding.standings([one for one in active if _for_people(one)])
        found = sorted((one for one in active if _for_people(one) and passes(one)), key=self._rank)
        self._alerts = (*found, *(one for one in ended if _for_people(one) and passes(one)))

    def hold(self, alert: AlertInstance) -> AlertHold:
        """Return what holds an alert back."""
        return self.holds.get(alert.fingerprint, NO_HOLD)

    def of(self, state: State) -> list[AlertInstance]:
        """Return the alerts of a tab."""
        return [one for one in self._alerts if state in self.tabs(one)]

    def counts(self, alerts: Iterable[AlertInstance] | None = None) -> Counter[str]:
        """Return the numbers of alerts by tab."""
        every = self._alerts if alerts is None else alerts
        return Counter(dict.fromkeys(STATES, 0)) + Counter(tab for one in every for tab in self.tabs(one))

    def tabs(self, alert: AlertInstance) -> tuple[State, ...]:
        """Return the tabs that have an alert."""
        if alert.state is AlertState.INACTIVE:
            return ("all", "resolved")
        if alert.state is AlertState.PENDING:
            return ("all", "active", "pending")
        return ("all", "active", "firing", "held") if self.hold(alert).held_back else ("all", "active", "firing")

    def views(self, alerts: Iterable[AlertInstance]) -> list[AlertView]:
        """Return the views of alerts."""
        return [alert_view(one, self.hold(one)) for one in alerts]

    def _rank(self, alert: AlertInstance) -> tuple[object, ...]:
        """Return the place of an active alert: what somebody must look at comes first, and of that the oldest."""
        held = bool(self.hold(alert).held_back)
        severity = _RANKS.get(dict(alert.labels).get("severity", ""), len(_RANKS))
        return (alert.state is AlertState.PENDING, held, severity, alert.active_at, alert.fingerprint)


def board_of(services: Services, asked: Asked) -> Board:
    """Return the page that an address asks for. A filter that cannot be read shows nothing, and says why."""
    try:
        found = Found(services, asked)
    except MatcherError as error:
        return Board(dict.fromkeys(STATES, 0), 0, fault=str(error))
    every = found.of(asked.state)
    counted = found.counts()
    counts = {name: counted[name] for name in STATES}
    board = {
        "counts": counts,
        "heartbeats": found.views(found.heartbeats) if asked.state != "held" and not asked.narrows else (),
        "many_resolved": found.many_resolved,
    }
    below: Sequence[AlertInstance] = ()
    if asked.state == "all":
        below = [one for one in every if one.state is AlertState.INACTIVE]
        every = every[: len(every) - len(below)]
    resolved = found.views(below[:RESOLVED_BELOW])
    if asked.group:
        groups, more = _groups(found, asked, every)
        return Board(total=len(every), resolved=resolved, groups=groups, more_groups=more, **board)  # type: ignore[arg-type]
    page = min(asked.page, _pages(len(every)))  # alerts end while somebody looks at the last page
    rows = found.views(every[(page - 1) * PAGE : page * PAGE])
    return Board(total=len(every), rows=rows, page=page, resolved=resolved, **board)  # type: ignore[arg-type]


def _pages(total: int) -> int:
    return max(1, -(-total // PAGE))


def group_of(alert: AlertInstance, label: str) -> str:
    """Return the name of an alert's group; "" for those without the label. A node is also that of the instance."""
    return next((value for _, value in causes_of(alert.labels, (label,))), "")


def _groups(found: Found, asked: Asked, alerts: Sequence[AlertInstance]) -> tuple[list[Group], int]:
    """Return the groups, those with the most urgent alert first, and the number of groups that are left out."""
    named: dict[str, Group] = {}
    for one in alerts:
        name = group_of(one, asked.group)
        group = named.setdefault(name, Group(name))
        group.alerts.append(one)
        group.counts.update(found.tabs(one))
        severity = dict(one.labels).get("severity", "")
        if not group.severity or _RANKS.get(severity, len(_RANKS)) < _RANKS.get(group.severity, len(_RANKS)):
            group.severity = severity
    groups = list(named.values())
    left = PAGE
    for group in groups[:MOST_GROUPS]:
        group.is_open = len(alerts) <= PAGE if asked.open is None else group.key in asked.open
        if group.is_open:
            group.rows = found.views(group.alerts[:left])
            left -= len(group.rows)
    return groups[:MOST_GROUPS], len(groups[MOST_GROUPS:])


def _for_people(alert: AlertInstance) -> bool:
    return dict(alert.labels).get("severity", "") != "none"
