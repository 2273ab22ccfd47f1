"""The meeting of a gateway and its successor at the socket in the data folder."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from controlplane import __version__
from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process import handover
from controlplane.gateway.process.handover import SOCKET, Offer, Predecessor, Successors, meet
from tests.patience import HANG_S, until


class Old:
    """A running gateway that offers a listening socket, and two files for lock and memory."""

    def __init__(self, folder: Path) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.refuse = ""
        self.relieved_by = 0
        self.files = [os.memfd_create("lock"), os.memfd_create("memory")]
        os.write(self.files[1], b"shared")
        self.successors = Successors(folder, self.offer, self.relieved)

    def offer(self) -> tuple[Offer, list[int]]:
        if self.refuse:
            raise GatewayError(self.refuse)
        fd = self.listening.fileno()
        return Offer(__version__, {"one": 6}, 1, "127.0.0.1:1", "127.0.0.1:2", 1), [*self.files, fd, fd]

    async def relieved(self, pid: int) -> None:
        self.relieved_by = pid
        self.successors.close()

    def close(self) -> None:
        self.successors.close()
        self.successors.gone()
        self.listening.close()
        for fd in self.files:
            os.close(fd)


async def met(folder: Path) -> Predecessor:
    found = await asyncio.to_thread(meet, folder)
    assert found is not None
    return found


def let_go(before: Predecessor) -> None:
    for each in (before.admin, *before.listening):
        each.close()
    os.close(before.lock_fd)
    os.close(before.memory_fd)
    before.close()


async def test_a_successor_gets_the_open_files_and_relieves_the_gateway(tmp_path: Path) -> None:
    old = Old(tmp_path)
    old.successors.open()
    assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
    new = await met(tmp_path)
    assert (new.offer.version, new.offer.sizes, new.offer.half) == (__version__, {"one": 6}, 1)
    assert os.pread(new.memory_fd, 6, 0) == b"shared"
    assert new.listening[0].getsockname() == old.listening.getsockname()
    assert not os.get_inheritable(new.lock_fd)
    assert old.relieved_by == 0
    await new.relieve()
    assert old.relieved_by == os.getpid() == new.pid
    assert not (tmp_path / SOCKET).exists()
    assert new.remains
    old.close()  # as at the end of its process
    await new.ended()
    assert not new.remains
    let_go(new)


async def test_a_successor_that_dies_leaves_the_gateway_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = Old(tmp_path)
    old.successors.open()
    let_go(await met(tmp_path))
    await until(lambda: "has failed: it closed the connection; this one serves on" in caplog.text)
    assert old.relieved_by == 0
    new = await met(tmp_path)  # the next one may try
    await new.relieve()
    assert old.relieved_by == os.getpid()
    let_go(new)
    old.close()


@pytest.mark.parametrize("said", [b"", b'{"format": 1', b"hello"])
async def test_silent_processes_keep_no_successor_waiting(tmp_path: Path, said: bytes) -> None:
    old = Old(tmp_path)
    old.successors.open()
    silent = [await asyncio.open_unix_connection(tmp_path / SOCKET) for _ in range(4)]
    for _, writer in silent:
        writer.write(said)
    new = await met(tmp_path)
    await new.relieve()
    assert old.relieved_by == os.getpid()
    let_go(new)
    old.close()
    for reader, writer in silent:
        assert await asyncio.wait_for(reader.read(), HANG_S) == b"", "they are let go of with the socket"
        writer.close()


async def test_connections_are_bounded(tmp_path: Path) -> None:
    old = Old(tmp_path)
    old.successors.open()
    silent = [await asyncio.open_unix_connection(tmp_path / SOCKET) for _ in range(handover._MOST)]
    reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
    assert await asyncio.wait_for(reader.read(), HANG_S) == b""
    for _, each in (*silent, (reader, writer)):
        each.close()
    await until(lambda: not old.successors._answers)
    let_go(await met(tmp_path))
    old.close()


async def test_a_successor_that_falls_silent_loses_its_offer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Old(tmp_path)
    old.successors.open()
    silent = await met(tmp_path)
    with pytest.raises(GatewayError, match=f"process {os.getpid()} is taking over already; try again later"):
        await met(tmp_path)
    let_go(silent)
    await until(lambda: "has failed" in caplog.text)
    monkeypatch.setattr(handover, "_LINE_S", 0.1)
    silent = await met(tmp_path)
    await until(lambda: "has failed: it was silent for 0.1 s; this one serves on" in caplog.text)
    monkeypatch.undo()
    new = await met(tmp_path)
    with pytest.raises(GatewayError):
        await silent.relieve()
    assert old.relieved_by == 0
    await new.relieve()
    assert old.relieved_by == os.getpid()
    let_go(silent)
    let_go(new)
    old.close()


async def test_a_successor_that_starts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_TELL_S", 0.001)
    seen = []
    read = handover._Lines.next

    async def noted(lines: handover._Lines) -> dict[str, object]:
        seen.append(await read(lines))
        return seen[-1]

    monkeypatch.setattr(handover._Lines, "next", noted)
    old = Old(tmp_path)
    old.successors.open()
    new = await met(tmp_path)
    new.starts()
    await until(lambda: seen.count({"starting": True}) > 20)
    assert old.relieved_by == 0
    await new.relieve()
    assert old.relieved_by == os.getpid() and seen[-1] == {"ready": True}
    let_go(new)
    old.close()


async def test_a_successor_that_never_gets_ready_loses_its_offer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "_TELL_S", 0.01)
    monkeypatch.setattr(handover, "_READY_S", 0.1)
    old = Old(tmp_path)
    old.successors.open()
    new = await met(tmp_path)
    new.starts()
    await until(lambda: "has failed: it was not ready within 0.1 s" in caplog.text)
    assert old.relieved_by == 0
    let_go(new)
    old.close()


async def test_a_refusal_has_its_reason(tmp_path: Path) -> None:
    old = Old(tmp_path)
    old.refuse = "it still drains"
    old.successors.open()
    with pytest.raises(GatewayError, match="does not hand over: it still drains"):
        await met(tmp_path)
    old.close()


async def test_bytes_of_something_else_are_no_successor(tmp_path: Path) -> None:
    old = Old(tmp_path)
    old.successors.open()
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"format": 99, "version": "x"}\n', b""):
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(said)
        writer.write_eof()
        assert b"sockets" not in await reader.read()
        writer.close()
    let_go(await met(tmp_path))
    old.close()


def test_where_nobody_answers_there_is_none(tmp_path: Path) -> None:
    assert meet(tmp_path) is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))  # the file of a gateway that was killed
    assert meet(tmp_path) is None


async def test_a_deep_folder_works_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    old = Old(deep)
    old.successors.open()
    let_go(await met(deep))
    old.close()
