"""`backup test-restore` in a subprocess: its result, and a scratch folder that is clean in every ending."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from tests.fakes.stored_triton import StoredTriton
from tests.patience import PROCESS_S, until
from tests.unit.controlplane.cli.backups.conftest import PROGRAM, Machine


def weights(machine: Machine) -> None:
    """Make the model one that the fake Triton reads, and back it up."""
    (machine.models / "chat" / "config.pbtxt").write_text("{}")
    (machine.models / "chat" / "1" / "weights").write_text("good")
    machine.backup("create", machine.models, "--name", "triton")


def left(scratch: Path) -> list[str]:
    return sorted(path.name for path in scratch.iterdir()) if scratch.exists() else []


def test_its_result_is_a_sentence_or_data(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "chat", "--version", "v1")
    scratch = machine.home / "scratch"
    said = machine.backup("test-restore", "chat@v1", scratch).stdout
    assert " of chat@v1 was restored: 2 files, 2.86 MiB, in " in said and left(scratch) == []
    found = json.loads(machine.backup("test-restore", "chat", scratch, "-o", "json").stdout)
    assert (found["subject"], found["restored_bytes"], found["served"], found["database_rows"], found["notes"]) == (
        "chat", 3_000_013, [], None, [],
    )  # fmt: skip


def test_what_it_refuses(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "chat")
    inside = machine.repository / "scratch"
    for words, code, said in (
        (("chat", inside), 2, "must not contain each other"),
        (("gone", machine.home / "s"), 2, "no snapshot 'gone'"),
        (("chat", machine.home / "s", "--to-triton", "x"), 2, "such as http://127.0.0.1:8000"),
        (("chat", machine.home / "s", "--to-triton", "http://127.0.0.1:9"), 1, "was restored and could not be tried"),
    ):
        assert said in machine.backup("test-restore", *words, code=code).stderr
    assert not inside.exists() and left(machine.home / "s") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_drill_that_is_ended_while_the_engine_loads(machine: Machine, number: signal.Signals) -> None:
    weights(machine)
    scratch = machine.home / "scratch"
    (scratch / "mine").mkdir(parents=True)
    async with StoredTriton(scratch) as triton:
        triton.hangs = True
        words = ["backup", "test-restore", "triton", str(scratch), "--to-triton", triton.url]
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *words, env=machine.environment, stderr=asyncio.subprocess.PIPE
        )
        await until(lambda: "load chat" in triton.orders, PROCESS_S)
        assert left(scratch)[1:] == ["chat", "mine"]
        os.kill(process.pid, number)
        _, said = await process.communicate()
        triton.hangs = False
        if number is signal.SIGINT:
            assert process.returncode == 130 and b"ended: the scratch folder is clean" in said
            assert left(scratch) == ["mine"]
            return
        assert left(scratch)[1:] == ["chat", "mine"]
        triton.start("chat")
        again = await asyncio.to_thread(machine.backup, "test-restore", "triton", scratch, "--to-triton", triton.url)
        assert "; Triton loaded chat 1" in again.stdout and left(scratch) == ["mine"]
        assert triton.serves("chat") == {} and triton.orders == ["load chat", "unload chat", "load chat", "unload chat"]
