"""The program as a whole: exit codes, what is printed where, and that every declared verb is there."""

from __future__ import annotations

import errno
import inspect
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane import __version__
from controlplane.cli.main import load, run
from controlplane.cli.verbs.tree import GROUPS, VERBS


@pytest.mark.parametrize("words", VERBS)
def test_a_verbs_function_takes_what_the_verb_declares(words: str) -> None:
    verb = VERBS[words]
    declared = [*(o.name for o in verb.operands), *(o.name for o in verb.options)]
    assert sorted(inspect.signature(load(verb)).parameters) == sorted(declared)


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_explains_itself_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: controlplane {VERBS[words].usage} [OPTIONS]\n\n{VERBS[words].summary}\n")
    assert f"Examples:\n  controlplane {words}" in text
    for command, _ in VERBS[words].examples:
        assert (command + " ").startswith(words + " ")


def test_the_help_names_every_verb_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    sections = capsys.readouterr().out.split("\n\n")
    for group in GROUPS:
        (section,) = (s for s in sections if s.startswith(f"{group.title}:\n"))
        named = [line.split("  ")[1] for line in section.splitlines()[1:] if not line.startswith("   ")]
        assert named == [verb.words for verb in group.verbs]
        assert all(len(line) <= 80 for line in section.splitlines())


@pytest.mark.parametrize("words", [["rollouts"], ["rollouts", "-h"], ["config"], []])
def test_a_word_that_needs_another_says_which(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == (0 if "-h" in words else 2)
    assert "usage: controlplane" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promot", "model", "v2"], "there is no verb 'promot'; did you mean promote?"),
        (["xyzzy"], "there is no verb 'xyzzy'"),
        (["rollouts", "lst"], "rollouts has no verb 'lst'; did you mean list?"),
        (["-o", "json"], "expected a verb before -o"),
    ],
)
def test_a_mistyped_verb_gets_a_suggestion(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert capsys.readouterr().err.startswith(f"controlplane: {message}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["promote"], ["status", "-o", "xml"], ["query", "a", "b"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_control_plane_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", "http://127.0.0.1:1"]) == 3
    err = capsys.readouterr().err
    assert "\ncontrolplane: could not reach the control plane at http://127.0.0.1:1: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["up", "-c", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read: No such file or directory"),
        (["check", "nowhere.yaml"], 2, "faults found: 1"),
        (["rules", "check", "nowhere.yml"], 2, "faults found: 1"),
        (["rules", "list", "nowhere.yml"], 2, "nowhere.yml: cannot be read: No such file or directory"),
        (["rules", "test", "nowhere.yml"], 2, "test files that could not be run: 1"),
        (["demo", "--listen", "nonsense", "--duration", "1s"], 3, "expected host:port"),
        (["demo", "--duration", "soon"], 2, "--duration: expected a duration"),
    ],
)
def test_local_verbs_have_the_same_exit_codes(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    assert message in capsys.readouterr().err


def test_an_answer_of_another_version_is_a_sentence(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/models"] = (200, {"items": [{"name": "m"}]})
    assert run(["models"]) == 1
    assert "its version differs from this program's" in capsys.readouterr().err


def test_help_and_version_are_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "promote" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"controlplane {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "up", "--at", "yesterday-ish"], "--at 'yesterday-ish': expected a time such as"),
        (["query", "up", "--range", "-5m"], "--range: expected a duration"),
        (["query", "up", "--range", "0s"], "--range: expected a duration above zero"),
    ],
)
def test_bad_times_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--url", "http://127.0.0.1:1"]) == 2
    assert message in capsys.readouterr().err


