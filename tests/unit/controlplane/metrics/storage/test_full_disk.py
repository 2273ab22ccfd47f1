"""A disk that cannot be written: rows go to memory, nothing stored is touched, and writing goes on when it can."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series import tidy as tidying
from controlplane.metrics.series.tidy import RETRY_EVERY_S
from controlplane.metrics.storage import packfile
from tests.fakes import series_model


class Disk:
    """Lets so many writes through, and then fails every one, until it is well again."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.number, self.text, self.torn = 28, "No space left on device", False
        write, reserve, truncate, flush = os.pwrite, os.posix_fallocate, os.ftruncate, os.fdatasync

        def pwrite(file: int, data: bytes, at: int) -> int:
            if self.fails():
                if self.torn:
                    write(file, data[: len(data) // 2], at)
                raise self.error()
            return write(file, data, at)

        patch.setattr(os, "pwrite", pwrite)
        patch.setattr(os, "posix_fallocate", self._guarded(reserve))
        patch.setattr(os, "fdatasync", self._guarded(flush))
        patch.setattr(os, "ftruncate", self._guarded(truncate))

    def _guarded(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: int) -> None:
            if self.fails():
                raise self.error()
            real(*args)

        return call

    def fails(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0

    def error(self) -> OSError:
        return OSError(self.number, self.text)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def everything(rows: int, start: int = 0) -> dict[str, list[int]]:
    return {source: list(range(start, rows)) for source in "abc"}


def recover(rig: Any) -> None:
    """Let tidy turns find that the disk is well, and bring what is in memory to it."""
    for turn in range(3):
        rig.tidy.turn(rig.now + 7 * 60_000 + turn * round(RETRY_EVERY_S * 1000))


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("allowed", range(28))
def test_a_disk_that_fails_at_any_write_costs_nothing(rig: Any, disk: Disk, allowed: int, torn: bool) -> None:
    rig.write(100)
    disk.left, disk.torn = allowed, torn
    rig.write(100)
    rig.pack()
    rig.write(60, "ab")
    new = Layout((Series("new", ()),))
    rig.store.append("new", new, rig.now, np.array([1.0]))
    rig.pack()
    assert rig.folder.paused == "No space left on device"
    assert rig.held() == {"a": list(range(260)), "b": list(range(260)), "c": list(range(200))}
    disk.left = None
    durable = killed(rig)
    assert all(rows == list(range(len(rows))) and len(rows) >= 100 for rows in durable.values())
    recover(rig)
    assert rig.folder.paused == ""
    assert rig.folder.complete
    rig.write(10)
    assert killed(rig) == {
        "a": list(range(270)),
        "b": list(range(270)),
        "c": [*range(200), *range(260, 270)],
    }
    rig.die()
    rig.open()
    assert series_model.read(rig.store, "new", -1, 1 << 45) != {}


def killed(rig: Any) -> dict[str, list[int]]:
    """Return what another process would find if this one died now."""
    there = rig.path.with_name("after")
    shutil.copytree(rig.path, there)
    other = type(rig)(there)
    found: dict[str, list[int]] = other.held()
    other.close()
    shutil.rmtree(there)
    return found


def test_what_was_in_files_before_stays_in_files_while_the_disk_is_full(rig: Any, disk: Disk) -> None:
    """Packing would free arenas: not while what is packed can only be kept in memory."""
    rig.write(168)
    disk.left = 0
    assert rig.pack() == 0
    assert rig.pack() == 0
    disk.left = None
    assert killed(rig) == everything(168)


def test_what_is_in_memory_is_packed_there_while_the_disk_is_full(rig: Any, disk: Disk) -> None:
    rig.write(10)
    disk.left = 0
    rig.write(400)
    before = rig.folder.nbytes
    assert rig.pack() > 0
    assert rig.folder.memory_packed > 0
    assert rig.folder.nbytes < before
    assert rig.held() == everything(410)
    disk.left = None
    recover(rig)
    assert rig.folder.memory_packed == 0
    assert killed(rig) == everything(410)


def test_memory_is_bounded_while_the_disk_is_full_for_long(
    rig: Any, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.write(168)
    monkeypatch.setattr(tidying, "MEMORY_BYTES", 20_000)
    disk.left = 0
    for _ in range(40):
        rig.write(128)
        rig.pack()
        assert rig.folder.memory_packed <= 20_000
    held = rig.held()["a"]
    # What was stored before is not touched; the oldest of what came later is gone.
    assert held[:168] == list(range(168))
    assert held[168:] == list(range(held[168], rig.rows))
    assert held[168] > 168
    assert "the oldest samples in memory are dropped" in caplog.text


@pytest.mark.parametrize(
    ("number", "text", "cure"),
    [
        (28, "No space left on device", " Free some space."),
        (122, "Disk quota exceeded", " Free some space."),
        (5, "Input/output error", ""),
        (30, "Read-only file system", ""),
        (27, "File too large", ""),
    ],
)
def test_the_log_says_once_why_and_once_that_it_is_over(
    rig: Any, disk: Disk, caplog: pytest.LogCaptureFixture, number: int, text: str, cure: str
) -> None:
    disk.number, disk.text, disk.left = number, text, 0
    rig.write(50)
    for _ in range(3):
        rig.pack()
    assert caplog.messages == [
        f"metrics: {rig.path} cannot be written ([Errno {number}] {text}): new samples are kept in memory.{cure}"
    ]
    assert (rig.folder.paused, rig.folder.pauses) == (text, 1)
    disk.left = None
    caplog.clear()
    recover(rig)
    assert caplog.messages == [f"metrics: {rig.path} can be written again"]


def test_it_is_tried_again_every_so_often_also_when_the_clock_was_set_back(rig: Any, disk: Disk) -> None:
    disk.left = 0
    rig.write(10)
    rig.tidy.turn(rig.now)
    disk.left = None
    rig.tidy.turn(rig.now + round(RETRY_EVERY_S * 1000) - 1)
    assert rig.folder.paused
    rig.tidy.turn(rig.now - 3_600_000)
    assert not rig.folder.paused


def test_what_is_dropped_meanwhile_does_not_come_back(rig: Any, disk: Disk) -> None:
    rig.write(10)
    disk.left = 0
    rig.store._forget([rig.store.sources["a"].current])
    rig.write(1, "bc")
    disk.left = None
    recover(rig)
    assert killed(rig) == {"b": list(range(11)), "c": list(range(11))}


def test_a_sync_that_fails_keeps_what_was_packed_from(rig: Any, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write(168)

    def fail(self: packfile.PackFile) -> None:
        raise disk.error()

    with monkeypatch.context() as patched:
        patched.setattr(packfile.PackFile, "sync", fail)
        assert rig.pack() == 0
    assert list(rig.path.glob("*.raw")) == []
    assert killed(rig) == everything(168)
    rig.write(1)
    recover(rig)
    assert len(list(rig.path.glob("*.raw"))) == 1
    assert killed(rig) == everything(169)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_real_limit_on_the_size_of_files(rig: Any) -> None:
    rig.write(20)
    with largest_file(1 << 20):
        rig.write(300)
        rig.pack()
        rig.store.append("wide", Layout(tuple(Series(f"w{n}", ()) for n in range(60_000))), rig.now, np.zeros(60_000))
        assert rig.folder.paused == "File too large"
        assert len(series_model.read(rig.store, "m0", -1, 1 << 45)) == 3
    recover(rig)
    assert rig.folder.complete


FULL = """
import json, os, sys
import numpy as np
from pathlib import Path
from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy

folder, filler = Path(sys.argv[1]) / "store", Path(sys.argv[1]) / "filler"
store = SeriesStore.in_folder(folder, 1e9, None, 1e9)
tidy = Tidy(store)
layout = Layout(tuple(Series(f"m{n}", ()) for n in range(500)))
random = np.random.default_rng(1)
now, said = 1_700_000_000_000, {}

def scrape(rows):
    global now
    for _ in range(rows):
        now += 15_000
        store.append("t", layout, now, random.normal(size=500))
        tidy.turn(now)

def held(of):
    from tests.fakes import series_model
    return [len(samples) for samples in series_model.read(of, "m7", -1, 1 << 45).values()]

def on_disk():
    import shutil, tempfile
    with tempfile.TemporaryDirectory() as there:
        shutil.copytree(folder, Path(there) / "copy")
        other = SeriesStore.in_folder(Path(there) / "copy", 1e9, None, 1e9)
        found = held(other)
        other.space.close()
        return found

scrape(100)
file = os.open(filler, os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(file, bytes(4096))
except OSError:
    os.close(file)
scrape(1500)
said["paused"], said["held"], said["stored"] = store.space.paused, held(store), on_disk()
filler.unlink()
scrape(30)
said["resumed"], said["complete"] = not store.space.paused, store.space.complete
said["held at last"], said["stored at last"] = held(store), on_disk()
print(json.dumps(said))
"""


def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare to mount a small file system")
    mount = f'mount -t tmpfs -o size=48m tmpfs {tmp_path} && exec {sys.executable} -c "$SCRIPT" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount],
        env={**os.environ, "SCRIPT": FULL},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        pytest.skip(f"a small file system cannot be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["paused"] == "No space left on device"
    assert said["held"] == [1600]
    assert 100 <= said["stored"][0] <= 1600
    assert said["resumed"]
    assert said["complete"]
    assert said["held at last"] == said["stored at last"] == [1630]
