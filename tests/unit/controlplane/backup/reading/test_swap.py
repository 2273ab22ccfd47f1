"""Folders that take each other's place, go back, and are deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.reading import swap
from controlplane.backup.reading.swap import remove, swap_back, swap_in


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def found(home: Path) -> dict[str, str]:
    return {path.name: (path / "file").read_text() for path in sorted(home.iterdir())}


@pytest.mark.parametrize("exchange", [None, lambda one, other: False], ids=["exchange", "two renames"])
def test_a_folder_is_replaced_and_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Callable[[Path, Path], bool] | None
) -> None:
    if exchange is not None:
        monkeypatch.setattr(swap, "_exchange", exchange)
    target = folder(tmp_path / "models", "old")
    old = swap_in(folder(tmp_path / ".fresh", "new"), target, "x")
    assert old is not None and found(tmp_path) == {".models.before-x": "old", "models": "new"}
    assert swap_back(target, old, "x") == tmp_path / ".models.refused-x"
    assert found(tmp_path) == {".models.refused-x": "new", "models": "old"}


def test_an_old_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    target = folder(tmp_path / "models", "new")
    with pytest.raises(BackupError, match="the old folder could not be put back: No such file"):
        swap_back(target, tmp_path / ".models.before-x", "x")
    assert found(tmp_path) == {"models": "new"}


def test_a_tree_is_deleted_whole_and_links_are_not_followed(tmp_path: Path) -> None:
    precious = folder(tmp_path / "precious", "p")
    tree = folder(tmp_path / "tree", "t")
    (tree / "link").symlink_to(precious)
    (tree / "a").mkdir()
    (tree / "a" / "b").mkdir(mode=0o500)
    remove(tree)
    assert found(tmp_path) == {"precious": "p"}
    remove(tree)


def test_nothing_is_deleted_where_another_file_system_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = folder(tmp_path / "tree", "t")
    mounted = folder(tree / "weights", "w")
    monkeypatch.setattr(swap, "_device", lambda path: 2 if path == mounted else 1)
    with pytest.raises(BackupError, match=r"could not be deleted whole: .*weights: another file system is mounted"):
        remove(tree)
    assert (mounted / "file").read_text() == "w" and (tree / "file").read_text() == "t"
