"""Contents that child processes read: what is shared, what is stopped, and what is said of each fault."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.content import child as content_child
from controlplane.backup.content.child import ContentReader, Head
from controlplane.backup.content.in_snapshot import FolderContent
from controlplane.backup.content.reading import read_content
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs import child
from controlplane.backup.jobs.child import Bounds
from controlplane.backup.jobs.command import Place
from controlplane.backup.jobs.leashed import GENTLE
from tests.patience import until
from tests.unit.controlplane.backup.content.model_files import model
from tests.unit.controlplane.backup.world import write_files

FAKE = r"""
import json, os, sys, time
from pathlib import Path
home = Path(os.environ["HOME_OF_TEST"])
with (home / "calls").open("a") as calls:
    calls.write(json.dumps({"words": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid(),
                            "nice": os.nice(0)}) + "\n")
exec((home / "act.py").read_text())
"""
HANG = "while True: time.sleep(0.02)"
CONTENT = {"root": "/m", "digest": "ab" * 32, "files": 1, "bytes": 2, "facts": {"format": "ONNX"}}


class World:
    """A reader whose children act as a test wants."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "fake.py").write_text(FAKE)
        environment = {**os.environ, "HOME_OF_TEST": str(home), "CP_TOKEN": "secret"}
        program = (sys.executable, str(home / "fake.py"))
        bounds = Bounds(silent_s=3600.0, still_s=3600.0, look_s=0.02)
        self.reader = ContentReader(home / "memory", program=program, environment=environment, bounds=bounds)

    def act(self, code: str) -> None:
        (self.home / "act.py").write_text(code)

    def calls(self) -> list[dict[str, Any]]:
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.reader.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_the_program_itself_reads_a_folder_gently(tmp_path: Path) -> None:
    write_files(tmp_path / "m", model())
    reader = ContentReader(tmp_path / "memory")
    content = await reader.read(tmp_path / "m")
    assert content == read_content(tmp_path / "m")
    assert await reader.existing([f"{tmp_path}/m*", f"{tmp_path}/none*"]) == [tmp_path / "m"]
    with pytest.raises(BackupError) as refused:
        await reader.read(tmp_path / "gone")
    assert str(refused.value) == f"{tmp_path}/gone cannot be read: No such file or directory"


async def test_a_child_gets_the_folder_and_no_token(world: World) -> None:
    world.act(f"print({json.dumps(json.dumps(CONTENT))})")
    content = await world.reader.read(Path("/m"))
    assert (content.digest, content.facts) == ("ab" * 32, {"format": "ONNX"})
    (call,) = world.calls()
    assert call["words"] == ["models", "digest", f"--memory={world.home}/memory", "--output=json", "--", "/m"]
    assert "CP_TOKEN" not in call["environment"]
    assert call["nice"] >= GENTLE


async def test_callers_of_one_folder_share_a_reading(world: World) -> None:
    world.act(f"time.sleep(0.2); print({json.dumps(json.dumps(CONTENT))})")
    found = await asyncio.gather(*(world.reader.read(Path("/m")) for _ in range(5)))
    assert len(world.calls()) == 1
    assert len(set(map(id, found))) == 1


async def test_a_reading_ends_when_the_last_caller_leaves(world: World) -> None:
    world.act(HANG)
    one, two = (asyncio.create_task(world.reader.read(Path("/m"))) for _ in range(2))
    await until(world.calls)
    one.cancel()
    await asyncio.wait([one])
    assert not gone(world.calls()[0]["pid"])
    two.cancel()
    await asyncio.wait([two])
    await until(lambda: gone(world.calls()[0]["pid"]))
    world.act(f"print({json.dumps(json.dumps(CONTENT))})")
    assert (await world.reader.read(Path("/m"))).files == 1


async def test_a_reading_without_progress_is_stopped(world: World) -> None:
    world.act(HANG)
    world.reader._bounds = Bounds(silent_s=None, still_s=0.1, look_s=0.02)
    with pytest.raises(BackupError) as refused:
        await world.reader.read(Path("/m"))
    assert str(refused.value).startswith("it was stopped because it had made no progress for 0.1 seconds")
    assert all(gone(call["pid"]) for call in world.calls()), "on a busy machine it was stopped before it began"


