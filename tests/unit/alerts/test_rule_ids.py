"""A stored rule id maps to the same rule, whatever folder its file is in."""

from __future__ import annotations

import pytest

from alerts.rule_ids import RuleIds

HERE = ["/a/rules.yml;g;Hot", "/a/rules.yml;g;Hot#2", "/a/x/gpu.yml;g;Hot", "/a/y/gpu.yml;g;Hot", "builtin:llm;g;Down"]


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("/a/rules.yml;g;Hot", "/a/rules.yml;g;Hot"),
        ("/b/c/rules.yml;g;Hot", "/a/rules.yml;g;Hot"),
        ("/b/c/rules.yml;g;Hot#2", "/a/rules.yml;g;Hot#2"),
        ("builtin:llm;g;Down", "builtin:llm;g;Down"),
        ("/b/rules.yml;g;Cold", None),
        ("/b/rules.yml;other;Hot", None),
        ("/b/other.yml;g;Hot", None),
        ("/a/x/gpu.yml;g;Hot", "/a/x/gpu.yml;g;Hot"),
        ("/b/x/gpu.yml;g;Hot", None),
        ("", None),
    ],
)
def test_what_a_stored_id_means(stored: str, meant: str | None) -> None:
    assert RuleIds(HERE).meant(stored) == meant
