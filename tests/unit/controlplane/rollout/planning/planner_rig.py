"""A planner with a real driver on fake Tritons, a real database and a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import RolloutSection, RolloutsSection
from controlplane.errors import Refused
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.model import Plan
from controlplane.rollout.planning.plan import Request
from controlplane.rollout.planning.planner import Planner
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import RolloutRecord
from tests.fakes.rollout_world import START, World
from tests.unit.controlplane.metrics.conftest import load

LONG_AGO, FAR = "1970-01-01", "1970-02-01"
"""Days around START, which is in January 1970."""
FREEZE = {"freeze": [{"name": "feast", "from": LONG_AGO, "to": FAR}]}


class Series:
    def __init__(self, text: str) -> None:
        self._engine = load(text)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        return self._engine.instant(expr, 0.0)


@dataclass
class Rig:
    """A planner over model `model` on one fake Triton. Keyword arguments are fields of its `rollout:`."""

    world: World
    planner: Planner
    shared: Mapping[str, Any]
    versions: Mapping[str, Any]

    def options(self, **rollout: Any) -> None:
        section = self.world.section.model_copy(
            update={
                "rollout": RolloutSection.model_validate(rollout),
                "versions": ModelSection.model_validate(
                    {**BASE, "versions": {"v1": {}, "v2": {}, "v3": {}, **self.versions}}
                ).versions,
            }
        )
        sections = {**self.world._sections, "model": section}
        self.planner.update(sections, self.world._drivers, {}, RolloutsSection.model_validate(self.shared))

    async def plan(self, version: str = "v2", *, dry: bool = False, **request: Any) -> Plan:
        given = Request("model", version, **{"actor": "ann", "role": "operator", **request})
        return await (self.planner.dry_run(given) if dry else self.planner.plan(given))

    async def refused(self, version: str = "v2", **request: Any) -> list[str]:
        with pytest.raises(Refused) as refused:
            await self.plan(version, **request)
        return list(refused.value.reasons)


BASE = {
    "name": "model",
    "stable": "v1",
    "traffic": {"driver": "triton", "backends": [{"url": "http://a:1"}]},
    "versions": {"v1": {}},
}


@asynccontextmanager
async def rig(
    folder: Path,
    shared: Mapping[str, Any] | None = None,
    *,
    series: str | None = None,
    another: bool = False,
    **v2: Any,
) -> AsyncIterator[Rig]:
    async with World(folder, another=another) as world:
        queries = Series(series.replace("HOST", "127.0.0.1")) if series is not None else None
        planner = Planner(RolloutLog(world.db), world.clock, queries)
        made = Rig(world, planner, shared or {}, {"v2": v2})
        made.options()
        yield made


def record(**changes: Any) -> RolloutRecord:
    values: dict[str, Any] = {
        "id": "r-9",
        "model": "another",
        "from_version": "v1",
        "to_version": "v2",
        "kind": "promote",
        "strategy": "blue-green",
        "phase": "preparing",
        "ok": None,
        "switched": False,
        "sentence": "s",
        "turn_back": "",
        "created_by": "ann",
        "created_at": START,
        "updated_at": START,
        "finished_at": None,
        "idempotency_key": None,
        "request": "",
    }
    return RolloutRecord(**{**values, **changes})


def memory(free: float) -> str:
    labels = 'node="HOST",instance="HOST:9400",gpu="g0"'
    gib = 2**30
    return f"gpu_memory_total_bytes{{{labels}}} {80 * gib}\ngpu_memory_used_bytes{{{labels}}} {(80 - free) * gib}\n"
