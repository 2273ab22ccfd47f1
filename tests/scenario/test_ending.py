"""A process ends after a signal to stop, even when a call in it hangs, and logs which call hung. So does a crash."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.patience import PROCESS_S, wait_until
from tests.scenario.up import ROOT, TOKEN

HANGING = """
import asyncio, ctypes, logging, sys, threading
from controlplane.app.ending import Ending

logging.basicConfig(format="%(levelname)s %(message)s")
ending = Ending()

def waits_for_a_dead_disk():
    threading.Event().wait()

def holds_the_interpreter():
    ctypes.PyDLL(None).pause()

async def main():
    ending.within(60)
    ending.within(1)
    ending.within(60)
    print("closed", flush=True)
    hung = asyncio.get_running_loop().run_in_executor(None, CALL)

asyncio.run(main())
"""

CRASHING = """
import ctypes, logging, threading
from controlplane.cli.main import main

class Crash(logging.Handler):
    def emit(self, record):
        if "listening on" in record.getMessage():
            threading.Thread(target=ctypes.string_at, args=(0,)).start()

logging.getLogger("controlplane").addHandler(Crash())
main()
"""
"""The thread holds the interpreter when it crashes. A signal from outside may come while other threads run, and then
the reader of their stacks crashes itself."""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PROCESS_S, check=False
    )


def test_a_thread_that_never_returns_is_named_and_left_behind() -> None:
    ended = run(HANGING.replace("CALL", "waits_for_a_dead_disk"))
    assert (ended.returncode, ended.stdout) == (1, "closed\n")
    said = "CRITICAL the control plane did not stop within 1 s and is ended now; still running: asyncio_0 in wait"
    assert re.fullmatch(re.escape(said) + r" \(threading\.py:\d+\)\n", ended.stderr)


def test_a_call_that_holds_the_interpreter_does_not_hold_the_process() -> None:
    # No Python code runs any more, so nothing can be said.
    assert run(HANGING.replace("CALL", "holds_the_interpreter")).returncode == 1


def test_a_log_that_hangs_does_not_hold_the_process() -> None:
    stuck = """
        import threading
        class Stuck(logging.Handler):
            def emit(self, record):
                threading.Event().wait()
        logging.getLogger().handlers[:] = [Stuck()]
    """
    script = HANGING.replace("ending = Ending()", "ending = Ending()\n" + textwrap.dedent(stuck))
    assert run(script.replace("CALL", "waits_for_a_dead_disk")).returncode == 1


def test_without_a_deadline_nothing_is_ended() -> None:
    script = "from controlplane.app.ending import Ending; ending = Ending(); print('done')"
    ended = run(script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_a_crash_in_compiled_code_is_logged_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n")
    command = ["up", "-c", "fleet.yaml", "--data-dir", "data", "--listen", "127.0.0.1:0"]
    environment = {"CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    assert crashed.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault\n" in crashed.stderr
    assert re.search(r'  File "\S*controlplane/app/serve\.py", line \d+ in \w+\n', crashed.stderr)


def test_a_control_plane_ends_while_a_file_of_it_hangs(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("fleet: {name: test}\n")
    command = [sys.executable, "-m", "controlplane", "up", "-c", "fleet.yaml", "--data-dir", "data"]
    environment = {"CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"], cwd=tmp_path, env=environment, stdout=out, stderr=out
        )
    try:
        wait_until(lambda: "listening on" in log.read_text(), PROCESS_S)
        fleet.unlink()
        os.mkfifo(fleet)  # its reader waits for a writer that writes nothing, as for a dead disk
        process.send_signal(signal.SIGHUP)
        with contextlib.ExitStack() as opened:
            wait_until(lambda: opened_for_writing(fleet, opened))
            wait_until(lambda: process.send_signal(signal.SIGTERM) or process.poll() is not None)  # type: ignore[func-returns-value]
        assert process.returncode == 1
        said = r"within \d+ s and is ended now; still running: parsing_\d in \w+ \(controlplane/config/\w+\.py:\d+\)"
        assert re.search(said, log.read_text())
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def opened_for_writing(pipe: Path, until: contextlib.ExitStack) -> bool:
    """Open a pipe for writing until the stack ends. Return False when no process reads it."""
    try:
        until.callback(os.close, os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody reads it yet
        return False
    return True
