"""The scratch folder of drills: what is left behind goes, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.drills.scratch import drill_folder, drop_links, links, stale_links, tidy
from controlplane.backup.engines.models import RestoredModel
from controlplane.backup.errors import BackupError
from controlplane.backup.folder_lock import locked


def killed(base: Path, model: str) -> Path:
    """Leave what a killed drill leaves: a folder with a read-only part, and a link to it."""
    folder = base / ".drill-dead"
    (folder / "restored" / model).mkdir(parents=True)
    (folder / "restored" / model / "weights").write_text("w")
    (folder / "restored" / model).chmod(0o500)
    (base / model).symlink_to(f".drill-dead/restored/{model}")
    return folder


def test_the_folder_is_gone_after_a_good_end_and_after_a_bad_one(tmp_path: Path) -> None:
    base = tmp_path / "not" / "there"
    with drill_folder(base, shared=False) as folder:
        assert folder.parent == base and folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir(mode=0o500)
    with pytest.raises(KeyboardInterrupt), drill_folder(base, shared=True) as folder:
        assert folder.stat().st_mode & 0o777 == 0o755
        (folder / "a").write_text("a")
        raise KeyboardInterrupt
    assert list(base.iterdir()) == []


def test_what_a_killed_drill_left_goes_and_its_links_stay_until_they_are_dropped(tmp_path: Path) -> None:
    killed(tmp_path, "chat")
    (tmp_path / "mine").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    assert stale_links(tmp_path) == []
    tidy(tmp_path)
    for _ in range(2):
        assert stale_links(tmp_path) == ["chat"]
    drop_links(tmp_path, ["chat"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "mine", "notes.txt"]
    tidy(tmp_path / "missing")
    with pytest.raises(BackupError, match="missing cannot be read"):
        stale_links(tmp_path / "missing")


def test_a_drill_that_runs_is_left_alone(tmp_path: Path) -> None:
    folder = killed(tmp_path, "chat")
    with locked(folder):
        tidy(tmp_path)
        assert stale_links(tmp_path) == []
        assert (tmp_path / "chat" / "weights").read_text() == "w"


def test_links_go_again_and_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    folder = killed(tmp_path, "chat")
    models = [RestoredModel(name, folder / "restored" / "chat") for name in ("a", "b")]
    with links(tmp_path, models):
        assert (tmp_path / "a" / "weights").read_text() == (tmp_path / "b" / "weights").read_text() == "w"
        assert (tmp_path / "a").readlink() == Path(".drill-dead/restored/chat")
    (tmp_path / "b").mkdir()
    with pytest.raises(BackupError, match="b exists, and a drill changes nothing"), links(tmp_path, models):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".drill-dead", "b", "chat"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(BackupError, match="no folder for a drill can be made"),
        drill_folder(tmp_path / "file", shared=False),
    ):
        pass
