"""The room that a restore needs, looked at before it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.reading.restore import check_space


def test_a_folder_that_this_user_may_not_look_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(BackupError, match="the restore cannot write /root/x: Permission denied"):
        check_space(Path("/root/x"), ())