def test_dashboards_are_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboards", "generate", "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    assert {"fleet.json", "model.json", "provisioning"} < {p.name for p in out.iterdir()}
    checked = ["dashboards", "generate", "--out", str(out), "--check"]
    assert run(checked) == 0
    assert run([*checked, "--seen-at", "/dashboards"]) == 1
    (out / "gpu.json").write_text("{}")
    capsys.readouterr()
    assert run(["dashboards", "generate", "--out", str(out), "--check"]) == 1
    told = capsys.readouterr()
    assert "files that differ from what would be generated: 1" in told.err and f"--- {out}/gpu.json" in told.out
    (tmp_path / "bad.yaml").write_text("fleet: {name: f}\nthresholds: {latency_p99: {value: soon}}\n")
    assert run(["dashboards", "generate", "--out", str(out), "-c", str(tmp_path / "bad.yaml")]) == 2
    assert "latency_p99" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(["dashboards", "generate", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_behind_the_output_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    assert run(["--version"]) == 1
    assert "the output could not be written: No space left on device" in capsys.readouterr().err


def test_a_file_that_the_system_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/root/x")

    monkeypatch.setattr("controlplane.cli.main.load", lambda _: lambda **_: refused())
    assert run(["version"]) == 1
    assert capsys.readouterr().err == "controlplane: /root/x: Permission denied\n"


def test_another_error_of_the_system_is_a_fault_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("controlplane.cli.main.load", lambda _: lambda **_: closed())
    with pytest.raises(OSError, match="Bad file descriptor"):
        run(["version"])


def test_an_interrupted_promote_says_that_the_rollout_goes_on(
    current: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = {"id": "r-1", "model": "m", "from": "v1", "to": "v2", "strategy": "blue-green", "kind": "promote"}
    view = {**started, "notes": [], "events": [], "finished": False, "switched": False, "phase": "preparing"}
    current.replies["POST /cp/v1/rollouts"] = (202, view)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert run(["promote", "m", "v2"]) == 130
    assert capsys.readouterr().err == (
        f"fleet prod-eu at {current.url} (context prod)\n"
        "  rollout r-1 goes on: cp rollouts watch r-1, or cp rollouts abort r-1\n"
    )


def test_a_reader_that_left_ends_the_program_quietly() -> None:
    program = [sys.executable, "-m", "controlplane", "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_catalogue_is_exported_to_a_file_or_to_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.yml"
    arguments = ["catalogue", "export", "--job", "vllm=chat-.*", "--label", "zone"]
    assert run([*arguments, "-o", str(file)]) == 0
    told = capsys.readouterr()
    text = file.read_text()
    assert 'job=~"chat-.*"' in text
    assert "zone" in text
    assert re.fullmatch(r".*rules\.yml: \d+ recording rules; check them with: promtool check rules .*\n", told.out)
    assert (
        "not expressed: readiness: llm_backend_ready, llm_model_state, llm_engine_ready, llm_ensemble_step: "
        in told.err
    )
    assert run(arguments) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--job", "vllm"], "--job vllm: expected ENGINE=REGEX with one of triton, vllm, sglang"),
        (["--job", "probe=x"], "--job probe=x: expected ENGINE=REGEX"),
        (["--label", "a-b"], "--label a-b: expected a label's name"),
        (["-o", "/nowhere/at/all.yml"], "/nowhere/at/all.yml: cannot be written: No such file or directory"),
    ],
)
def test_what_is_wrong_with_an_export_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["catalogue", "export", *arguments]) == 2
    assert message in capsys.readouterr().err


# --- what a call costs

HEAVY = {
    "typer",
    "click",
    "rich",
    "httpx",
    "requests",
    "urllib3",
    "pydantic",
    "ruamel",
    "yaml",
    "numpy",
    "fastapi",
    "starlette",
    "sqlalchemy",
    "sqlmodel",
    "asyncio",
    "argparse",
    "dataclasses",
    "inspect",
    "importlib.metadata",
    "collectors",
    "alerts",
    "dashboards",
}
"""What takes long to import, and what imports it. A verb that speaks HTTP answers in the time of a few of these."""
LIGHT = [
    ["--version"],
    ["--help"],
    ["status"],
    ["models"],
    ["targets"],
    ["top"],
    ["events"],
    ["logs"],
    ["version"],
    ["query", "up"],
    ["promote", "m", "v2"],
    ["rollback", "m"],
    ["rollouts", "list"],
    ["rollouts", "watch", "7"],
    ["alerts", "list"],
    ["alerts", "show", "A"],
    ["notifiers", "test", "ops"],
    ["token", "list"],
    ["token", "create", "--name", "x"],
    ["config", "get-contexts"],
    ["config", "current-context"],
    ["explain", "scrape"],
    ["completion", "bash"],
    ["__complete", "promote", ""],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_verb_that_speaks_http_imports_nothing_heavy(words: list[str], current: Any) -> None:
    code = (
        "import sys\n"
        "from controlplane.cli.main import run\n"
        f"code = run({words!r})\n"
        "print(*sys.modules, file=sys.stderr)\n"
        "sys.exit(0 if code in (0, 1, 2, 3) else 70)\n"
    )
    # -S: what an installed package's .pth file imports is not ours.
    root = str(Path(__file__).parents[4])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "controlplane.cli.main" in loaded
    vocabulary = {"collectors", "collectors.durations"}
    assert {name for name in loaded if name in HEAVY or name.partition(".")[0] in HEAVY} <= vocabulary


def test_a_bad_file_is_refused_before_the_server_is_imported(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("fleet: {nmae: x}\n")
    code = (
        "import sys\n"
        "from controlplane.cli.main import run\n"
        f"code = run(['up', '-c', {str(tmp_path / 'fleet.yaml')!r}])\n"
        "print(code, *(m for m in ('fastapi', 'sqlalchemy', 'aiohttp', 'slack_sdk', 'grpc') if m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2\n"
    assert "fleet.nmae: unknown field" in done.stderr
