"""Settings that the dashboards take over from an installation: thresholds, and the addresses that panels link to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,19}")
"""Names of sets. Grafana's uids have at most 40 characters, of a few kinds."""
_TAG_CHARACTERS = 50
"""Longest tag that Grafana's databases store."""
GENERATED = "generated"
"""Tag of all dashboards that this package makes. A dashboard without it, and without a push, is somebody else's."""
FLEET_TAG = "fleet: "
"""Beginning of the tag that says whose thresholds and addresses a dashboard has."""
PROVISIONED_AT = "/var/lib/grafana/dashboards"
"""Folder of the dashboards as Grafana sees it, unless another is given: that of deploy/compose.yaml."""


@dataclass(frozen=True)
class Settings:
    """Equal settings make equal dashboards."""

    thresholds: Mapping[str, float]
    """Limits of the built-in alert rules, by the name that they have in fleet.yaml: `latency_p99`, in seconds.

    They are drawn as lines and decide colours, so that a panel turns red where the alert fires.
    """
    console: str = ""
    """Address of the web console, without a slash at the end. Empty: the panels have no links to it."""
    runbooks: str = ""
    """Address of the runbook pages, without a slash at the end. Empty: those of the console, if it is known."""
    fleet: str = ""
    """Name of the fleet whose fleet.yaml the thresholds are from. Empty: the built-in thresholds."""
    own_set: str = ""
    """Name of a set of dashboards beside others in the same Grafana: in uids, titles and the folder. Empty: the only
    set."""

    language: str = "en"
    """Code of the language of titles and descriptions, of dashboards.languages."""

    def __post_init__(self) -> None:
        """Raise ValueError for a name of a set that cannot be in a uid."""
        if self.own_set and not _SET.fullmatch(self.own_set):
            raise ValueError(f"{self.own_set!r}: expected at most 20 of a-z, A-Z, 0-9 and -, and no - at the beginning")

    def limit(self, name: str) -> float:
        """Return a threshold. Raises KeyError when no built-in rule has it."""
        return self.thresholds[name]

    def uid(self, uid: str) -> str:
        """Return a dashboard's uid in this set: `llm-fleet`, or `llm-<set>-fleet`."""
        return f"llm-{self.own_set}-{uid.removeprefix('llm-')}" if self.own_set else uid

    def titled(self, title: str) -> str:
        """Return a title in this set."""
        return f"{title} ({self.own_set})" if self.own_set else title

    @property
    def folder_uid(self) -> str:
        """Uid of Grafana's folder of the dashboards, whether they come from files or by a push."""
        return f"llm-{self.own_set}-dashboards" if self.own_set else "llm-fleet-dashboards"

    @property
    def folder_title(self) -> str:
        """Title of that folder."""
        return self.titled("LLM fleet")

    @property
    def menu_tag(self) -> str:
        """Tag of all dashboards of this set. Each has a menu of the others by it."""
        return f"llm-{self.own_set}" if self.own_set else "llm"

    @property
    def tags(self) -> list[str]:
        """Tags of each dashboard, that of the fleet among them where it is known."""
        fleet = [f"{FLEET_TAG}{self.fleet}"[:_TAG_CHARACTERS]] if self.fleet else []
        return [self.menu_tag, GENERATED, *fleet]

    def page(self, path: str) -> str:
        """Return the address of a page of the console, or "" when the console's address is not known."""
        return f"{self.console}{path}" if self.console else ""

    def runbook(self, alert: str) -> str:
        """Return the address of an alert's runbook, or "" when none is known. `alert` may be a variable of Grafana."""
        return f"{self.runbooks}/{alert}.md" if self.runbooks else self.page(f"/runbooks/{alert}")

    @property
    def all_runbooks(self) -> str:
        """Address of the list of runbooks, or "" when none is known."""
        return self.runbooks or self.page("/runbooks")
