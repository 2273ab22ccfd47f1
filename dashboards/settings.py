"""Settings that the dashboards take over from an installation: thresholds, and the addresses that panels link to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FOLDER_UID, FOLDER_TITLE = "llm-fleet-dashboards", "LLM fleet"
"""Grafana's folder of the dashboards, whether they come from files or by a push."""
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

    def limit(self, name: str) -> float:
        """Return a threshold. Raises KeyError when no built-in rule has it."""
        return self.thresholds[name]

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
