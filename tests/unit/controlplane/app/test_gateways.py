"""The driver's view of gateways, as the database has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.app.gateways import StoredGateways
from controlplane.config.model import Fleet
from controlplane.errors import Unavailable
from controlplane.store.assignments import AssignmentStore
from controlplane.store.database import Database
from controlplane.store.rollout_log import RolloutLog
from tests.fakes.rollout_world import VirtualClock

VERSIONS = {v: {"backends": [{"url": f"http://{v}:1", "engine": "vllm"}]} for v in ("v1", "v2", "v3")}
MODEL = {"name": "chat", "stable": "v1", "traffic": {"driver": "gateway"}, "versions": VERSIONS}
FLEET = Fleet.model_validate({"fleet": {"name": "a"}, "models": [MODEL]})


@pytest.fixture
def db(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(made.engine)
    return made


def test_shares_become_thousandths_that_add_up(db: Database) -> None:
    changes: list[int] = []
    gateways = StoredGateways(db, lambda: FLEET, VirtualClock(), lambda: changes.append(1))
    third = 1 / 3
    gateways.assign("chat", {"v1": third, "v2": third, "v3": third}, {}, "rollout r-1", None)
    weights = AssignmentStore(db).all()["chat"].weights
    assert sorted(weights.values()) == [333, 333, 334]
    assert changes == [1]
    assert gateways.traffic("chat").generation == 1
    db.close()


def test_copies_are_part_of_an_assignment(db: Database) -> None:
    gateways = StoredGateways(db, lambda: FLEET, VirtualClock())
    gateways.assign("chat", {"v1": 1.0}, {"v2": 0.25}, "rollout r-1", None)
    seen = gateways.traffic("chat")
    assert (seen.generation, seen.weights, seen.mirror) == (1, {"v1": 1.0}, {"v2": 0.25})
    gateways.assign("chat", {"v1": 1.0}, {"v2": 0.0001}, "rollout r-1", None)
    assert gateways.traffic("chat").mirror == {"v2": 0.001}, "a small share is not rounded to none"
    gateways.assign("chat", {"v1": 1.0}, {"v2": 0.0}, "rollout r-1", None)
    seen = gateways.traffic("chat")
    assert (seen.generation, seen.mirror) == (3, {})
    db.close()


def test_without_an_assignment_everything_goes_to_the_stable_version_of_the_database(db: Database) -> None:
    gateways = StoredGateways(db, lambda: FLEET, VirtualClock())
    assert (gateways.traffic("chat").generation, gateways.traffic("chat").weights) == (0, {"v1": 1.0})
    RolloutLog(db).seed("chat", "v2")
    assert gateways.traffic("chat").weights == {"v2": 1.0}
    with pytest.raises(Unavailable, match="other is no longer in fleet"):
        gateways.traffic("other")
    db.close()
