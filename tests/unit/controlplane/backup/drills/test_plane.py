"""A trial of a control plane's snapshot with samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.backup.drills.plane import try_plane
from controlplane.backup.errors import Damaged
from controlplane.backup.plane.bring_back import Kept
from controlplane.backup.plane.collect import collect, collect_samples
from controlplane.backup.plane.manifest import FACT, SAMPLES
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from controlplane.config.loader import load_fleet
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from tests.unit.controlplane.backup.world import KEY, Clock, new_store


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A folder with all that a backup of a control plane with two series holds."""
    data, folder = tmp_path / "data", tmp_path / "staged"
    data.mkdir()
    folder.mkdir()
    (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n")
    url = f"sqlite:///{data / 'controlplane.db'}"
    db = Database(url)
    migrate(db)
    db.close()
    store = SeriesStore.in_folder(data / SAMPLES, 1e9, None, 1e9)
    layout = Layout((Series("up", (("job", "a"),)), Series("up", (("job", "b"),))))
    store.append("one", layout, 1_000, np.array([1.0, 2.0]))
    collect(url, load_fleet(tmp_path / "fleet.yaml"), folder, 1.0)
    assert collect_samples(data, folder) == ()
    return folder


def trial(folder: Path, scratch: Path) -> int | None:
    repository = Repository.open(new_store(), [KEY])
    about = About("control-plane-with-metrics", facts={FACT: "1"})
    made = create_snapshot(repository, Source(folder), about, options=Options(lanes=1, now=Clock()))
    repository.refresh()
    return try_plane(repository, Kept(repository, made.snapshot), scratch, Tally(), 2.0).series


def test_the_series_are_counted(staged: Path, tmp_path: Path) -> None:
    assert trial(staged, tmp_path / "scratch") == 2


def test_samples_without_a_journal_fail_the_trial(staged: Path, tmp_path: Path) -> None:
    for journal in (staged / SAMPLES).glob("journal.*"):
        journal.unlink()
    with pytest.raises(Damaged, match=r"the samples of .* their journal is missing"):
        trial(staged, tmp_path / "scratch")
