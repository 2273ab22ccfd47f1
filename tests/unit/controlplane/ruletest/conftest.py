"""Test files and their rule files, written into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.ruletest.run import FileOutcome, run_file

Write = Callable[..., Path]
Run = Callable[..., FileOutcome]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a test file, and with `rules` the rule file rules.yml beside it."""

    def write(text: str, rules: str = "") -> Path:
        if rules:
            (tmp_path / "rules.yml").write_text(dedent(rules))
        path = tmp_path / "a.test.yml"
        path.write_text(dedent(text))
        return path

    return write


@pytest.fixture
def run(write: Write) -> Run:
    """Write and run a test file."""
    return lambda text, rules="": run_file(write(text, rules))
