"""From fleet.yaml's `rules:` and `thresholds:` to rule groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alerts.errors import RuleError
from alerts.packs import BUILTIN, load_pack, load_sources
from alerts.rules import RuleGroup, duplicates, load_rule_files
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError, ConfigErrors


def fleet_rules(loaded: LoadedFleet) -> tuple[RuleGroup, ...]:
    """Return the fleet's rule groups. Raises ConfigErrors that name the rule file, or `thresholds`."""
    try:
        groups = load_sources(loaded.fleet.rules, loaded.path.parent, loaded.fleet.thresholds)
    except RuleError as error:
        raise ConfigErrors([ConfigError(str(error), file=loaded.path, field="rules")]) from error
    _refuse_duplicates(groups, loaded.path)
    return groups


def describe_rules(files: Sequence[Path]) -> tuple[RuleGroup, ...]:
    """Return the groups of rule files; without any, of the built-in packs. Raises ConfigErrors."""
    try:
        groups = load_rule_files(files) if files else tuple(g for name in BUILTIN for g in load_pack(name))
    except RuleError as error:
        raise ConfigErrors([ConfigError(str(error))]) from error
    _refuse_duplicates(groups, "")
    return groups


def _refuse_duplicates(groups: Sequence[RuleGroup], file: Path | str) -> None:
    if repeated := duplicates(groups):
        raise ConfigErrors([ConfigError(sentence, file=file, field="rules") for sentence in repeated])
