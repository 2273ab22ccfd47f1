"""Edits of relabelling rules: each adds the rule that has the field."""

from __future__ import annotations

from typing import Any

TARGET: tuple[str | int, ...] = ("targets", 0)

_RULES: dict[str, dict[str, Any]] = {
    "source_labels": {"source_labels": ["team", "zone"], "target_label": "both"},
    "separator": {"source_labels": ["team", "zone"], "target_label": "both", "separator": "-"},
    "target_label": {"source_labels": ["team"], "target_label": "squad"},
    "regex": {"source_labels": ["team"], "target_label": "squad", "regex": "(.).*"},
    "replacement": {"target_label": "squad", "replacement": "s1"},
    "modulus": {"source_labels": ["team"], "target_label": "shard", "modulus": 5, "action": "hashmod"},
    "action": {"source_labels": ["team"], "regex": "b", "action": "keep"},
}

RELABEL_EDITS: list[tuple[str, tuple[str | int, ...], Any]] = [
    *((f"targets[].relabel_configs[].{name}", (*TARGET, "relabel_configs"), [rule]) for name, rule in _RULES.items()),
    *(("targets[].metric_relabel_configs", (*TARGET, "metric_relabel_configs"), [rule]) for rule in _RULES.values()),
]
