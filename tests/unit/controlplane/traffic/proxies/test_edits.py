"""No edit of a file undoes another one: of this process, of another process, or of a person's editor."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from controlplane.errors import Unavailable
from controlplane.traffic.proxies.edits import TRIES, edit_file, turn
from tests.patience import HANG_S, PROCESS_S, until

EDITS = """
import asyncio, sys
from pathlib import Path
from controlplane.traffic.proxies.edits import edit_file, turn

async def main(path, letter, times):
    for _ in range(times):
        async with turn(path.parent, 60.0):
            await asyncio.to_thread(edit_file, path, path.read_bytes, lambda data: data + letter.encode())

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
"""


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def add(path: Path, letter: str, times: int) -> None:
    for _ in range(times):
        async with turn(path.parent, HANG_S):
            await asyncio.to_thread(edit_file, path, path.read_bytes, lambda data: data + letter.encode())


async def test_edits_of_several_tasks_and_processes_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(b"")
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", EDITS, str(path), letter, "20") for letter in "xy"
    ]
    await asyncio.gather(*(add(path, letter, 20) for letter in "abc"))
    async with asyncio.timeout(PROCESS_S):
        assert [await other.wait() for other in others] == [0, 0]
    text = path.read_text()
    assert {letter: text.count(letter) for letter in "abcxy"} == dict.fromkeys("abcxy", 20)
    assert files_in(tmp_path) == [path]


async def test_an_edit_waits_for_a_person_who_locked_the_folder_and_gives_up_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(b"")
    pipe = asyncio.subprocess.PIPE
    command = ("flock", tmp_path, "sh", "-c", "echo; read line")
    person = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert person.stdout is not None
    await person.stdout.readline()
    with pytest.raises(Unavailable, match=f"another process has locked {tmp_path} for 0.05 s"):
        async with turn(tmp_path, 0.05):
            pass
    waiting = asyncio.create_task(add(path, "a", 1))
    await person.communicate(b"\n")
    await waiting
    assert path.read_bytes() == b"a"


async def test_a_cancelled_wait_and_a_cancelled_holder_leave_no_lock(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        async with turn(tmp_path):
            held.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await held.wait()
    waiter = asyncio.create_task(hold())
    for task in (waiter, holder):
        task.cancel()
    await until(lambda: holder.done() and waiter.done())
    async with turn(tmp_path, 0.0):
        pass


def test_a_file_that_an_editor_saved_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(b"old ")
    saves = [b"saved once ", b"saved twice "]
    fsync = os.fsync

    def saved_while_waiting_for_the_disk(fd: int) -> None:
        fsync(fd)
        if saves:
            path.write_bytes(saves.pop(0))

    monkeypatch.setattr(os, "fsync", saved_while_waiting_for_the_disk)
    assert edit_file(path, path.read_bytes, lambda data: data + b"edited") == (b"saved twice ", b"saved twice edited")
    assert path.read_bytes() == b"saved twice edited"
    assert files_in(tmp_path) == [path]


def test_a_file_that_changes_without_end_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"

    def edited(data: bytes) -> bytes:
        path.write_bytes(data + b".")
        return data + b"edited"

    path.write_bytes(b"")
    with pytest.raises(OSError, match=f"another program changed it {TRIES} times"):
        edit_file(path, path.read_bytes, edited)
    assert path.read_bytes() == b"." * TRIES


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(b"same")
    before = path.stat()
    assert edit_file(path, path.read_bytes, lambda data: data) == (b"same", b"same")
    assert path.stat() == before
