from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from controlplane.traffic.child import run
from tests.patience import HANG_S, until


async def test_a_command_gets_its_input_and_only_the_listed_environment() -> None:
    done = await run(
        ["sh", "-c", "cat; env; echo bad >&2; exit 3"], timeout_s=HANG_S, given=b"hi\n", environment={"A": "1"}
    )
    assert (done.code, done.error, done.fault) == (3, "bad\n", "")
    assert {line for line in done.output.decode().splitlines() if not line.startswith(("PWD", "SHLVL", "_="))} == {
        "hi",
        "A=1",
    }


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    done = await run(["sh", "-c", script], timeout_s=5.0)  # long enough for its child
    assert (done.code, done.fault, done.started) == (None, "sh did not end within 5 s and was killed", True)
    child = int((tmp_path / "child").read_text())
    await until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


async def test_an_output_without_end_is_cut_off() -> None:
    done = await run(["sh", "-c", "yes"], timeout_s=HANG_S, most=3_000_000)
    assert (done.code, done.fault) == (None, "sh wrote more than 3000000 bytes and was killed")


async def test_a_command_that_is_not_there_did_not_start() -> None:
    done = await run(["/none/such"], timeout_s=HANG_S)
    assert (done.code, done.started) == (None, False)
    assert done.fault.startswith("/none/such could not be started: ")


async def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 600"], timeout_s=HANG_S))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not _runs(pid))


async def test_a_child_that_left_the_group_and_keeps_the_output_open_delays_nothing(tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ > {tmp_path}/child; sleep 600' & sleep 600"
    task = asyncio.create_task(run(["sh", "-c", script], timeout_s=5.0))
    await until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip())
    child = int((tmp_path / "child").read_text())
    try:
        assert (await task).fault == "sh did not end within 5 s and was killed"
    finally:
        os.killpg(child, signal.SIGKILL)
