"""Backups by the calendar and on request, on a virtual clock, with a program in place of the verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.app.parts.backups import NOT_CONFIGURED, Backups
from controlplane.app.parts.part import Configuration
from controlplane.backup.jobs.child import Bounds
from controlplane.backup.jobs.listing import Listing, SnapshotLister
from controlplane.config.loader import load_fleet
from controlplane.schedule import LoopFactory, Loops
from controlplane.store.backups.runs import CUT_SHORT
from controlplane.store.lease import LeaseStore
from controlplane.store.schedules import ScheduleStore
from tests.patience import PROCESS_S, until
from tests.unit.controlplane.backup.jobs.conftest import World

HOUR = 3600.0
NINE = 1_794_992_400.0  # 2026-11-18 09:00:00 UTC
JOBS = """
fleet: {name: test}
backup:
  repository: s3://bucket/llm
  key_file: backup.key
  jobs:
    - name: models
      folder: /models
      version: v1
      parts: [rag]
      exclude: ["*.tmp"]
      schedule: "0 * * * *"
      keep: {daily: 7, last: 2}
    - {name: plane, control_plane: true, schedule: {cron: "30 * * * *", catch_up: 1h}}
  verify: {schedule: "45 9 * * *", sample: 2.5}
"""
FOREVER = "(home / 'ready').touch()\nwhile True: time.sleep(0.02)"


class Plane:
    """One process of a control plane."""

    def __init__(self, world: World, holder: str = "a", *, observe_only: bool = False) -> None:
        self.world, self.clock = world, world.clock
        self.part = Backups(
            world.db, world.clock, world.home / "data", observe_only=observe_only, runner=world.runner()
        )
        make = LoopFactory(LeaseStore(world.db), ScheduleStore(world.db), holder, world.clock)
        (self.loop,) = self.part.loops(make)

    async def configure(self, text: str = JOBS) -> list[str]:
        path = self.world.home / "fleet.yaml"
        path.write_text(text)
        settings = self.part.settings(Configuration(load_fleet(path), "127.0.0.1:8080"))
        return list(await self.part.configure(settings))

    async def at(self, time: float) -> list[str]:
        """Look at the clock at `time`, and return what ended by then."""
        self.clock.time = time
        await self.loop.run_once()
        assert self.loop.stats.last_error is None
        return self.ran()

    def ran(self) -> list[str]:
        runs = [run for job in self.world.runs.jobs() for run in self.world.runs.runs(job, 9)]
        return [f"{run.job} {run.outcome}" for run in sorted(runs, key=lambda one: one.id) if run.outcome]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.db.close()


async def test_each_job_runs_at_its_times_with_its_verb(world: World) -> None:
    world.succeed()
    plane = Plane(world)
    assert await plane.configure() == ["jobs: 3 added (models, plane, verify), 0 kept"]
    assert await plane.at(NINE + 1) == []  # nothing before the first look is made up for
    assert await plane.at(NINE + 0.5 * HOUR) == ["plane succeeded"]
    assert await plane.at(NINE + 0.6 * HOUR) == ["plane succeeded"]
    world.act("""print('{"packs": 3, "of": 120, "bytes": 9, "notes": []}')""")
    assert await plane.at(NINE + 0.75 * HOUR) == ["plane succeeded", "verify succeeded"]
    verified = world.runs.jobs()["verify"].last
    assert verified is not None and verified.words == "3 of 120 packs were read, and are whole"
    world.succeed()
    assert (await plane.at(NINE + HOUR))[2:] == ["models succeeded"]
    config, data = world.home / "fleet.yaml", world.home / "data"
    assert [call["words"] for call in world.calls()] == [
        ["backup", "control-plane", f"--config={config}", f"--data-dir={data}", "--output=json"],
        ["backup", "verify", "--sample=2.5", "--output=json"],
        [
            *("backup", "create", "/models", "--name=models", "--version=v1", "--part=rag", "--exclude=*.tmp"),
            *("--tag=job=models", "--output=json"),
        ],
        ["backup", "prune", "--keep-last=2", "--keep-daily=7", "--subject=models", "--yes"],
    ]


async def test_the_prune_keeps_what_a_rollout_can_go_back_to(world: World) -> None:
    world.succeed()
    models = """
