"""A writing process is killed for real. All rows that it reported as written are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.errors import StorageLocked
from controlplane.metrics.storage.folder import Folder
from tests.fakes import series_model

WRITER = """
import sys
import numpy as np
from pathlib import Path
from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy

store = SeriesStore.in_folder(Path(sys.argv[1]), 1e9, None, 1e9)
tidy = Tidy(store)
start = store.newest_ms("t0") or 1_700_000_000_000
layouts = {
    (n, kind): Layout(tuple(Series(f"m{i}", (("t", str(n)), ("kind", str(kind)))) for i in range(50 + kind)))
    for n in range(4) for kind in range(2)
}
print("ready", flush=True)
for row in range(1, 1_000_000):
    at = start + row * 15_000
    for n in range(4):
        layout = layouts[n, row // 100 % 2]
        store.append(f"t{n}", layout, at, np.full(len(layout.raw), float(at)))
    print(at, flush=True)
    if row % 50 == 0:
        tidy.turn(at)
"""


@pytest.mark.parametrize("rows", [3, 150, 700])
def test_a_killed_writer_loses_at_most_the_row_that_it_was_writing(rows: int, tmp_path: Path) -> None:
    reported: set[int] = set()
    for generation in range(1, 3):
        written = killed_after(rows, tmp_path)
        reported.update(written)
        store = SeriesStore.in_folder(tmp_path, 1e9, None, 1e9)
        for n in range(4):
            found: dict[int, float] = {}
            for labels, samples in series_model.read(store, "m0", -1, 1 << 45).items():
                if dict(labels)["t"] == str(n):
                    found |= dict(samples)
            assert all(value == at for at, value in found.items())
            # The row behind the last one that was reported may have been complete; one behind that cannot be.
            assert max(found) in (written[-1], written[-1] + 15_000)
            assert reported <= set(found)
            assert len(set(found) - reported) <= generation
        assert isinstance(store.space, Folder)
        store.space.close()


def killed_after(rows: int, folder: Path) -> list[int]:
    """Run a writer until it reported so many rows, kill it, and return the times of the rows that it reported."""
    arguments = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path.cwd(), text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            with pytest.raises(StorageLocked):
                SeriesStore.in_folder(folder, 1e9, None, 1e9)
            seen = [int(writer.stdout.readline()) for _ in range(rows)]
        finally:
            os.kill(writer.pid, signal.SIGKILL)
        # What the pipe still holds was reported before it died; the kill may have cut the last line off.
        rest = writer.stdout.read().split("\n")[:-1]
    return [*seen, *map(int, rest)]
