"""A child that cannot be killed: it waits for a file server that is away."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from controlplane.backup.jobs import child
from controlplane.backup.jobs.child import Bounds, fault_of, run_child
from tests.patience import until


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def _nobody(done: int, total: int) -> None: ...


async def test_a_child_that_no_signal_ends_does_not_block_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "STOP_WITHIN_S", 0.01)
    monkeypatch.setattr(child, "KILLED_WITHIN_S", 0.05)
    monkeypatch.setattr(child, "DRAIN_WITHIN_S", 0.01)
    pids: list[int] = []
    # No process can be put into the state in which Linux ignores SIGKILL, so the signals are not sent.
    monkeypatch.setattr(child, "_signal", lambda group, number: pids.append(group))
    bounds = Bounds(silent_s=None, still_s=0.05, look_s=0.01)
    words = [sys.executable, "-c", "import time; time.sleep(3600)"]
    ended = await run_child(words, os.environ, bounds, _nobody)
    assert ended.left == pids[0]
    os.killpg(pids[0], signal.SIGKILL)
    await until(lambda: _is_gone(pids[0]))
    assert ended.code == -signal.SIGKILL
    assert fault_of(ended) == "it was stopped because it had made no progress for 0.05 seconds"
