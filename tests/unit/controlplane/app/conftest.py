"""A configuration from text, and an empty database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated

Write = Callable[[str], LoadedFleet]


@pytest.fixture
def fleet(tmp_path: Path) -> Write:
    """Write a fleet.yaml (its `fleet:` section is added) and load it."""

    def write(text: str = "") -> LoadedFleet:
        (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n" + dedent(text))
        return load_fleet(tmp_path / "fleet.yaml")

    return write


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(write_migrated(tmp_path / "a.db"))
    yield database
    database.close()