models:
  - name: chat
    stable: v2
    versions: {v1: {}, v2: {}}
    traffic: {driver: triton, backends: [{url: "http://t:8000", repository: /models}]}
"""
    plane = Plane(world)
    await plane.configure(JOBS)
    assert await plane.configure(JOBS + models) == ["jobs: 1 changed (models), 2 kept"]
    await plane.at(NINE + 0.9 * HOUR)
    await plane.at(NINE + HOUR)
    assert world.calls()[-1]["words"][2:] == [
        *("--keep-last=2", "--keep-daily=7", "--keep-path=chat/1", "--keep-path=chat/2", "--subject=models", "--yes")
    ]


async def test_drills_run_at_their_time_one_after_another(world: World) -> None:
    world.act(
        """
about = sys.argv[3]
print(json.dumps({"id": "abc", "stored_at": "2026-11-18T11:06:40Z", "bytes": 9, "new_bytes": 9,
                  "sentence": "all of " + about, "restored_bytes": 7, "notes": []}))
"""
    )
    engine = "engine: {triton: 'http://t:8000', load_timeout: 90s}"
    drill = f"  drill: {{schedule: '15 9 * * *', scratch: /scratch, {engine}}}\n"
    plane = Plane(world)
    assert await plane.configure(JOBS + drill) == [
        "jobs: 5 added (models, plane, verify, drill-models and 1 more), 0 kept"
    ]
    await plane.at(NINE + 1)
    assert await plane.at(NINE + 0.25 * HOUR) == ["drill-models succeeded", "drill-plane succeeded"]
    assert [call["words"] for call in world.calls()] == [
        [
            *("backup", "test-restore", "models@v1", "/scratch", "--to-triton=http://t:8000", "--load-timeout=90"),
            "--output=json",
        ],
        ["backup", "test-restore", "control-plane", "/scratch", "--output=json"],
    ]
    run = world.runs.jobs()["drill-models"].last
    assert run is not None
    assert (run.words, run.snapshot, run.bytes, run.new_bytes) == ("all of models@v1", "abc", 7, None)
    changed = drill.replace("/scratch", "/other")
    assert await plane.configure(JOBS + changed) == ["jobs: 2 changed (drill-models, drill-plane), 3 kept"]
    assert await plane.configure(JOBS) == ["jobs: 2 removed (drill-models, drill-plane), 3 kept"]


async def test_a_failed_run_is_not_repeated_before_its_next_time(world: World) -> None:
    world.act("sys.exit('error: no space')")
    plane = Plane(world)
    await plane.configure()
    await plane.at(NINE + 0.9 * HOUR)
    assert await plane.at(NINE + HOUR) == ["models failed"]
    assert await plane.at(NINE + HOUR + 5) == ["models failed"]
    state = ScheduleStore(world.db).all()["backup-models"]
    assert (state.failures, state.error) == (1, "BackupError: the backup models failed: error: no space")


async def test_a_run_that_the_end_of_the_process_cuts_short_is_made_up_for(world: World) -> None:
    world.act(FOREVER)
    plane, loops = Plane(world), Loops(grace_s=10_000)  # a turn that is not cut short hangs
    await plane.configure()
    await plane.at(NINE + 0.9 * HOUR)
    plane.clock.time = NINE + HOUR
    loops.add(plane.loop)
    loops.start()
    await until((world.home / "ready").exists, PROCESS_S)
    await loops.close()
    assert plane.ran() == ["models interrupted"]
    assert [status.holder for status in LeaseStore(world.db).list()] == [""] * 2  # another process need not wait

    world.succeed()
    later = Plane(world, "b")
    await later.configure()
    assert await later.at(NINE + 1.4 * HOUR) == ["models interrupted", "models succeeded"]


async def test_a_run_that_a_killed_process_left_is_interrupted_and_made_up_for(world: World) -> None:
    world.succeed()
    killed = Plane(world)
    await killed.configure()
    await killed.at(NINE + 0.9 * HOUR)
    world.runs.begin("models", None, NINE + HOUR)
    LeaseStore(world.db).take_over()
    later = Plane(world, "b")
    await later.configure()
    assert await later.at(NINE + HOUR + 60) == ["models interrupted", "models succeeded"]
    left = world.runs.runs("models", 9)[-1]
    assert left.words == CUT_SHORT


async def test_of_two_processes_one_runs_the_jobs(world: World) -> None:
    world.act(FOREVER)
    one, two = Plane(world, "a"), Plane(world, "b")
    for plane in (one, two):
        await plane.configure()
    await one.at(NINE + 0.9 * HOUR)
    world.clock.time = NINE + HOUR
    running = asyncio.create_task(one.loop.run_once())
    await until((world.home / "ready").exists, PROCESS_S)
    assert await two.at(NINE + HOUR) == [] and two.loop.stats.skipped == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(world.calls()) == 1


async def test_a_wish_is_carried_out_once_and_a_scheduled_run_carries_it_out_too(world: World) -> None:
    world.succeed()
    plane = Plane(world)
    await plane.configure()
    await plane.at(NINE + 1)
    world.runs.ask("models", "ana", NINE + 60)
    assert await plane.at(NINE + 61) == ["models succeeded"]
    assert world.runs.runs("models", 1)[0].asked_by == "ana"
    world.runs.ask("models", "ana", NINE + HOUR - 1)
    assert (await plane.at(NINE + HOUR)).count("models succeeded") == 2
    assert [run.asked_by for run in world.runs.runs("models", 9)] == ["ana", "ana"]


async def test_wishes_that_cannot_be_carried_out_end(world: World) -> None:
    world.act("sys.exit(1)")
    plane = Plane(world)
    await plane.configure()
    world.runs.ask("gone", "ana", NINE)
    world.runs.ask("models", "ana", NINE)
    assert await plane.at(NINE + 1) == ["gone failed", "models failed"]
    assert world.runs.runs("gone", 1)[0].words == NOT_CONFIGURED


async def test_without_jobs_and_while_it_only_observes_nothing_runs_and_no_lease_is_held(world: World) -> None:
    observer, idle = Plane(world, observe_only=True), Plane(world, "b")
    await observer.configure()
    world.runs.ask("models", "ana", NINE)
    for plane in (observer, idle):
        assert await plane.at(NINE + HOUR) == []
    assert world.calls() == [] and LeaseStore(world.db).list() == []


async def test_a_reload_changes_jobs_and_stops_those_that_are_gone(world: World) -> None:
    world.succeed()
    plane = Plane(world)
    await plane.configure()
    await plane.at(NINE + 1)
    changed = JOBS.replace('"30 * * * *"', '"15 * * * *"').replace("sample: 2.5", "sample: 3")
    assert await plane.configure(changed) == ["jobs: 2 changed (plane, verify), 1 kept"]
    assert await plane.at(NINE + 2) == []
    assert await plane.at(NINE + 0.25 * HOUR) == ["plane succeeded"]
    assert await plane.configure("fleet: {name: test}\n") == ["jobs: 3 removed (models, plane, verify), 0 kept"]
    assert await plane.at(NINE + 2 * HOUR) == ["plane succeeded"]
    assert {status.holder for status in LeaseStore(world.db).list()} == {""}


async def test_the_list_of_snapshots_is_of_the_running_configuration_and_read_again_after_a_run(world: World) -> None:
    world.succeed()
    plane = Plane(world)
    plane.part._lister = SnapshotLister(
        world.clock.now, program=world.program, environment=world.environment, bounds=Bounds(None, look_s=0.02)
    )
    assert plane.part.snapshots() is None  # there is no repository
    await plane.configure()

    async def listed() -> int:
        await until(lambda: _known(plane).reading_since is None, PROCESS_S)
        return sum("list" in call["words"] for call in world.calls())

    assert await listed() == 1
    assert _known(plane).fault == "its result cannot be read"  # here every verb prints a snapshot
    world.act("print('[]')")
    plane.clock.time += 60
    assert await listed() == 2
    world.succeed()
    await plane.at(NINE + 0.9 * HOUR)
    assert await plane.at(NINE + HOUR) == ["models succeeded"]
    world.act("print('[]')")
    assert await listed() == 3
    assert await listed() == 3
    await plane.part.close()


def _known(plane: Plane) -> Listing:
    found = plane.part.snapshots()
    assert found is not None
    return found
