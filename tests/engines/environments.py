"""Environments of engines that `make test-engines` installs, one for each file of requirements in this folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
START_S = 900.0
"""Longest wait, in seconds, until a heavy engine answers: it imports some GB first."""
_FOLDER = Path(os.environ.get("TEST_ENGINES", HERE.parents[1] / ".cache" / "engines")).absolute()


def program(engine: str, name: str = "python") -> Path:
    """Return a program of an engine's environment. It need not exist."""
    return _FOLDER / engine / "bin" / name


def needs(engine: str, title: str) -> list[pytest.MarkDecorator]:
    """Return the marks of the tests of an engine: they wait longer than others, and are skipped without it."""
    missing = not (_FOLDER / engine / ".made").exists()
    return [
        pytest.mark.skipif(missing, reason=f"{title} is not installed: make test-engines"),
        pytest.mark.timeout(2 * START_S),
    ]
