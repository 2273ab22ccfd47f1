"""The list of snapshots for pages: read in the background by a program in place of `backup list`, and kept."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controlplane.backup.jobs.child import Bounds
from controlplane.backup.jobs.listing import AFTER_FAULT_S, KEPT_S, MOST, Listing, SnapshotLister
from tests.patience import PROCESS_S, until
from tests.unit.controlplane.backup.jobs.conftest import NOW, World

FOREVER = "(home / 'ready').touch()\nwhile True: time.sleep(0.02)"


@pytest.fixture
async def lister(world: World) -> AsyncIterator[SnapshotLister]:
    made = SnapshotLister(
        world.clock.now, program=world.program, environment=world.environment, bounds=Bounds(None, 3600.0, 0.02)
    )
    yield made
    await made.close()


def shows(world: World, count: int, said: str = "") -> None:
    rows = [{"id": f"s{number}"} for number in range(count)]
    world.act(f"sys.stderr.write({said!r})\nprint({json.dumps(json.dumps(rows))})")


async def settled(lister: SnapshotLister, world: World, changed_at: float | None = None) -> Listing:
    """Look until nothing is being read, and return what is known then."""
    await until(lambda: lister.look(world.place, changed_at).reading_since is None, PROCESS_S)
    return lister.look(world.place, changed_at)


async def test_the_first_look_answers_at_once_and_later_ones_with_what_was_read(
    lister: SnapshotLister, world: World
) -> None:
    shows(world, 2, "the clock of b was 9 min ahead\n")
    first = lister.look(world.place)
    assert (first.read_at, first.snapshots, first.reading_since) == (None, (), NOW)
    found = await settled(lister, world)
    assert [row["id"] for row in found.snapshots] == ["s0", "s1"]
    assert (found.read_at, found.more, found.fault) == (NOW, False, "")
    assert found.notes == ("the clock of b was 9 min ahead",)
    (call,) = world.calls()
    assert call["words"] == ["backup", "list", "--output=json", f"--limit={MOST + 1}"]
    assert call["environment"]["CP_BACKUP_REPOSITORY"] == "s3://bucket/llm"
    assert call["environment"]["AWS_SECRET_ACCESS_KEY"] == "s" and "CP_TOKEN" not in call["environment"]
    assert call["nice"] >= 10


async def test_a_list_is_read_again_when_it_is_old_or_a_run_ended(lister: SnapshotLister, world: World) -> None:
    shows(world, 1)
    await settled(lister, world)
    world.clock.time = NOW + KEPT_S - 1
    assert (await settled(lister, world)).read_at == NOW
    assert (await settled(lister, world, changed_at=NOW - 1)).read_at == NOW
    assert (await settled(lister, world, changed_at=NOW + 5)).read_at == NOW + KEPT_S - 1
    assert len(world.calls()) == 2
    world.clock.time = NOW + 2 * KEPT_S
    assert (await settled(lister, world)).read_at == NOW + 2 * KEPT_S
    world.clock.time = NOW  # a clock that is set back keeps no list for ever
    assert (await settled(lister, world)).read_at == NOW


async def test_a_long_list_is_cut(lister: SnapshotLister, world: World) -> None:
    shows(world, MOST + 1)
    found = await settled(lister, world)
    assert (len(found.snapshots), found.more) == (MOST, True)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.exit('controlplane: the key file cannot be read')", "controlplane: the key file cannot be read"),
        ("sys.exit(3)", "it ended with exit code 3"),
        ("print('{')", "its result cannot be read"),
        ("print('{}')", "its result cannot be read"),
        ("print('[1]')", "its result cannot be read"),
        ("print('[' + '1,' * 10**6)", "its result cannot be read"),
    ],
)
async def test_a_list_that_cannot_be_read_keeps_the_last_one_and_is_tried_again(
    lister: SnapshotLister, world: World, code: str, says: str
) -> None:
    shows(world, 1)
    await settled(lister, world)
    world.act(code)
    world.clock.time = NOW + KEPT_S
    found = await settled(lister, world)
    assert (found.fault, found.read_at, len(found.snapshots)) == (says, NOW, 1)
    calls = len(world.calls())
    world.clock.time += AFTER_FAULT_S - 1
    await settled(lister, world, changed_at=world.clock.time)  # not at every look
    assert len(world.calls()) == calls
    shows(world, 2)
    world.clock.time += 1
    found = await settled(lister, world)
    assert (found.fault, len(found.snapshots)) == ("", 2)


async def test_a_program_that_cannot_be_started_is_told(world: World) -> None:
    lister = SnapshotLister(world.clock.now, program=("/nowhere/program",), environment=world.environment)
    found = await settled(lister, world)
    assert found.fault
    await lister.close()


async def test_a_repository_that_hangs_holds_nobody_and_is_given_up(world: World) -> None:
    world.act(FOREVER)
    lister = SnapshotLister(
        world.clock.now, program=world.program, environment=world.environment, bounds=Bounds(None, 3.0, 0.02)
    )
    for _ in range(3):  # one process, however many look
        assert lister.look(world.place).reading_since == NOW
        await asyncio.sleep(0)
    found = await settled(lister, world)
    assert found.fault == "it was stopped because it had made no progress for 3 seconds"
    assert len(world.calls()) == 1
    await lister.close()


async def test_another_repository_is_read_at_once_and_the_end_stops_the_child(
    lister: SnapshotLister, world: World
) -> None:
    world.act(FOREVER)
    lister.look(world.place)
    await until((world.home / "ready").exists, PROCESS_S)
    shows(world, 1)
    other = replace(world.place, repository="s3://other/llm")
    await until(lambda: lister.look(other).reading_since is None, PROCESS_S)
    assert len(lister.look(other).snapshots) == 1
    world.act(FOREVER)
    (world.home / "ready").unlink()
    lister.look(world.place)
    await until((world.home / "ready").exists, PROCESS_S)
    await lister.close()
    pids = [call["pid"] for call in world.calls()]
    assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
