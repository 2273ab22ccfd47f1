"""Absent is not zero: without data, no rule of a pack has a result, and none fails."""

from __future__ import annotations

import pytest

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import AlertingRule
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore

NOW = 1_800_000_000.0
RULES = {
    rule.name: rule.expr
    for name in BUILTIN
    for group in load_pack(name, options=EXAMPLE)
    for rule in group.rules
    if isinstance(rule, AlertingRule)
}
ALWAYS = {"Watchdog"}


@pytest.mark.parametrize("name", sorted(RULES))
def test_without_data_a_rule_says_nothing(name: str) -> None:
    value = PromqlEngine(SeriesStore()).instant(RULES[name], NOW)
    assert isinstance(value, Vector)
    assert len(value.samples) == (name in ALWAYS)
