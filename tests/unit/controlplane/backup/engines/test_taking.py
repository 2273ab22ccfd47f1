"""A restored folder that a Triton takes or refuses, over real HTTP and real folders, on a clock of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.backup.engines.models import RestoredModel
from controlplane.backup.engines.taking import Placed, take
from controlplane.backup.engines.triton import Seen, TritonLoader
from controlplane.backup.errors import NotLoaded
from controlplane.backup.reading.swap import swap_in
from controlplane.errors import Unavailable
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.api import TritonApi
from tests.fakes.stored_triton import StoredTriton

OLD = 1_700_000_000.0


class Time:
    """Time that passes while somebody waits. `during` happens in each wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.during: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        self.during()


class World:
    """A repository of models with a Triton, and a restored folder that replaced it."""

    def __init__(self, triton: StoredTriton, loader: TritonLoader, passing: Time) -> None:
        self.triton, self.loader, self.time, self.folder = triton, loader, passing, triton.repository

    async def restored(self, *names: str, **models: dict[str, str]) -> tuple[str, ...]:
        """Put a restored folder in place and let Triton take it. Return what it serves, and whether that is sure."""
        before = await self.loader.look()
        fresh = self.folder.with_name(".fresh")
        for model, files in models.items():
            write(fresh, model, files)
        placed = Placed(self.folder, swap_in(fresh, self.folder, "x"), "x")
        found = [RestoredModel(model, self.folder / model) for model in models]
        served = await take(self.loader, placed, found, names, before)
        return (*served.names, "sure" if served.confirmed else "not sure")

    def beside(self) -> list[str]:
        return sorted(path.name for path in self.folder.parent.iterdir() if path.name.startswith("."))


def write(root: Path, model: str, files: dict[str, str]) -> None:
    """Write versions of a model, with old times. The key `policy` is its version policy."""
    for name, content in files.items():
        path = root / model / ("config.pbtxt" if name == "policy" else f"{name}/weights")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version_policy": json.loads(content)}) if name == "policy" else content)
    for path in (root / model, *(root / model).rglob("*")):
        os.utime(path, (OLD, OLD))


@asynccontextmanager
async def world(folder: Path, mode: str = "explicit", **models: dict[str, str]) -> AsyncIterator[World]:
    repository, passing = folder / "models", Time()
    for model, files in models.items():
        write(repository, model, files)
    async with StoredTriton(repository, mode) as triton, open_session() as session:
        loader = TritonLoader(TritonApi(triton.url, session, 2.0), triton.url, 30.0, clock=passing, pause=passing.pause)
        yield World(triton.start(*models), loader, passing)


async def test_what_was_loaded_is_loaded_from_the_restored_folder(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "rotten"}, rag={"1": "rag"}) as at:
        at.triton.memory.pop("rag")  # nobody wants rag loaded
        assert await at.restored(chat={"1": "good"}, rag={"1": "rag"}) == ("chat 1", "sure")
        assert (at.triton.serves("chat"), at.triton.serves("rag")) == ({1: "good"}, {})
        assert at.beside() == [".models.before-x"]


async def test_a_folder_with_the_times_that_triton_knows_is_loaded_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "rotten"}) as at:
        assert at.triton.read("chat") == "" and at.triton.serves("chat") == {1: "rotten"}
        await at.restored(chat={"1": "good"})
        assert at.triton.serves("chat") == {1: "good"}


