"""Settings of the generated dashboards, from a fleet.yaml."""

from __future__ import annotations

from pathlib import Path

from alerts.errors import RuleError
from alerts.packs import threshold_values
from controlplane.config.loader import load_fleet
from controlplane.errors import ConfigErrors
from dashboards.settings import Settings


def dashboard_settings(fleet: Path | None) -> Settings:
    """Return the settings of the dashboards for a fleet.yaml; without one, the built-in thresholds and no links.

    Raises ConfigErrors.
    """
    if fleet is None:
        return Settings(threshold_values())
    loaded = load_fleet(fleet)
    try:
        thresholds = threshold_values(loaded.fleet.thresholds)
    except RuleError as error:
        raise ConfigErrors([loaded.error(("thresholds",), str(error))]) from error
    return Settings(thresholds, (loaded.fleet.fleet.external_url or "").rstrip("/"))
