"""Any order of two writers, prunes, deletions and days, each cut off at any call to the store, or beside another.

The judge is the reader of `plain_reader.py`, which shares no code with the product: each snapshot that is listed has,
byte by byte, what its source was when it was made.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.backup.errors import PacksGone
from controlplane.backup.keys.keyfile import write_key
from controlplane.backup.pruning.prune import prune
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import Killed, MemoryStore
from tests.unit.controlplane.backup.plain_reader import PlainReader
from tests.unit.controlplane.backup.world import KEY, create, new_store, same_bucket, snapshots

NAMES = ("config.pbtxt", "1/model.bin", "2/model.bin", "2/labels.txt")
OPERATIONS = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 60))
"""Number of the call to the store before which a process is killed; None: it is not, which is more common."""
Act = Callable[[MemoryStore], None]
Tree = dict[str, object]


class Repositories(RuleBasedStateMachine):
    """Two writers with a folder each, over one bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.store = new_store()
        write_key(self.home / "key", KEY)
        self.roots = [self.home / "one", self.home / "two"]
        for root in self.roots:
            root.mkdir()
        self.expected: dict[str, Tree] = {}
        self.judged: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    @rule(
        writer=st.integers(0, 1),
        name=st.sampled_from(NAMES),
        seed=st.integers(0, 3),
        size=st.sampled_from([0, 10, 3000, 40_000]),
    )
    def write(self, writer: int, name: str, seed: int, size: int) -> None:
        path = self.roots[writer] / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(seed).randbytes(size))

    @rule(writer=st.integers(0, 1), name=st.sampled_from(NAMES))
    def remove(self, writer: int, name: str) -> None:
        (self.roots[writer] / name).unlink(missing_ok=True)

    @rule(writer=st.integers(0, 1), name=st.sampled_from(NAMES))
    def link(self, writer: int, name: str) -> None:
        path = self.roots[writer] / "link"
        path.unlink(missing_ok=True)
        path.symlink_to(name)

    @rule(writer=st.integers(0, 1), killed=OPERATIONS)
    def back_up(self, writer: int, killed: int | None) -> None:
        self._carry_out(self._backup(writer), killed)

    @rule(killed=OPERATIONS)
    def prune(self, killed: int | None) -> None:
        self._carry_out(_pruned, killed)

    @rule(
        writer=st.integers(0, 1),
        at=st.integers(0, 40),
        killed=OPERATIONS,
        inner_killed=OPERATIONS,
        forget=st.booleans(),
    )
    def prune_beside_a_backup(
        self, writer: int, at: int, killed: int | None, inner_killed: int | None, forget: bool
    ) -> None:
        def inner(store: MemoryStore) -> None:
            while forget and snapshots(same_bucket(store)):
                self._forget(store, 0)
            self._carry_out(_pruned, inner_killed)

        self._carry_out(self._backup(writer), killed, at, inner)

    @rule(writer=st.integers(0, 1), at=st.integers(0, 40), killed=OPERATIONS, inner_killed=OPERATIONS)
    def back_up_beside_a_prune(self, writer: int, at: int, killed: int | None, inner_killed: int | None) -> None:
        self._carry_out(_pruned, killed, at, lambda store: self._carry_out(self._backup(writer), inner_killed))

    @rule(at=st.integers(0, 40), killed=OPERATIONS, inner_killed=OPERATIONS)
    def back_up_beside_a_backup(self, at: int, killed: int | None, inner_killed: int | None) -> None:
        self._carry_out(self._backup(0), killed, at, lambda store: self._carry_out(self._backup(1), inner_killed))

    @rule(number=st.integers(0, 5))
    def forget(self, number: int) -> None:
        self._forget(self._handle(), number)

    @rule()
    def two_days_pass(self) -> None:
        self.store.now += 2 * 86_400.0

    @invariant()
    def every_snapshot_is_what_its_source_was(self) -> None:
        folder = self.home / "judge"
        for name, (data, _) in self.store.objects.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "packs").mkdir(exist_ok=True)
        (folder / "snapshots").mkdir(exist_ok=True)
        reader = PlainReader(folder, self.home / "key")
        for head in reader.snapshots():
            found = {entry["path"]: _judged(reader, entry) for entry in reader.entries(head)}
            assert found == self.expected[head["version"]]
            assert reader.tree_digest(head) == head["digest"]
        shutil.rmtree(folder)

    def _handle(self) -> MemoryStore:
        """Return another process's handle, whose clock is the store's."""
        store = same_bucket(self.store)
        store.now = self.store.now
        return store

    def _backup(self, writer: int) -> Act:
        def act(store: MemoryStore) -> None:
            version = str(len(self.expected))
            self.expected[version] = _content(self.roots[writer])
            create(store, self.roots[writer], "chat", version=version, host=f"node-{writer}")

        return act

    def _carry_out(self, act: Act, killed: int | None, at: int | None = None, beside: Act | None = None) -> None:
        """Carry an act out in a process that is killed before a call, with another act before a call of it."""
        store = self._handle()
        store.kill_at = killed

        def before(number: int, what: str) -> None:
            if number == at and beside is not None:
                beside(store)

        store.before = before
        with suppress(Killed, PacksGone):  # after PacksGone an operator runs it again
            act(store)

    @staticmethod
    def _forget(store: MemoryStore, number: int) -> None:
        quiet = same_bucket(store)
        found = snapshots(quiet)
        if number < len(found):
            quiet.delete(f"snapshots/{found[number].id}")


def _pruned(store: MemoryStore) -> None:
    prune(Repository.open(store, [KEY]), host="here")


def _content(root: Path) -> Tree:
    found: Tree = {".": "folder"}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def _judged(reader: PlainReader, entry: dict[str, str]) -> object:
    content: bytes = reader.content(entry) if entry["type"] == "file" else b""
    return content if entry["type"] == "file" else entry.get("target", "folder")


@pytest.mark.usefixtures("small_packs")
class TestRepositories(Repositories.TestCase):  # type: ignore[valid-type,misc]  # a class made at run time
    settings = settings(max_examples=40, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck))
