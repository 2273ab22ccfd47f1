"""Every package says what lives there, and where to start reading."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOP = ("controlplane", "alerts", "collectors", "dashboards", "promql")
PACKAGES = sorted(
    path.parent.relative_to(ROOT).as_posix()
    for top in TOP
    for path in (ROOT / top).rglob("__init__.py")
    if "node_modules" not in path.parts
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_lives_there(package: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")))
    assert text, f"{package}/__init__.py: a docstring is missing"
    named = re.findall(r"`([a-z_/]+\.py)`", text)
    assert [name for name in named if not (ROOT / package / name).is_file()] == []


def test_packages_are_found() -> None:
    assert {"alerts", "collectors/http", "controlplane/metrics/series"} <= set(PACKAGES)
