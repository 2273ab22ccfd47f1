"""A folder with a store's files, and what its series hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.folder import Folder
from tests.fakes import series_model

START = 1_700_000_000_000
STEP = 15_000
NAMED = {source: Layout(tuple(Series(f"m{n}", (("source", source),)) for n in range(3))) for source in ("a", "b", "c")}


class Rig:
    """A store in a folder, that can die and be opened again."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.copies = path, 0, 0
        self.start, self.step = START, STEP
        self.store = self.open()

    def open(self) -> SeriesStore:
        self.store = SeriesStore.in_folder(self.path, 86_400.0, None, 35 * 86_400.0)
        self.tidy = Tidy(self.store)
        return self.store

    @property
    def folder(self) -> Folder:
        assert isinstance(self.store.space, Folder)
        return self.store.space

    @property
    def now(self) -> int:
        return START + self.rows * STEP

    def write(self, rows: int, sources: str = "abc") -> None:
        """Append rows to each source: source, row and column make the value."""
        for _ in range(rows):
            for source in sources:
                values = np.array([self.value(source, self.rows, n) for n in range(3)])
                self.store.append(source, NAMED[source], self.now, values)
            self.rows += 1

    @staticmethod
    def value(source: str, row: int, column: int) -> float:
        return ord(source) * 1e6 + row * 10 + column + (0.5 if column == 2 else 0.0)

    def pack(self) -> int:
        """Tidy up when all full chunks are old enough to be packed."""
        return self.tidy.turn(self.now + 7 * 60_000).packed

    def held(self) -> dict[str, list[int]]:
        """Return the rows that each of a, b, c has; their values are checked."""
        found: dict[str, list[int]] = {}
        for labels, samples in series_model.read(self.store, "", -1, 1 << 45).items():
            named = dict(labels)
            if "source" not in named:
                continue
            rows = [(at - START) // STEP for at, _ in samples]
            column = int(named["__name__"][1:])
            assert [v for _, v in samples] == [self.value(named["source"], row, column) for row in rows]
            assert found.setdefault(named["source"], rows) == rows
        return found

    def close(self) -> None:
        self.folder.close()

    def die(self) -> None:
        """Leave the files as a killed process leaves them, and give the folder free."""
        self.copies += 1
        there = self.path.with_name(f"{self.path.name}-{self.copies}")
        shutil.copytree(self.path, there)
        self.close()
        shutil.rmtree(self.path)
        there.rename(self.path)

    def chunks(self, source: str) -> list[Chunk | PackedChunk]:
        return [c for block in self.store.sources[source].blocks.values() for c in block.chunks]

    @staticmethod
    def flip(path: Path, at: int, size: int = 1) -> None:
        """Damage some bytes of a file."""
        with path.open("r+b") as file:
            file.seek(at)
            data = file.read(size)
            file.seek(at)
            file.write(bytes(byte ^ 0x5A for byte in data))

    def file(self, pattern: str) -> Path:
        (found,) = self.path.glob(pattern)
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "store")
    yield made
    made.close()
