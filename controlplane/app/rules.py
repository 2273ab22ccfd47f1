"""From fleet.yaml's `rules:` and `thresholds:` to rule groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from alerts.errors import RuleError
from alerts.packs import BUILTIN, load_pack, load_sources
from alerts.rules import RuleGroup, load_rule_files
from controlplane.config.loader import LoadedFleet, line_of
from controlplane.errors import ConfigError, ConfigErrors, QueryError
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.series_store import SeriesStore


def fleet_rules(loaded: LoadedFleet, runbooks: str = "/runbooks") -> tuple[RuleGroup, ...]:
    """Return the fleet's rule groups; `runbooks` is where their pages are served.

    Raises ConfigErrors that name the rule file, or `thresholds`.
    """
    try:
        return load_sources(loaded.fleet.rules, loaded.path.parent, loaded.fleet.thresholds, runbooks=runbooks)
    except RuleError as error:
        field = "thresholds" if "threshold" in str(error) else "rules"
        line = line_of(loaded.path, [field])
        raise ConfigErrors([ConfigError(str(error), file=loaded.path, line=line, field=field)]) from error


def unsupported(groups: Iterable[RuleGroup]) -> list[str]:
    """Return a sentence for each rule that the embedded engine cannot evaluate, whatever the data."""
    engine = PromqlEngine(SeriesStore())
    sentences = []
    for group in groups:
        for rule in group.rules:
            try:
                engine.instant(rule.expr, 0.0)
            except QueryError as error:
                sentences.append(f"{group.key}: {rule.name}: cannot be evaluated here: {error}")
    return sentences


def describe_rules(files: Sequence[Path]) -> tuple[RuleGroup, ...]:
    """Return the groups of rule files; without any, of the built-in packs. Raises ConfigErrors."""
    try:
        return load_rule_files(files) if files else tuple(g for name in BUILTIN for g in load_pack(name))
    except RuleError as error:
        raise ConfigErrors([ConfigError(str(error))]) from error
