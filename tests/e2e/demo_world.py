"""A running `controlplane demo`, and the commands that a second terminal would run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANG_S, PROCESS_S

BIN = Path(sys.prefix) / "bin"


class Demo:
    """A running `controlplane demo`, and the commands that a second terminal would run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{BIN}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "XDG_CONFIG_HOME": str(folder / "config"), "NO_COLOR": "1"}
        for name in ("CP_URL", "CP_TOKEN", "SLACK_CHANNEL"):
            self.environment.pop(name, None)
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [BIN / "controlplane", "demo", "--listen", "127.0.0.1:0", "--data-dir", folder / "demo"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output.append(line)

    def finish_reading(self) -> str:
        """Return everything that the demo printed, once it has ended."""
        self._reader.join(HANG_S)
        assert self.process.stdout
        self.process.stdout.close()
        return "".join(self.output)

    def until(self, what: str, happened: Callable[[], Any], timeout_s: float = PROCESS_S) -> Any:
        """Return what `happened` returns once it is true; fail with the demo's logs when it never is."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := happened():
                return found
            time.sleep(0.5)  # each look is a process
        logs = {p.name: p.read_text(errors="replace")[-2000:] for p in (self.folder / "demo" / "logs").glob("*.log")}
        pytest.fail(f"not within {timeout_s:g}s: {what}\n{''.join(self.output)}\n{logs}")

    def cp(self, *words: str, code: int = 0) -> str:
        """Run `cp …` and return what it printed."""
        done = subprocess.run(
            [BIN / "cp", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PROCESS_S,
        )
        assert done.returncode == code, f"cp {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.cp(*words, "-o", "json"))

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("demo", "load")["destinations"]
        return found

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        found = next(m for m in self.json("models") if m["name"] == model)
        return {v["version"]: v for v in found["versions"]}

    def alert(self, name: str, state: str) -> dict[str, Any] | None:
        found = self.json("alerts", "list", "--state", "all")
        return next((a for a in found if a["name"] == name and a["state"] == state), None)


@contextmanager
def running(folder: Path) -> Iterator[Demo]:
    """Yield a demo that is ready, in `folder`, and end it after the block."""
    started = Demo(folder)
    try:
        started.until("ready", lambda: (started.folder / "demo" / "demo.json").exists())
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGINT)
            try:
                started.process.wait(PROCESS_S)
            except subprocess.TimeoutExpired:
                started.process.kill()
        started.finish_reading()
