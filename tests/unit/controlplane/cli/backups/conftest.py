"""The verbs `backup …` as people run them: a process each, with real folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from tests.patience import PROCESS_S
from tests.unit.controlplane.cli.backups.forked import Forks

PROGRAM = [sys.executable, "-m", "controlplane"]


@dataclass
class Machine:
    """A machine with a repository, a key file and models."""

    forks: ClassVar[Forks | None] = None
    """The process from which those of `backup` are forked. None: each starts Python itself."""
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
        done = self._run(["backup", *map(str, words)], before)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "\x1b" not in done.stdout and "\r" not in done.stdout
        return done

    def _run(self, words: list[str], before: Callable[[], None] | None) -> subprocess.CompletedProcess[str]:
        if before is None and self.forks is not None:
            with tempfile.TemporaryDirectory() as said:
                return self.forks.run(words, self.home, self.environment, Path(said))
        return subprocess.run(
            [*PROGRAM, *words],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PROCESS_S,
            preexec_fn=before,
        )

    def packs(self) -> list[Path]:
        return sorted((self.repository / "packs").glob("*/*"))


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """The process from which those of `Machine.backup` are forked."""
    with Forks() as Machine.forks:
        yield
    Machine.forks = None


@pytest.fixture(scope="session")
def initial(forks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a machine whose repository is ready."""
    machine = Machine(tmp_path_factory.mktemp("initial"))
    machine.backup("init")
    return machine.home


@pytest.fixture
def machine(initial: Path, tmp_path: Path) -> Machine:
    """A machine whose repository is ready, with a small model."""
    shutil.copytree(initial, tmp_path, dirs_exist_ok=True)
    machine = Machine(tmp_path)
    chat = machine.models / "chat"
    (chat / "1").mkdir(parents=True)
    (chat / "1" / "model.bin").write_bytes(os.urandom(3_000_000))
    (chat / "config.pbtxt").write_text('name: "chat"\n')
    return machine
