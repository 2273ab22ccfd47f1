"""A configuration from text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.config.loader import LoadedFleet, load_fleet

Write = Callable[[str], LoadedFleet]


@pytest.fixture
def fleet(tmp_path: Path) -> Write:
    """Write a fleet.yaml (its `fleet:` section is added) and load it."""

    def write(text: str = "") -> LoadedFleet:
        (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n" + dedent(text))
        return load_fleet(tmp_path / "fleet.yaml")

    return write