async def test_named_models_only_are_loaded_and_all_of_them_where_none_was_loaded(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        at.folder.mkdir()
        assert await at.restored("rag", chat={"1": "c"}, rag={"3": "r"}) == ("rag 3", "sure")
    async with world(tmp_path / "other") as at:
        at.folder.parent.mkdir()
        assert await at.restored(chat={"1": "c"}, rag={"3": "r"}) == ("chat 1", "rag 3", "sure")
        assert at.beside() == [], "there was no old folder"


@pytest.mark.parametrize(
    ("policy", "served"),
    [('{"all": {}}', "chat 1, chat 2, chat 3"), ('{"specific": {"versions": [1, 3]}}', "chat 1, chat 3")],
)
async def test_the_versions_of_the_policy_are_checked(tmp_path: Path, policy: str, served: str) -> None:
    versions = {"1": "a", "2": "b", "3": "c"}
    async with world(tmp_path, chat=versions) as at:
        assert ", ".join((await at.restored(chat={**versions, "policy": policy}))[:-1]) == served


async def test_a_version_that_cannot_be_loaded_brings_the_old_folder_back(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        with pytest.raises(NotLoaded) as caught:
            await at.restored(chat={"1": "bad: out of memory"})
        words = str(caught.value)
        assert "Triton did not load chat: " in words and "bad: out of memory" in words
        assert f"{at.folder} is the old folder again" in words
        assert "Triton has loaded chat 1 from the old folder again." in words
        assert at.triton.serves("chat") == {1: "old"} and at.triton.orders == ["load chat"] * 2
        assert (at.folder / "chat" / "1" / "weights").read_text() == "old"
        assert at.beside() == [".models.refused-x"]


async def test_an_old_folder_that_cannot_be_loaded_either_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        (at.folder / "chat" / "1" / "weights").write_text("bad: rotten")
        with pytest.raises(NotLoaded, match=r"Triton does not load the old folder either: .*bad: rotten"):
            await at.restored(chat={"1": "bad"})


async def test_a_triton_that_ends_after_the_exchange_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:

        async def gone(*_: object) -> list[RestoredModel]:
            raise Unavailable("http://t did not answer /v2/repository/index: connection refused")

        monkeypatch.setattr(at.loader, "chosen", gone)
        with pytest.raises(NotLoaded, match=r"connection refused\. \S+ is the old folder again"):
            await at.restored(chat={"1": "new"})
        assert (at.folder / "chat" / "1" / "weights").read_text() == "old" and at.triton.orders == []


async def test_without_an_old_folder_the_restored_one_stays(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        with pytest.raises(NotLoaded, match=r"There was no folder .* before, so the restored one stays there"):
            await at.restored(chat={"1": "bad"})
        assert (at.folder / "chat").is_dir()


async def test_a_triton_that_answers_200_and_does_nothing_is_found_out(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        at.triton.memory.clear()
        at.triton.lies = True
        with pytest.raises(NotLoaded, match=r"with 200, and yet .*'chat' is not found"):
            await at.restored(chat={"1": "new"})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"name": "chat", "version": "1", "state": "READY"}], r"its index does not know chat 2; READY is 1"),
        ([{"name": "chat", "version": "2", "state": "LOADING"}], r"its index says that chat 2 is LOADING"),
        (
            [{"name": "chat", "version": "2", "state": "UNAVAILABLE", "reason": "no GPU"}],
            r"chat 2 is UNAVAILABLE: no GPU",
        ),
    ],
)
async def test_an_index_that_does_not_say_ready_for_the_version_is_no_success(
    tmp_path: Path, rows: list[dict[str, str]], words: str
) -> None:
    async with world(tmp_path, chat={"2": "old"}) as at:
        at.triton.index_says = {"chat": rows}
        with pytest.raises(NotLoaded, match=words):
            await at.restored(chat={"2": "new"})
        assert (at.folder / "chat" / "2" / "weights").read_text() == "old"


async def test_a_version_that_is_ready_in_the_index_and_takes_no_requests_is_no_success(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"2": "old"}) as at:
        at.triton.not_ready = {2}
        with pytest.raises(NotLoaded, match="chat 2 is READY in its index, and does not accept requests"):
            await at.restored(chat={"2": "new"})


async def test_a_lost_reply_is_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        at.triton.cut = 2
        assert await at.restored(chat={"1": "new"}) == ("chat 1", "sure")
        assert at.triton.orders == ["load chat"] * 3


async def test_a_load_that_hangs_brings_the_old_folder_back_and_nothing_is_ordered_behind_it(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        at.triton.hangs, at.loader._timeout_s, at.loader._clock = True, 0.3, time.monotonic
        with pytest.raises(NotLoaded) as caught:
            await at.restored(chat={"1": "new"})
        assert "did not load chat within 0.3 s" in str(caught.value)
        assert "Triton may still carry out the load, and cannot cancel it" in str(caught.value)
        assert at.triton.orders == ["load chat"]
        assert (at.folder / "chat" / "1" / "weights").read_text() == "old"


@pytest.mark.parametrize("mode", ["poll", "none"])
async def test_a_triton_without_orders_is_watched_and_not_believed(tmp_path: Path, mode: str) -> None:
    async with world(tmp_path, mode, chat={"1": "old"}) as at:
        assert await at.restored(chat={"1": "new"}) == ("chat 1", "not sure")
        assert at.time.now == 30.0 and at.triton.orders == []
        assert (at.folder / "chat" / "1" / "weights").read_text() == "new", "no proof is no reason to go back"


async def test_a_poll_that_brings_a_version_up_is_believed(tmp_path: Path) -> None:
    async with world(tmp_path, "poll") as at:
        at.folder.mkdir()
        at.time.during = at.triton.poll
        assert await at.restored(chat={"1": "new"}) == ("chat 1", "sure")


async def test_a_poll_during_which_a_version_is_seen_loading_is_believed(tmp_path: Path) -> None:
    async with world(tmp_path, "poll", chat={"1": "old"}) as at:
        states = iter(["LOADING", "READY"])

        def polled() -> None:
            state = next(states, "READY")
            at.triton.index_says = {"chat": [{"name": "chat", "version": "1", "state": state}]}

        at.time.during = polled
        assert await at.restored(chat={"1": "new"}) == ("chat 1", "sure")
        assert at.time.now == 1.0


async def test_a_poll_that_never_brings_the_version_up_brings_the_old_folder_back(tmp_path: Path) -> None:
    async with world(tmp_path, "poll", chat={"1": "old"}) as at:
        with pytest.raises(NotLoaded, match="Triton did not load chat within 30 s: its index does not know chat 2"):
            await at.restored(chat={"2": "new"})
        assert (at.folder / "chat" / "1").is_dir()


async def test_a_server_that_is_down_is_known_before_anything_is_written(tmp_path: Path) -> None:
    async with world(tmp_path, chat={"1": "old"}) as at:
        url = at.triton.url
    async with open_session() as session:
        with pytest.raises(Unavailable, match=url):
            await TritonLoader(TritonApi(url, session, 1.0), url, 1.0).look()


async def test_a_server_whose_repository_is_gone_has_an_empty_index(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        assert await at.loader.look() == Seen(takes_orders=True, index={})