async def test_a_list_may_be_silent_and_is_stopped_after_a_time_in_all(world: World) -> None:
    place = Place("s3://bucket/llm", Path("/backup.key"), Path("/fleet.yaml"), Path("/data"))
    world.reader._bounds = Bounds(silent_s=0.01, still_s=0.01, look_s=0.02)
    world.act("time.sleep(0.3); print('[]')")
    assert await world.reader.snapshots(place) == []
    assert await world.reader.in_snapshot(place, "s1", ["."]) == []
    assert await world.reader.existing([]) == []
    assert content_child.LISTING.silent_s is None
    world.reader._listing = Bounds(silent_s=None, still_s=0.1, look_s=0.02)
    world.act(HANG)
    with pytest.raises(BackupError, match=r"^it was stopped because it had made no progress for 0\.1 seconds"):
        await world.reader.snapshots(place)


async def test_a_child_that_cannot_be_killed_is_no_reason_to_start_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STOP_WITHIN_S", "KILLED_WITHIN_S", "DRAIN_WITHIN_S"):
        monkeypatch.setattr(child, name, 0.01)
    # No process can be put into the state in which Linux ignores SIGKILL, so the signals are not sent.
    monkeypatch.setattr(child, "_signal", lambda group, number: None)
    world.reader._bounds = Bounds(silent_s=None, still_s=0.5, look_s=0.02)
    world.act(HANG)
    with pytest.raises(BackupError, match=r"^it was stopped because it had made no progress"):
        await world.reader.read(Path("/m"))
    await until(world.calls)
    (call,) = world.calls()
    with pytest.raises(BackupError) as refused:
        await world.reader.read(Path("/m"))
    assert str(refused.value) == f"an earlier reading still hangs (process {call['pid']}): is a file server away?"
    monkeypatch.setattr(content_child, "MOST_LEFT", 1)
    with pytest.raises(BackupError, match=r"^1 earlier readings still hang: is a file server away\?$"):
        await world.reader.read(Path("/other"))
    assert len(world.calls()) == 1
    monkeypatch.undo()
    os.killpg(call["pid"], signal.SIGKILL)
    await until(lambda: gone(call["pid"]))
    world.act(f"print({json.dumps(json.dumps(CONTENT))})")
    assert (await world.reader.read(Path("/m"))).files == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('controlplane: /m is away', file=sys.stderr); sys.exit(1)", "/m is away"),
        ("sys.exit(3)", "it ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "it was ended by signal 9"),
        ("print('{')", "its result cannot be read (JSONDecodeError: "),
        ("print('{}')", "its result cannot be read (TypeError: "),
        ("print('[]')", "its result cannot be read (TypeError: "),
    ],
)
async def test_each_fault_of_a_child_is_said(world: World, code: str, words: str) -> None:
    world.act(code)
    with pytest.raises(BackupError) as refused:
        await world.reader.read(Path("/m"))
    assert str(refused.value).startswith(words)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    reader = ContentReader(tmp_path, program=("/nowhere/controlplane",))
    with pytest.raises(BackupError, match="No such file or directory"):
        await reader.read(Path("/m"))


async def test_snapshots_and_their_folders(world: World) -> None:
    place = Place("s3://bucket/llm", Path("/backup.key"), Path("/fleet.yaml"), Path("/data"))
    row = {
        "id": "s1", "stored_at": "2027-01-15T08:00:00Z", "subject": "chat", "version": "", "source": "file:///models",
        "host": "a", "by": "ann", "facts": {"format": "GGUF"}, "files": 3,
    }  # fmt: skip
    world.act(f"print({json.dumps(json.dumps([row]))})")
    head = Head("s1", 1_800_000_000.0, "chat", "", "file:///models", "a", "ann", {"format": "GGUF"})
    assert await world.reader.snapshots(place) == [head]
    folder: dict[str, Any] = {"folder": "chat/1", "digest": "ab", "files": 1, "bytes": 2, "unknown": ""}
    world.act(f"print({json.dumps(json.dumps([folder]))})")
    assert await world.reader.in_snapshot(place, "s1", ["chat/*", "."]) == [FolderContent(**folder)]
    listed, looked = world.calls()
    assert listed["words"] == ["backup", "list", "--output=json"]
    assert looked["words"] == ["backup", "contents", "s1", "--folder=chat/*", "--folder=.", "--output=json"]
    for call in (listed, looked):
        assert call["environment"]["CP_BACKUP_REPOSITORY"] == "s3://bucket/llm"
        assert call["environment"]["CP_BACKUP_KEY_FILE"] == "/backup.key"


async def test_closing_stops_what_is_read(world: World) -> None:
    world.act(HANG)
    reading = asyncio.create_task(world.reader.read(Path("/m")))
    await until(world.calls)
    await world.reader.close()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert gone(world.calls()[0]["pid"])
