from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.demo.process import Child, ChildDied, free_ports, log_tail, port_is_free

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = (
    "import subprocess,sys,time; subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']); "
    "print('up', flush=True); time.sleep(60)"
)


Members = Callable[[int], list[int]]


async def start(tmp_path: Path, code: str) -> Child:
    return await Child.start("part", [sys.executable, "-c", code], tmp_path / "part.log")


async def until_up(child: Child) -> None:
    while "up" not in log_tail(child.log_path):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)


async def test_a_child_ends_on_sigterm(tmp_path: Path) -> None:
    child = await start(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    await until_up(child)
    assert os.getpgid(child.pid) == child.pid
    assert await child.stop() == -signal.SIGTERM
    assert await child.stop() == -signal.SIGTERM


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = await start(tmp_path, STUBBORN)
    await until_up(child)
    assert await child.stop(grace_s=0.05) == -signal.SIGKILL


async def test_what_a_child_started_ends_with_it(tmp_path: Path, members: Members) -> None:
    child = await start(tmp_path, PARENT)
    await until_up(child)
    assert len(members(child.pid)) == 2
    await child.stop()
    while members(child.pid):  # noqa: ASYNC110 - SIGKILL is sent, but dying takes a moment
        await asyncio.sleep(0.01)


async def test_its_death_says_how_and_quotes_the_log(tmp_path: Path) -> None:
    child = await start(tmp_path, "print('one'); print('no space left on device'); raise SystemExit(3)")
    await child.wait()
    assert str(child.death()) == (
        f"part ended (exit status 3); log {tmp_path / 'part.log'}, last lines:\none\nno space left on device"
    )


async def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match="part: cannot run /nowhere/x"):
        await Child.start("part", ["/nowhere/x"], tmp_path / "part.log")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
async def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path, members: Members) -> None:
    code = (
        "import asyncio,sys; from pathlib import Path; from controlplane.demo.process import Child\n"
        "async def main():\n"
        "    argv = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        f"    c = await Child.start('x', argv, Path({str(tmp_path / 'x.log')!r}))\n"
        "    print('up', c.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await start(tmp_path, code)
    await until_up(parent)
    grandchild = int(log_tail(parent.log_path).split()[1])
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    while members(grandchild):  # noqa: ASYNC110 - the kernel's signal takes a moment
        await asyncio.sleep(0.01)


def test_free_ports_differ_and_are_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert port_is_free("127.0.0.1", ports[0])
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not port_is_free("127.0.0.1", ports[0])


def test_the_tail_of_a_log_is_its_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert log_tail(log) == ""
    log.write_text("x" * 20000 + "\na\n\nb\n")
    assert log_tail(log, lines=2) == "a\nb"
