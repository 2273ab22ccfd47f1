"""Completion: what is offered, that it is silent, and that real shells show it, and still copy files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import complete as completion
from controlplane.cli.main import run
from controlplane.cli.shells import SCRIPTS, script
from controlplane.cli.verbs.tree import VERBS
from controlplane.rollout.options import Metric
from controlplane.rollout.strategies import STRATEGIES

MODELS: dict[str, Any] = {
    "items": [
        {
            "name": "chat",
            "stable": "v1",
            "versions": [
                {"version": "v1", "role": "stable", "state": "ready"},
                {"version": "v2", "role": "idle", "state": "unavailable"},
            ],
        },
        {"name": "ranker", "stable": "v7", "versions": []},
    ]
}


@pytest.fixture
def fleet(current: Any) -> Any:
    current.replies |= {
        "GET /cp/v1/models": (200, MODELS),
        "GET /cp/v1/rollouts": (200, {"items": [{"id": "r-1", "model": "chat", "to": "v2", "phase": "verifying"}]}),
        "GET /cp/v1/audit": (
            200,
            {
                "items": [
                    {"actor": a, "action": f"rollout.{b}"}
                    for a, b in (("bob", "abort"), ("ana", "abort"), ("bob", "promote"))
                ]
            },
        ),
        "GET /cp/v1/alerts": (200, {"items": [{"name": "GPUTemperatureHigh", "state": "firing"}]}),
    }
    return current


def offered(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert run(["__complete", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [line.partition("\t")[0] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["prom"], ["promote"]),
        (["rollouts", ""], ["list", "show", "watch", "pause", "resume", "approve", "abort", "retry", "close"]),
        (["rollouts", "s"], ["show"]),
        (["demo", "f"], ["fault"]),
        (["promote", ""], ["chat", "ranker"]),
        (["promote", "ch"], ["chat"]),
        (["promote", "chat", ""], ["v1", "v2"]),
        (["promote", "chat", "v2", ""], []),
        (["promote", "--strategy", "blue-green", "chat", ""], ["v1", "v2"]),
        (["promote", "--strategy", ""], ["blue-green", "canary", "rolling", "recreate"]),
        (["promote", "chat", "v2", "--dr"], ["--dry-run"]),
        (["promote", "chat", "v2", "--dry-run", "--dr"], []),
        (["rollback", ""], ["chat", "ranker"]),
        (["rollouts", "show", ""], ["chat", "r-1"]),
        (["rollouts", "close", ""], ["r-1"]),
        (["rollouts", "pause", "r"], ["r-1"]),
        (["quarantine", ""], ["lift"]),
        (["quarantine", "lift", "chat", ""], ["v1", "v2"]),
        (["promote", "chat", "v2", "--strategy", "r"], ["rolling", "recreate"]),
        (["promote", "chat", "v2", "--report-only", "t"], ["ttft", "truncated"]),
        (["alerts", "show", "GPU"], ["GPUTemperatureHigh"]),
        (["status", "-o", ""], ["table", "json", "yaml"]),
        (["status", "-o", "=", "js"], ["json"]),
        (["status", "--output=js"], ["--output=json"]),
        (["status", "--context", ""], ["prod"]),
        (["config", "use-context", "p"], ["prod"]),
        (["explain", "models.traffic.drain"], ["models.traffic.drain_timeout"]),
        (["demo", "fault", "gpu"], ["gpu-hot"]),
        (["up", "-c", ""], [":files"]),
        (["check", "a.yaml", ""], [":files"]),
        (["dashboards", "generate", "--out", ""], [":folders"]),
        (["audit", "--actor", ""], ["ana", "bob"]),
        (["audit", "--action", ""], ["rollout.abort", "rollout.promote", "token.refuse"]),
        (["audit", "--action=token"], ["--action=token.refuse"]),
        (["audit", "--model", "ch"], ["chat"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["nonsense", ""], []),
        (["rollouts", "nonsense", ""], []),
    ],
)
def test_what_comes_next_is_offered(
    fleet: Any, words: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(capsys, *words) == names


def test_every_first_word_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*offered(capsys, "")} == {*(name.split()[0] for name in VERBS), "--help", "--version"}


def test_names_are_remembered_for_seconds_and_are_nobody_elses(
    fleet: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert offered(capsys, "promote", "chat", "") == ["v1", "v2"]
    assert fleet.paths() == ["GET /cp/v1/models"]
    (kept,) = (tmp_path / "cache" / "controlplane" / "completion").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert "secret" not in kept.name + kept.read_text()
    os.utime(kept, (1, 1))
    fleet.replies["GET /cp/v1/models"] = (200, {"items": []})
    assert offered(capsys, "promote", "") == []
    kept.write_text("{broken")
    assert offered(capsys, "promote", "") == []


@pytest.mark.parametrize("reply", [(500, {"detail": "x"}), (401, {}), (200, b"<html>"), (200, {"items": 5}), (200, [])])
def test_whatever_goes_wrong_nothing_is_said_or_offered(
    fleet: Any, reply: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.replies["GET /cp/v1/models"] = reply
    assert offered(capsys, "promote", "") == []


def test_a_control_plane_that_is_away_is_asked_once_in_a_while(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CP_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CP_TOKEN", "cp_1_x")
    assert offered(capsys, "promote", "") == []
    monkeypatch.setattr(completion, "ApiClient", None)  # asking again would fail loudly
    assert offered(capsys, "promote", "") == []


def test_a_broken_context_file_and_a_home_that_cannot_be_written_are_silent(
    fleet: Any, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert offered(capsys, "promote", "") == ["chat", "ranker"]
    home.write_text("= broken")
    assert offered(capsys, "promote", "") == []


def test_names_that_would_move_the_cursor_are_left_out(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    evil = [{**MODELS["items"][1], "name": "a\x1b[2J"}, {**MODELS["items"][1], "name": "b\nc"}]
    fleet.replies["GET /cp/v1/models"] = (200, {"items": evil})
    assert offered(capsys, "promote", "") == []


# --- real shells


@pytest.fixture
def shell(fleet: Any, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds both programs, in a folder with two files."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    root = Path(__file__).parents[4]
    (bin_ / "controlplane").write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m controlplane "$@"\n')
    shutil.copy(root / "bin" / "cp", bin_ / "cp")
    (bin_ / "controlplane").chmod(0o755)
    work = tmp_path / "work"
    (work / "profiles").mkdir(parents=True)
    (work / "program.c").write_text("")
    for name in SCRIPTS:
        (tmp_path / name).write_text(script(name))
    return {**os.environ, "PATH": f"{bin_}:/usr/bin:/bin", "PWD": str(work)}


BASH = """
cd "$PWD"; . {script}
COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
compopt() {{ echo "compopt $*"; }}
{function} "${{COMP_WORDS[0]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("controlplane promote ''", ["chat", "ranker"]),
        ("controlplane promote chat ''", ["v1", "v2"]),
        ("controlplane up -c ''", ["compopt -o default", ""]),
        ("cp promote ''", ["chat", "ranker"]),
        ("cp rollouts sh", ["show"]),
        ("cp pro", ["compopt -o default -o filenames", "promote", "profiles", "program.c"]),
        ("cp profiles ''", ["compopt -o default -o filenames", ""]),
        ("cp -r pro", ["compopt -o default -o filenames", ""]),
        ("cp ./pro", ["compopt -o default -o filenames", ""]),
    ],
)
def test_bash_completes_names_and_cp_its_files(
    shell: dict[str, str], tmp_path: Path, line: str, shown: list[str]
) -> None:
    function = "_controlplane_cp" if line.startswith("cp") else "_controlplane"
    text = BASH.format(script=tmp_path / "bash", line=line, function=function)
    done = subprocess.run(["bash", "--norc", "-c", text], env=shell, cwd=shell["PWD"], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (shown, "")


def test_bash_leaves_a_file_of_a_verbs_name_to_coreutils(shell: dict[str, str], tmp_path: Path) -> None:
    Path(shell["PWD"], "promote").write_text("")
    text = BASH.format(script=tmp_path / "bash", line="cp promote ''", function="_controlplane_cp")
    done = subprocess.run(["bash", "--norc", "-c", text], env=shell, cwd=shell["PWD"], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "compopt -o default -o filenames"


@pytest.mark.needs("fish")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("controlplane promote ", ["chat", "ranker"]),
        ("controlplane promote chat ", ["v1", "v2"]),
        ("cp promote chat v", ["v1", "v2"]),
        ("cp prog", ["program.c"]),
        ("cp promot", ["promote"]),
    ],
)
def test_fish_completes_names_and_cp_its_files(
    shell: dict[str, str], tmp_path: Path, line: str, shown: list[str]
) -> None:
    text = f"source {tmp_path / 'fish'}; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", text], env=shell, cwd=shell["PWD"], capture_output=True, text=True
    )
    found = [row.partition("\t")[0] for row in done.stdout.splitlines()]
    assert [name for name in found if name in shown] == shown, done


@pytest.mark.needs("zsh")
def test_zsh_reads_the_script_and_binds_both_names(shell: dict[str, str], tmp_path: Path) -> None:
    text = f"autoload -Uz compinit; compinit -D -u; . {tmp_path / 'zsh'}; print $_comps[controlplane] $_comps[cp]"
    done = subprocess.run(["zsh", "-f", "-c", text], env=shell, cwd=shell["PWD"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("_controlplane _controlplane_cp\n", "")


def test_the_metrics_and_strategies_that_are_offered_are_those_of_rollouts() -> None:
    assert set(completion.METRICS) == {metric.value for metric in Metric}
    offered = [word for word, _ in completion.candidates(["promote", "chat", "v2", "--strategy", ""], {})]
    assert sorted(offered) == sorted(STRATEGIES)
