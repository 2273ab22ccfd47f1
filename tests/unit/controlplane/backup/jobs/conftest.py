"""A program in place of `controlplane`, which writes down how it was called and does what a test wants."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.jobs.child import Bounds
from controlplane.backup.jobs.command import Place
from controlplane.backup.jobs.run import BackupRunner
from controlplane.store.backups.runs import BackupRunStore
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated

FAKE = r"""
import json, os, sys, time
from pathlib import Path
home = Path(os.environ["HOME_OF_TEST"])
with (home / "calls").open("a") as calls:
    calls.write(json.dumps({"words": sys.argv[1:], "environment": dict(os.environ), "nice": os.nice(0),
                            "pid": os.getpid()}) + "\n")
act = home / ("prune.py" if "prune" in sys.argv else "act.py")
if act.exists():
    exec(act.read_text())
"""
SNAPSHOT: dict[str, Any] = {
    "id": "abc123",
    "stored_at": "2026-11-18T11:06:40Z",
    "bytes": 5_000_000_000_000,
    "new_bytes": 7,
    "notes": ["deleted while the backup ran: x"],
}
STORED_AT = 1_795_000_000.0
NOW = 1_795_000_100.0


class Clock:
    time = NOW

    def now(self) -> float:
        return self.time


class World:
    """A control plane's database, and a program that acts as `act` says."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, Clock()
        self.db = Database(write_migrated(home / "a.db"))
        self.runs = BackupRunStore(self.db)
        self.place = Place("s3://bucket/llm", home / "backup.key", home / "fleet.yaml", home)
        (home / "fake.py").write_text(FAKE)
        self.environment = {**os.environ, "HOME_OF_TEST": str(home), "AWS_SECRET_ACCESS_KEY": "s", "CP_TOKEN": "t"}

    @property
    def program(self) -> tuple[str, str]:
        return sys.executable, str(self.home / "fake.py")

    def runner(self, telling: Bounds | None = None, environment: Mapping[str, str] | None = None) -> BackupRunner:
        return BackupRunner(
            self.runs,
            self.clock,
            program=self.program,
            environment=environment or self.environment,
            telling=telling or Bounds(look_s=0.02),
            quiet=Bounds(silent_s=None, look_s=0.02),
        )

    def act(self, code: str, verb: str = "act") -> None:
        (self.home / f"{verb}.py").write_text(code)

    def succeed(self) -> None:
        self.act(f"print({json.dumps(json.dumps(SNAPSHOT))})")

    def calls(self) -> list[dict[str, Any]]:
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.db.close()
