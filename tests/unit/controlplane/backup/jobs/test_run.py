"""A run of a job: what the child is given, how each end is recorded, and what stops it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.jobs import run
from controlplane.backup.jobs.child import Bounds
from controlplane.backup.jobs.command import Work
from controlplane.backup.jobs.leashed import GENTLE
from controlplane.errors import LeaseLost
from controlplane.store.backups.runs import CUT_SHORT, BackupRun
from controlplane.store.lease import LeaseStore
from tests.patience import PROCESS_S, until, wait_until
from tests.unit.controlplane.backup.jobs.conftest import NOW, STORED_AT, World

WORK = Work("models", ("backup", "create", "/models", "--output=json"))
PRUNED = Work("models", WORK.command, ("backup", "prune", "--keep-last=1", "--yes"))
FOREVER = "while True: time.sleep(0.02)"


def last(world: World) -> BackupRun:
    found = world.runs.jobs()["models"].last
    assert found is not None
    return found


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_a_good_run_is_recorded_with_its_snapshot(world: World) -> None:
    world.succeed()
    ended = await world.runner().run(WORK, world.place, None)
    assert (ended.outcome, ended.snapshot, ended.snapshot_at) == ("succeeded", "abc123", STORED_AT)
    assert (ended.bytes, ended.new_bytes, ended.words) == (5_000_000_000_000, 7, "deleted while the backup ran: x")
    assert (ended.started_at, ended.finished_at) == (NOW, NOW)
    (call,) = world.calls()
    assert call["words"] == ["backup", "create", "/models", "--output=json"]
    assert call["nice"] == max(GENTLE, os.nice(0))
    given = call["environment"]
    assert given["CP_BACKUP_REPOSITORY"] == "s3://bucket/llm" and given["AWS_SECRET_ACCESS_KEY"] == "s"
    assert given["CP_BACKUP_KEY_FILE"] == str(world.place.key_file) and "CP_TOKEN" not in given


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("sys.stderr.write('looking\\nerror: no space\\n'); sys.exit(1)", "looking error: no space"),
        ("sys.exit(3)", "it ended with exit code 3"),
        ("print('hello')", "its result cannot be read (JSONDecodeError"),
        ("print('{}')", "its result cannot be read (KeyError"),
        ("os.kill(os.getpid(), 9)", "it was ended by signal 9"),
    ],
)
async def test_a_run_that_fails_says_why(world: World, act: str, words: str) -> None:
    world.act(act)
    with pytest.raises(BackupError, match="the backup models failed"):
        await world.runner().run(PRUNED, world.place, None)
    assert last(world).outcome == "failed" and last(world).words.startswith(words)
    assert len(world.calls()) == 1, "a failed backup is not followed by a prune"


async def test_a_program_that_cannot_be_started_is_a_failed_run(world: World) -> None:
    runner = world.runner(environment={**world.environment, "HUGE": "x" * (1 << 22)})
    with pytest.raises(BackupError, match="its process cannot be started"):
        await runner.run(WORK, world.place, None)
    assert last(world).outcome == "failed"


async def test_a_fault_of_this_program_is_a_failed_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("unexpected")

    monkeypatch.setattr(run, "run_child", broken)
    with pytest.raises(BackupError):
        await world.runner().run(WORK, world.place, None)
    assert (last(world).outcome, last(world).words) == ("failed", "ValueError: unexpected")


async def test_a_prune_follows_a_good_run_and_its_failure_takes_nothing_from_it(world: World) -> None:
    world.succeed()
    ended = await world.runner().run(PRUNED, world.place, None)
    assert [call["words"][1] for call in world.calls()] == ["create", "prune"]
    assert ended.succeeded and "prune" not in ended.words
    world.act("sys.exit('error: no rights')", "prune")
    ended = await world.runner().run(PRUNED, world.place, None)
    assert ended.succeeded and ended.snapshot == "abc123"
    assert ended.words.endswith("the prune after it failed: error: no rights")


async def test_progress_is_stored_while_it_runs_and_long_output_is_bounded(world: World) -> None:
    world.act(
        "sys.stderr.write('x' * 3_000_000 + '\\n')\n"
        'sys.stderr.write(\'{"done": 4, "bytes": 9, "files": 1}\\n\')\n'
        "sys.stdout.write(' ' * 9_000_000)\n"
        f"sys.stderr.flush()\n{FOREVER}"
    )
    task = asyncio.create_task(world.runner().run(WORK, world.place, None))

    def told() -> bool:
        found = world.runs.jobs().get("models")
        return found is not None and found.open is not None and (found.open.done, found.open.total) == (4, 9)

    await until(told)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (last(world).outcome, last(world).words) == ("interrupted", CUT_SHORT)


@pytest.mark.parametrize(
    ("act", "bounds", "words"),
    [
        (FOREVER, Bounds(silent_s=0.2, look_s=0.02), "it was stopped because it had said nothing for 0.2 seconds"),
        (
            'while True: print(\'{"done": 1, "bytes": 9}\', file=sys.stderr, flush=True)',
            Bounds(still_s=0.2, look_s=0.02),
            "it was stopped because it had made no progress for 0.2 seconds",
        ),
    ],
)
async def test_a_child_that_hangs_is_stopped(world: World, act: str, bounds: Bounds, words: str) -> None:
    world.act(act)
    with pytest.raises(BackupError):
        await world.runner(bounds).run(WORK, world.place, None)
    assert last(world).outcome == "failed" and last(world).words.startswith(words)
    assert not any(alive(call["pid"]) for call in world.calls())  # a busy machine may not have let it begin


async def test_a_run_that_is_cancelled_ends_its_child_also_one_that_ignores_it(world: World) -> None:
    for ignored in ("", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"):
        world.act(f"{ignored}(home / 'ready').touch()\n{FOREVER}")
        task = asyncio.create_task(world.runner().run(WORK, world.place, None))
        await until(lambda: (world.home / "ready").exists(), PROCESS_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert last(world).outcome == "interrupted" and not alive(world.calls()[-1]["pid"])
        (world.home / "ready").unlink()


async def test_a_backup_that_is_whole_stays_good_when_its_prune_is_interrupted(world: World) -> None:
    world.succeed()
    world.act(f"(home / 'ready').touch()\n{FOREVER}", "prune")
    task = asyncio.create_task(world.runner().run(PRUNED, world.place, None))
    await until(lambda: (world.home / "ready").exists(), PROCESS_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert last(world).succeeded and last(world).words.endswith("the prune after it was interrupted")


async def test_a_process_that_lost_its_lease_stops_its_child_and_writes_nothing(world: World) -> None:
    leases = LeaseStore(world.db)
    lease = leases.acquire("backups", "a", 30)
    assert lease is not None
    world.act(f"(home / 'ready').touch()\n{FOREVER}")
    task = asyncio.create_task(world.runner().run(WORK, world.place, lease))
    await until(lambda: (world.home / "ready").exists(), PROCESS_S)
    leases.take_over()
    assert leases.acquire("backups", "b", 30)
    with pytest.raises(LeaseLost):
        await task
    assert not alive(world.calls()[0]["pid"])
    kept = world.runs.jobs()["models"]
    assert kept.last is None and kept.open is not None


def test_a_child_ends_with_a_parent_that_is_killed(world: World) -> None:
    world.act(f"(home / 'ready').touch()\n{FOREVER}")
    parent = (
        "import json, sys, uvloop\n"  # the loop of the control plane: it knows fewer options than asyncio's
        "from controlplane.backup.jobs.child import TELLING, run_child\n"
        "async def tell(done, total): pass\n"
        "program, environment = json.loads(sys.argv[1])\n"
        "uvloop.run(run_child(program, environment, TELLING, tell))\n"
    )
    given = json.dumps([[*world.program, "backup", "create"], world.environment])
    process = subprocess.Popen([sys.executable, "-c", parent, given])
    try:
        wait_until(lambda: (world.home / "ready").exists(), PROCESS_S)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PROCESS_S)
    wait_until(lambda: not alive(world.calls()[0]["pid"]))
