"""A drill of models with and without an engine: what it proves, what it finds out, and a clean scratch folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.backup.drills.drill import Drilled, OpenEngine, drill
from controlplane.backup.engines.triton import TritonLoader
from controlplane.backup.errors import BackupError, Damaged, NoSpace, NotLoaded
from controlplane.backup.format.snapshot import Snapshot
from controlplane.backup.reading import restore
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.api import TritonApi
from tests.fakes.stored_triton import StoredTriton
from tests.unit.controlplane.backup.drills.test_scratch import killed
from tests.unit.controlplane.backup.world import KEY, Clock, new_store


class World:
    """A repository, models that are backed up, and a scratch folder."""

    def __init__(self, home: Path) -> None:
        self.models, self.scratch = home / "models", home / "scratch"
        self.scratch.mkdir()
        self.store = new_store()
        self.write("chat/1", "good")

    def write(self, version: str, weights: str) -> None:
        (self.models / version).mkdir(parents=True, exist_ok=True)
        (self.models / version / "weights").write_text(weights)

    def backed_up(self, folder: str = ".") -> Snapshot:
        repository = Repository.open(self.store, [KEY])
        about, options = About("triton"), Options(lanes=1, now=Clock())
        return create_snapshot(repository, Source(self.models / folder), about, options=options).snapshot

    def drill(self, snapshot: Snapshot, engine: OpenEngine | None = None) -> Drilled:
        return drill(Repository.open(self.store, [KEY]), snapshot, self.scratch, tally=Tally(), engine=engine)

    async def with_engine(self, snapshot: Snapshot, triton: StoredTriton) -> Drilled:
        @asynccontextmanager
        async def engine() -> AsyncIterator[TritonLoader]:
            async with open_session() as session:
                yield TritonLoader(TritonApi(triton.url, session), triton.url, 1.0)

        return await asyncio.to_thread(self.drill, snapshot, engine)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.scratch.iterdir())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_without_an_engine_every_byte_is_restored_and_checked(world: World) -> None:
    done = world.drill(world.backed_up())
    assert (done.files, done.bytes, done.served, done.counted, done.notes) == (1, 4, (), None, ())
    assert world.left() == []


def test_damage_fails_the_drill_and_leaves_nothing(world: World) -> None:
    snapshot = world.backed_up()
    for name in [name for name in world.store.objects if name.startswith("packs/")]:
        world.store.objects[name] = (bytes(len(world.store.objects[name][0])), *world.store.objects[name][1:])
    with pytest.raises((Damaged, BackupError)):
        world.drill(snapshot)
    assert world.left() == []


def test_a_full_disk_is_told_before_anything_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "SPARE", 1 << 60)
    with pytest.raises(NoSpace, match="bytes free, and the restore needs 4096"):
        world.drill(world.backed_up())
    assert world.left() == []


@pytest.mark.parametrize("folder", [".", "chat"])
async def test_an_engine_loads_and_unloads_the_models(world: World, folder: str) -> None:
    snapshot = world.backed_up(folder)
    async with StoredTriton(world.scratch) as triton:
        done = await world.with_engine(snapshot, triton)
        assert done.served == ("chat 1",)
        assert triton.orders == ["load chat", "unload chat"] and world.left() == []


async def test_a_version_alone_has_to_be_the_one_that_is_served(world: World) -> None:
    snapshot = world.backed_up("chat/1")
    async with StoredTriton(world.scratch) as triton:
        assert (await world.with_engine(snapshot, triton)).served == ("chat 1",)


async def test_a_model_that_the_engine_refuses_fails_the_drill(world: World) -> None:
    world.write("rag/3", "bad: no such file")
    async with StoredTriton(world.scratch) as triton:
        with pytest.raises(NotLoaded, match=r"Triton did not load rag: .*bad: no such file"):
            await world.with_engine(world.backed_up(), triton)
        assert triton.memory == {} and world.left() == []


async def test_an_engine_that_hangs_fails_the_drill_and_leaves_nothing(world: World) -> None:
    async with StoredTriton(world.scratch) as triton:
        triton.hangs = True
        with pytest.raises(NotLoaded, match="within 1 s"):
            await world.with_engine(world.backed_up(), triton)
        assert world.left() == []


async def test_an_engine_that_serves_one_of_the_models_is_not_touched(world: World) -> None:
    snapshot = world.backed_up()
    async with StoredTriton(world.models) as triton:  # somebody named the serving Triton
        triton.start("chat")
        with pytest.raises(BackupError, match=r"serves chat already: a drill needs a Triton of its own"):
            await world.with_engine(snapshot, triton)
        assert triton.orders == [] and triton.serves("chat") == {1: "good"} and world.left() == []


async def test_an_engine_that_takes_no_orders_is_refused(world: World) -> None:
    async with StoredTriton(world.scratch, "poll") as triton:
        with pytest.raises(BackupError, match="--model-control-mode=explicit"):
            await world.with_engine(world.backed_up(), triton)


async def test_the_drill_after_a_killed_one_unloads_and_deletes_what_that_left(world: World) -> None:
    snapshot = world.backed_up()
    killed(world.scratch, "chat")
    (world.scratch / ".drill-dead" / "restored" / "chat").chmod(0o700)
    (world.scratch / ".drill-dead" / "restored" / "chat" / "1").mkdir()
    async with StoredTriton(world.scratch) as triton:
        triton.start("chat")
        assert (await world.with_engine(snapshot, triton)).served == ("chat 1",)
        assert triton.orders == ["unload chat", "load chat", "unload chat"] and world.left() == []


async def test_a_drill_of_another_job_unloads_what_a_killed_one_left_also_after_one_without_an_engine(
    world: World,
) -> None:
    chat = world.backed_up("chat")
    world.write("rag/3", "good")
    rag = world.backed_up("rag")
    async with StoredTriton(world.scratch) as triton:
        killed(world.scratch, "chat")
        (world.scratch / ".drill-dead" / "restored" / "chat").chmod(0o700)
        (world.scratch / ".drill-dead" / "restored" / "chat" / "1").mkdir()
        triton.start("chat")
        await asyncio.to_thread(world.drill, rag)
        assert world.left() == ["chat"], "its name is needed to unload it"
        assert (await world.with_engine(rag, triton)).served == ("rag 3",)
        assert (await world.with_engine(chat, triton)).served == ("chat 1",)
        assert triton.orders[0] == "unload chat" and triton.memory == {} and world.left() == []


async def test_a_model_that_a_killed_drill_left_and_that_cannot_be_unloaded_is_named_again(world: World) -> None:
    snapshot = world.backed_up()
    (world.scratch / "old").symlink_to(".drill-dead/restored/old")
    async with StoredTriton(world.scratch) as triton:
        triton.refuses_unload = "it is in use"
        for _ in range(2):
            with pytest.raises(BackupError, match=r"left models loaded: old could not be unloaded: .*it is in use"):
                await world.with_engine(snapshot, triton)
            assert world.left() == ["old"]
        triton.refuses_unload = ""
        assert (await world.with_engine(snapshot, triton)).served == ("chat 1",)
        assert world.left() == []


async def test_a_model_whose_folder_has_a_name_that_a_uri_quotes_is_loaded_by_its_name(world: World) -> None:
    world.write("mod\u00e8le x#1/2", "good")
    snapshot = world.backed_up("mod\u00e8le x#1/2")
    assert "%20" in snapshot.source
    async with StoredTriton(world.scratch) as triton:
        assert (await world.with_engine(snapshot, triton)).served == ("mod\u00e8le x#1 2",)
