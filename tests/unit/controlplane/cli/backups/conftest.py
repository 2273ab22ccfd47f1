"""The verbs `backup …` as people run them: a subprocess, with real folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.patience import PROCESS_S

PROGRAM = [sys.executable, "-m", "controlplane"]


@dataclass
class Machine:
    """A machine with a repository, a key file and models."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repository, self.key, self.models = (
            self.home / "repository",
            self.home / "backup.key",
            self.home / "models",
        )
        self.environment = {
            **os.environ,
            "CP_BACKUP_REPOSITORY": self.repository.as_uri(),
            "CP_BACKUP_KEY_FILE": str(self.key),
        }

    def backup(
        self, *words: object, code: int = 0, before: Callable[[], None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, "backup", *map(str, words)],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PROCESS_S,
            preexec_fn=before,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "\x1b" not in done.stdout and "\r" not in done.stdout
        return done

    def packs(self) -> list[Path]:
        return sorted((self.repository / "packs").glob("*/*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose repository is ready, with a small model."""
    machine = Machine(tmp_path)
    chat = machine.models / "chat"
    (chat / "1").mkdir(parents=True)
    (chat / "1" / "model.bin").write_bytes(os.urandom(3_000_000))
    (chat / "config.pbtxt").write_text('name: "chat"\n')
    machine.backup("init")
    return machine
