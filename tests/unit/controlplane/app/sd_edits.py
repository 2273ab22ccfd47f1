"""Edits of the sources of addresses of a group of targets, each of one field."""

from __future__ import annotations

from typing import Any

DNS = {"names": ["a.invalid"], "type": "A", "port": 9}


def _edit(kind: str, first: dict[str, Any], field: str, value: Any) -> tuple[str, tuple[str | int, ...], Any]:
    return f"targets[].{kind}[].{field}", ("targets", 1, kind), [{**first, field: value}]


SD_EDITS = (
    _edit("dns_sd", DNS, "names", ["a.invalid", "b.invalid"]),
    _edit("dns_sd", DNS, "type", "AAAA"),
    _edit("dns_sd", DNS, "port", 10),
    _edit("dns_sd", DNS, "refresh_interval", "9s"),
)
"""Edits as in test_reload_property.EDITS."""
