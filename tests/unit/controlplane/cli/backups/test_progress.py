"""Progress of long work, as people and programs get it."""

from __future__ import annotations

import json

import pytest

from controlplane.backup.tally import Tally
from controlplane.cli.backups import progress
from tests.patience import wait_until


@pytest.mark.parametrize(("output", "place"), [("json", "err"), ("yaml", "err"), ("table", "out")])
def test_programs_get_lines_of_json_beside_the_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str, place: str
) -> None:
    monkeypatch.setattr(progress, "TOLD_EVERY_S", 0.001)
    tally = Tally(files=2, bytes=8 << 20, done=2 << 20)
    lines: list[str] = []

    def told() -> bool:
        read = capsys.readouterr()
        assert not getattr(read, {"err": "out", "out": "err"}[place])
        lines.extend(getattr(read, place).splitlines())
        return len(lines) > 1

    with progress.shown(tally, output):
        wait_until(told)
    if place == "err":
        assert json.loads(lines[0]) == {"done": 2 << 20, "bytes": 8 << 20, "files": 2}
    else:
        assert lines[0].startswith("25%  2 MiB of 8 MiB")
