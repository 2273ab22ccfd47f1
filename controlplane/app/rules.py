"""The rule groups of a fleet.yaml, from its `rules:`, `thresholds:` and `no_data:`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alerts.errors import NoDataError, RuleError, ThresholdError
from alerts.no_data import read_no_data
from alerts.packs import BUILTIN, PREFIX, RUNBOOKS, PackOptions, expanded, load_pack, load_sources, threshold_values
from alerts.rules import RuleGroup, load_rule_files
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.config.model import Fleet
from controlplane.errors import ConfigError, ConfigErrors, QueryError
from controlplane.fleet.slo_config import configured_slos
from controlplane.metrics.promql.syntax.metric_names import metric_names
from dashboards.settings import Settings

OWN_PREFIX = "controlplane_"


def fleet_rules(loaded: LoadedFleet, runbooks: str = "/runbooks") -> tuple[RuleGroup, ...]:
    """Return the fleet's rule groups. `runbooks` is the address of the runbooks' pages.

    Raises ConfigErrors, which name the rule file, `thresholds` or `no_data`.
    """
    try:
        options = pack_options(loaded.fleet, runbooks)
        return load_sources(loaded.fleet.rules, loaded.path.parent, loaded.fleet.thresholds, options)
    except RuleError as error:
        raise ConfigErrors([loaded.error(_place_of(error), str(error))]) from error


def _place_of(error: RuleError) -> tuple[str, ...]:
    """Return the place in fleet.yaml of a fault."""
    if isinstance(error, ThresholdError):
        return ("thresholds", error.name)
    return ("no_data", error.name) if isinstance(error, NoDataError) else ("rules",)


def pack_options(fleet: Fleet, runbooks: str = RUNBOOKS) -> PackOptions:
    """Return what a fleet.yaml says about the built-in packs."""
    policies = {name: read_no_data(text) for name, text in fleet.no_data.items()}
    return PackOptions(runbooks, dict(fleet.owners), configured_slos(fleet), policies)


def describe_rules(sources: Sequence[Path], faults: list[RuleError] | None = None) -> tuple[RuleGroup, ...]:
    """Return the groups of rule files and of packs named `builtin:<pack>`; without sources, of every pack.

    Raises ConfigErrors for the first fault. With `faults` it appends all faults there and raises nothing.
    """
    groups: list[RuleGroup] = []
    for source in expanded([str(source) for source in sources] or [PREFIX + name for name in BUILTIN]):
        try:
            if source.startswith(PREFIX):
                groups += load_pack(source.removeprefix(PREFIX))
            else:
                groups += load_rule_files([Path(source)], faults)
        except RuleError as error:
            if faults is None:
                raise ConfigErrors([ConfigError(str(error))]) from error
            faults.append(error)
    return tuple(groups)


def reads_own_metrics(group: RuleGroup) -> bool:
    """Return whether every rule of a group reads only the control plane's own metrics."""
    try:
        names = [metric_names(rule.expr) for rule in group.rules]
    except QueryError:
        return False
    return all(found and all(name.startswith(OWN_PREFIX) for name in found) for found in names)


def dashboard_settings(fleet: Path | None, own_set: str = "", language: str = "en") -> Settings:
    """Return the settings of the dashboards for a fleet.yaml; without one, the built-in thresholds and no links.

    `own_set` names a set of dashboards beside others. Raises ConfigErrors, and ValueError for that name.
    """
    if fleet is None:
        return Settings(threshold_values(), own_set=own_set, language=language)
    loaded = load_fleet(fleet)
    try:
        thresholds = threshold_values(loaded.fleet.thresholds)
    except RuleError as error:
        raise ConfigErrors([loaded.error(_place_of(error), str(error))]) from error
    section = loaded.fleet.fleet
    console = (section.external_url or "").rstrip("/")
    return Settings(thresholds, console, fleet=section.name, own_set=own_set, language=language)
