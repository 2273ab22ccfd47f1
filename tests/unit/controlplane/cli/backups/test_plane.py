"""`backup control-plane`, `restore-control-plane` and `release` in a subprocess, over a real data folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.audit import AuditStore, audit
from controlplane.store.backups.restored import hold_of
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue
from tests.fakes import series_model
from tests.unit.controlplane.cli.backups.conftest import Machine


def opened(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'controlplane.db'}")


@pytest.fixture
def plane(machine: Machine) -> Machine:
    """A machine with a control plane's data folder, whose database is open, and its fleet.yaml."""
    (machine.home / "etc").mkdir()
    (machine.home / "etc" / "own.yml").write_text("groups: []\n")
    (machine.home / "etc" / "fleet.yaml").write_text("fleet: {name: test}\nrules: [own.yml]\n")
    (machine.home / "data").mkdir(mode=0o700)
    db = opened(machine.home / "data")
    migrate(db)
    with db.transaction() as session:
        audit(session, "ann", "token.create", "token/1", "", 1.0)
        enqueue(session, "test", "slack", "m-1", {}, 1.0)
    db.close()
    return machine


def test_a_control_plane_comes_back_on_hold_and_is_released(plane: Machine) -> None:
    config, data, out = plane.home / "etc" / "fleet.yaml", plane.home / "data", plane.home / "out"
    said = plane.backup("control-plane", "-c", config, "--data-dir", data).stdout
    assert "of control-plane: sqlite with schema " in said and "2 files of configuration" in said
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in data.iterdir()} == {"controlplane.db"}
    assert "backup restore-control-plane" in plane.backup("restore", "control-plane", out, code=2).stderr
    assert not out.exists()

    said = plane.backup("restore-control-plane", "control-plane", out).stdout
    assert "A control plane that starts on it only observes." in said
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"controlplane.db", "control-plane.json", "config/fleet.yaml", "config/own.yml"}
    assert (out / "config" / "fleet.yaml").read_bytes() == config.read_bytes()
    assert out.stat().st_mode & 0o777 == 0o700
    db = opened(out)
    hold = hold_of(db)
    assert hold is not None and hold.messages == 1
    assert [act.action for act in AuditStore(db).recent(2)] == ["database.restore", "token.create"]
    again = plane.backup("restore-control-plane", "control-plane", out, code=2).stderr
    assert "is not an empty folder" in again

    options = ("-c", out / "config" / "fleet.yaml", "--data-dir", out)
    assert "0 held messages will be sent, and 1 dropped" in plane.backup("release", *options, "--drop-messages").stdout
    assert hold_of(db) is None
    assert [entry.status for entry in OutboxStore(db).recent(1)] == [OutboxStatus.DEAD]
    db.close()
    assert "is not held" in plane.backup("release", *options, code=1).stderr


def test_the_configuration_alone_is_restored_as_files(plane: Machine) -> None:
    plane.backup("control-plane", "-c", plane.home / "etc" / "fleet.yaml", "--data-dir", plane.home / "data")
    out = plane.home / "out"
    plane.backup("restore", "control-plane", out, "--file", "config")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [
        "config",
        "config/fleet.yaml",
        "config/own.yml",
    ]


def test_what_cannot_be_backed_up_or_restored_is_named(plane: Machine) -> None:
    config, data = plane.home / "etc" / "fleet.yaml", plane.home / "data"
    assert "--data-dir" in plane.backup("control-plane", "-c", config, "--data-dir", plane.home, code=1).stderr
    assert "no folder" in plane.backup("control-plane", "-c", config, "--data-dir", plane.home / "x", code=2).stderr
    plain = ("--repository", plane.home / "plain")
    plane.backup("init", *plain, "--no-encryption")
    refused = plane.backup("control-plane", "-c", config, "--data-dir", data, *plain, code=1).stderr
    assert "is not encrypted, and the database holds hashes of tokens" in refused
    plane.backup("create", plane.models)
    no_plane = plane.backup("restore-control-plane", "models", plane.home / "out", code=1).stderr
    assert "is not a backup of a control plane" in no_plane
    (plane.home / "etc" / "own.yml").unlink()
    gone = plane.backup("control-plane", "-c", config, "--data-dir", data, code=1).stderr
    assert "own.yml, which fleet.yaml needs, cannot be backed up" in gone
    assert list(data.glob(".controlplane-backup-*")) == []


def test_samples_come_back_where_they_were_asked_for(plane: Machine) -> None:
    config, data, out = plane.home / "etc" / "fleet.yaml", plane.home / "data", plane.home / "out"
    words = ("control-plane", "-c", config, "--data-dir", data, "--with-metrics")
    assert "there are no samples here" in plane.backup(*words, code=1).stderr
    store = SeriesStore.in_folder(data / "metrics", 1e9, None, 1e9)
    layout = Layout((Series("up", (("job", "vllm"),)),))
    for at in range(1_000, 100_000, 1_000):
        store.append("one", layout, at, np.array([float(at)]))
    # The control plane runs: the folder is locked, and nothing was closed.
    assert "2 files of configuration and its samples" in plane.backup(*words).stdout
    store.append("one", layout, 100_000, np.array([100_000.0]))
    plane.backup("control-plane", "-c", config, "--data-dir", data)
    plane.backup("prune", "--keep-last", 1, "--subject", "control-plane", "--yes")
    tried = plane.backup("test-restore", "control-plane-with-metrics", plane.home / "scratch").stdout
    assert tried.endswith("tables, and the samples of 1 series were opened\n")
    plane.backup("restore-control-plane", "control-plane-with-metrics", out)
    back = SeriesStore.in_folder(out / "metrics", 1e9, None, 1e9)
    (samples,) = series_model.read(back, "up", -1, 1 << 45).values()
    assert [at for at, _ in samples] == list(range(1_000, 100_000, 1_000))
    alone = plane.home / "alone"
    plane.backup("restore", "control-plane-with-metrics", alone, "--file", "metrics")
    assert {path.name for path in alone.iterdir()} == {"metrics"}
