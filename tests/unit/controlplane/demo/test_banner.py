from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.demo.banner import Shell, banner, status_line

TOKEN = "cp_0123456789ab_" + "f" * 64
STATS = {
    "destinations": {
        "model": {"requests": 12345, "failed": 0, "cut": 0},
        "chat": {"requests": 6789, "failed": 12, "cut": 3},
    }
}


def lines(triton: bool = True, shell: Shell | None = None, *, kept: bool = False) -> list[str]:
    return banner("http://127.0.0.1:8080", TOKEN, Path("/tmp/demo/logs"), triton, shell, kept=kept).splitlines()


@pytest.mark.parametrize("triton", [True, False])
def test_it_fits_a_terminal_of_80_columns(triton: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert [line for line in lines(triton) if len(line) > 80 and TOKEN not in line] == []


def test_a_folder_with_spaces_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = tmp_path / "my checkout"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "activate").write_text("echo active\n")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    [activate] = [line for line in lines() if "activate" in line]
    assert subprocess.run(["sh", "-c", activate], capture_output=True, text=True, check=True).stdout == "active\n"


def test_without_triton_nothing_of_it_is_offered() -> None:
    text = "\n".join(lines(triton=False))
    assert "runs without Triton" in text
    assert "cp promote model" not in text
    assert "cp promote chat v2" in text


def test_it_says_whether_its_data_outlive_it() -> None:
    assert lines()[-1] == "Ctrl-C stops everything and deletes its data; --data-dir DIR keeps it."
    assert lines(kept=True)[-1] == "Ctrl-C stops everything; metrics, alerts and rollouts are kept."


def test_a_context_that_is_not_at_home_is_named() -> None:
    assert "  export XDG_CONFIG_HOME=/tmp/demo/config" in lines(shell=Shell(Path("/tmp/demo/config")))


def test_a_context_that_did_not_become_current_is_named_with_the_one_that_is() -> None:
    told = lines(shell=Shell(context="demo-8081", current="prod"))
    assert "  export CP_CONTEXT=demo-8081" in told
    assert "  # without it, cp uses the current context: prod" in told
    assert not any("CP_CONTEXT" in line for line in lines())


def test_the_status_line_is_shorter_than_the_terminal() -> None:
    whole = status_line(STATS, 120)
    assert whole == "  requests  model 12345 (0 failed, 0 cut)  ·  chat 6789 (12 failed, 3 cut)"
    assert len(status_line(STATS, 40)) == 39
    assert status_line(STATS, 40).endswith("…")
