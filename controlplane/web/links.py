"""Addresses of pages that hold names from people, rules and engines. A name may hold any character."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from alerts.routing.matchers import Matcher, Op


def part(name: str) -> str:
    """Return a name as one part of a path: also `/` is encoded."""
    return quote(name, safe="")


def alerts_of(label: str, value: str, state: str = "active") -> str:
    """Return the address of the alerts in `state` whose label has the value."""
    return "/alerts?" + urlencode({"state": state, "label": str(Matcher(label, Op.EQUAL, value))})


def marks_of(label: str, value: str) -> str:
    """Return the address of the API's list of those alerts, ended ones included: the marks of charts."""
    return "/cp/v1/alerts?" + urlencode({"state": "all", "label": str(Matcher(label, Op.EQUAL, value))})
