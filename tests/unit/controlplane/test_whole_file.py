"""A file is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.whole_file import replace_file, write_whole


def test_a_file_is_replaced_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_whole(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_programs_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "haproxy.cfg", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, link.is_symlink()) == (b"new", 0o640, True)
    replace_file(tmp_path / "fresh", b"new")
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o644


def test_a_file_whose_group_cannot_be_kept_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(b"old")
    theirs = path.stat().st_gid + 1
    seen = os.stat_result((*path.stat()[:5], theirs, *path.stat()[6:]))
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: seen if self == path else stat(self, **how))

    def refused(of: Path, uid: int, gid: int) -> None:
        assert (uid, gid) == (-1, theirs)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(PermissionError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
