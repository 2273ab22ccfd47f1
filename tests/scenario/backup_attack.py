"""An attack on a repository: real processes of two writers and a prune, killed at random instants, round after round.

After each round every snapshot is restored and compared with what its source was, and every pack is read again. Run it
long by hand: `python -m tests.scenario.backup_attack --minutes 5 [--s3]`; --s3 uses a real SeaweedFS.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import read_tree
from controlplane.backup.keys.keyfile import read_key
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from controlplane.backup.storage.addresses import open_store
from controlplane.backup.tally import Tally
from tests.patience import PROCESS_S
from tests.unit.controlplane.backup.world import content

PROGRAM = (sys.executable, "-m", "controlplane", "backup")
Tree = Mapping[str, tuple[object, ...]]


@dataclass
class Attack:
    """One repository under attack. `variables` are the environment by which a bucket is found."""

    address: str
    home: Path
    noise: random.Random
    variables: Mapping[str, str] = field(default_factory=dict)
    expected: dict[tuple[str, str], Tree] = field(default_factory=dict)
    """Content of each source by subject and version. A version is one round."""
    ends: Counter[str] = field(default_factory=Counter)
    """How processes ended: verb and exit code."""
    said: list[str] = field(default_factory=list)
    """Words of processes that failed."""
    usual_s: dict[str, float] = field(default_factory=dict)
    round: int = 0

    def begin(self) -> None:
        """Make the repository and the sources, and measure how long each verb takes."""
        self._run("init")
        for subject in ("one", "two"):
            self._change(subject)
        for verb in (self._create("one"), self._create("two"), self._prune(), self._restore("one")):
            began = time.monotonic()
            self._run(*verb)
            self.usual_s[verb[0]] = time.monotonic() - began
        self.check()

    def attack(self) -> None:
        """Run two writers, a prune and a restore at once, and kill each at a random instant, or let it end."""
        self.round += 1
        for subject in ("one", "two"):
            self._change(subject)
        verbs = [
            self._create("one"),
            self._create("two"),
            self._prune(),
            self._restore(self.noise.choice(["one", "two"])),
        ]
        with ExitStack() as stack:
            running = []
            for verb in verbs:
                process = self._start(verb)
                stack.callback(_kill, process)
                running.append(
                    (verb, process, time.monotonic() + self.noise.uniform(0.3, 1.6) * self.usual_s[verb[0]] * 2)
                )
            for verb, process, until in sorted(running, key=lambda one: one[2]):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                said = process.communicate(timeout=PROCESS_S)[1]
                assert "Traceback" not in said, (verb, said)
                self.ends[f"{verb[0]} {process.returncode}"] += 1
                if process.returncode == 1:
                    self.said.append(f"round {self.round}: {verb[0]}: {said.strip()}")
        if self.noise.random() < 0.5:
            self._a_day_passes()
        self.check()

    def check(self) -> None:
        """Restore every snapshot, compare it, and read every pack again."""
        repository = self.opened()
        faults: list[BackupError] = []
        found = repository.snapshots(faults.append)
        assert not faults, faults
        for snapshot in found:
            folder = self.home / "check"
            write_tree(repository, list(read_tree("tree", repository.tree(snapshot))), folder, lanes=1, tally=Tally())
            assert content(folder) == self.expected[snapshot.subject, snapshot.version], snapshot
            shutil.rmtree(folder)
        verdict = verify(repository)
        assert verdict.good, verdict

    def opened(self) -> Repository:
        """Return the repository. Parts of its index that cannot be read fail the attack."""
        faults: list[BackupError] = []
        os.environ.update(self.variables)
        repository = Repository.open(open_store(self.address), [read_key(self.home / "backup.key")], faults.append)
        assert not faults, faults
        return repository

    def _change(self, subject: str) -> None:
        root = self.home / subject
        for name in ("1/model.bin", "2/model.bin", "config.pbtxt"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or self.noise.random() < 0.6:
                # Both writers draw from few contents: they share chunks, and chunks of deleted snapshots return.
                path.write_bytes(random.Random(self.noise.randrange(6)).randbytes(5 << 20))
        self.expected[subject, str(self.round)] = content(root)

    def _create(self, subject: str) -> Sequence[str]:
        return "create", str(self.home / subject), f"--name={subject}", f"--version={self.round}"

    def _prune(self) -> Sequence[str]:
        return "prune", "--keep-last=1", "--yes"

    def _restore(self, subject: str) -> Sequence[str]:
        return "restore", subject, str(self.home / "restored" / f"{self.round}")

    def _a_day_passes(self) -> None:
        """Delete the notes of processes that were killed: a prune ignores them after 24 hours. Old versions go, too.

        The newest snapshot of each version stays for `backup prune`, and each round here is a version.
        """
        repository = self.opened()
        for item in list(repository.store.list("intents/")):
            repository.store.delete(item.name)
        for snapshot in repository.snapshots(lambda _: None)[:-2]:
            repository.store.delete(f"snapshots/{snapshot.id}")

    def _environment(self) -> dict[str, str]:
        own = {"CP_BACKUP_REPOSITORY": self.address, "CP_BACKUP_KEY_FILE": str(self.home / "backup.key")}
        return {**os.environ, **self.variables, **own}

    def _start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *words],
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _run(self, *words: str) -> None:
        done = self._start(words)
        said = done.communicate(timeout=PROCESS_S)[1]
        assert done.returncode == 0, (words, said)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PROCESS_S)
    if process.stderr is not None:
        process.stderr.close()


def main() -> None:
    """Attack until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = (home / "repository").as_uri()
        variables: Mapping[str, str] = {}
        if given.s3:
            from tests.contract.real_servers import seaweedfs

            variables = stack.enter_context(seaweedfs(home))
            address = "s3://models/repository"
        attack = Attack(address, home, random.Random(given.seed), variables)
        attack.begin()
        until = time.monotonic() + given.minutes * 60
        while time.monotonic() < until:
            attack.attack()
            print(attack.round, dict(attack.ends), *attack.said, sep="\n", flush=True)
            attack.said.clear()


if __name__ == "__main__":
    main()
