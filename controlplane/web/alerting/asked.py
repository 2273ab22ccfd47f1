"""The address of the alerts page: state, filters, grouping and page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from alerts.dispatch import has_cause
from alerts.errors import MatcherError
from alerts.interfaces import AlertInstance
from alerts.routing.matchers import Matcher, Op, parse_matchers
from controlplane.web.languages import noted as _

State = Literal["all", "active", "firing", "pending", "held", "resolved"]
"""`active` is firing and pending. `held` fires, and notifications leave it out: acknowledged, silenced, inhibited."""
STATES: tuple[State, ...] = ("all", "active", "firing", "pending", "held", "resolved")
TABS = (_("all"), _("active"), _("firing"), _("pending"), _("held back"), _("resolved"))
"""Names of the tabs, in the order of STATES."""
GROUPS = {"alertname": _("alert"), "model": _("model"), "node": _("node"), "severity": _("severity")}
"""Labels by which alerts are grouped, each with its word."""
SEVERITIES = (_("critical"), _("warning"), _("info"))
HELD = (_("acknowledged"), _("snoozed"), _("silenced"), _("inhibited"), _("not now"))
"""Why an alert is held back, in a word."""
MOST_TEXT = 1000
"""Most characters of a filter. Chosen: matchers of ten labels or so."""


@dataclass(frozen=True)
class Asked:
    """The parameters of an address."""

    state: State = "all"
    severity: str = ""
    label: str = ""
    """Matchers, such as `model="chat", node=~"n.*"`."""
    q: str = ""
    """Words that the alert's name, labels and summary must have."""
    group: str = ""
    """One of GROUPS; "": one list."""
    open: tuple[str, ...] | None = None
    """Groups that are open; None: as many as fit."""
    page: int = 1

    def address(self, **changes: object) -> str:
        """Return the address of the page with other parameters. A change of the filter leads to the first page."""
        if "page" not in changes:
            changes["page"] = 1
        asked = replace(self, **changes)  # type: ignore[arg-type]  # the template names the fields
        pairs: list[tuple[str, str]] = [("state", asked.state)]
        pairs += [(name, getattr(asked, name)) for name in ("severity", "label", "q", "group") if getattr(asked, name)]
        if asked.group and asked.open is not None:
            pairs += [("open", name) for name in asked.open] or [("open", "")]
        if asked.page > 1:
            pairs.append(("page", str(asked.page)))
        return f"/alerts?{urlencode(pairs)}"

    @property
    def narrows(self) -> bool:
        """Whether a filter leaves alerts out."""
        return bool(self.severity or self.label or self.q)

    def matching(self) -> Callable[[AlertInstance], bool]:
        """Return whether an alert passes the filters, whatever its state. Raises MatcherError."""
        if len(self.label) > MOST_TEXT:
            raise MatcherError(f"{len(self.label)} characters: the most is {MOST_TEXT}")
        matchers = parse_matchers(self.label) if self.label.strip() else ()
        words = self.q.lower().split()

        def passes(alert: AlertInstance) -> bool:
            labels = dict(alert.labels)
            if self.severity and labels.get("severity", "") != self.severity:
                return False
            if not all(_holds(matcher, alert, labels) for matcher in matchers):
                return False
            text = _words_of(alert) if words else ""
            return all(word in text for word in words)

        return passes


def _holds(matcher: Matcher, alert: AlertInstance, labels: dict[str, str]) -> bool:
    """Return whether a matcher holds. An alert without a node is on that of its instance, as in messages of storms."""
    return matcher.matches(labels) or (
        matcher.op is Op.EQUAL and has_cause(alert.labels, (matcher.name, matcher.value))
    )


def _words_of(alert: AlertInstance) -> str:
    summary = dict(alert.annotations).get("summary", "")
    return " ".join([*(f"{name}={value}" for name, value in alert.labels), summary]).lower()
