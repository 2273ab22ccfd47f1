"""The guide to testing rules does what it says: its files, its commands, their output."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cli.main import run

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guide" / "testing-rules.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the page with the output that it shows."""
    for block in blocks("console"):
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    rules, tests = blocks("yaml")
    (tmp_path / "rules" / "mine.yml").write_text(rules)
    (tmp_path / "rules" / "mine.test.yml").write_text(tests)
    shutil.copy(ROOT / "alerts" / "packs" / "tests" / "gpu.test.yml", tmp_path)
    ran = 0
    for command, output in commands():
        if not command.startswith("cp "):
            subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
            continue
        words, _, target = command.removeprefix("cp ").partition(" > ")
        run(words.split())
        shown = capsys.readouterr().out
        if target:
            (tmp_path / target).write_text(shown)
            shown = ""
        assert shown == output, command
        ran += 1
    assert ran == 6
