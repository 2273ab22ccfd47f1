from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.tables.lease import LeaseRow


@dataclass
class VirtualClock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    db = Database(f"sqlite:///{tmp_path}/x.db")
    SQLModel.metadata.create_all(db.engine)
    yield db
    db.close()


@pytest.fixture
def leases(database: Database) -> LeaseStore:
    return LeaseStore(database)


@pytest.fixture
def run_out(database: Database) -> Callable[[], None]:
    """Let the time of all leases pass: they are judged on the database's clock."""

    def let_pass() -> None:
        with database.transaction() as session:
            session.execute(update(LeaseRow).values(expires_at=0.0))

    return let_pass
