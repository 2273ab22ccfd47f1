"""The command tree: exit codes, and that the shell script `cp` knows exactly its verbs."""

from __future__ import annotations

import errno
import io
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from controlplane.cli.client import Client
from controlplane.cli.main import build, run

SCRIPT = Path(__file__).parents[4] / "bin" / "cp"


def tree() -> dict[str, Any]:
    """Return every verb that does something, as `verb` or `verb sub`."""
    root: Any = typer.main.get_command(build())
    found: dict[str, Any] = {}
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            found |= {f"{name} {sub}": inner for sub, inner in command.commands.items()}
            if command.invoke_without_command:
                found[name] = command
        else:
            found[name] = command
    return found


def operands(command: Any) -> tuple[int, int]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    least = sum(p.required for p in arguments)
    return least, 999 if any(p.nargs == -1 for p in arguments) else len(arguments)


def script_verbs() -> dict[str, tuple[int, int]]:
    """Return the script's verbs and how many operands each takes, read from its text."""
    text = SCRIPT.read_text()
    found: dict[str, tuple[int, int]] = {}
    body = text[text.index("case $verb in") : text.index('if [ "$words" = 1 ]')]
    demo = body[body.index("    demo)") : body.index("    *)\n")]
    plain = body[: body.index("    demo)")]
    pairs = body[body.index("    *)\n") :]
    clause = re.compile(r"^\s+([\w*/| -]+)\)\s+words=\d least=(\d+) most=(\d+)", re.MULTILINE)
    for names, least, most in clause.findall(plain):
        found |= {n: (int(least), int(most)) for n in names.split(" | ")}
    for names, least, most in clause.findall(demo):
        found["demo" if names == "*" else f"demo {names}"] = (int(least), int(most))
    for names, least, most in clause.findall(pairs.replace(")\n", ")")):
        found |= {n.replace("/", " "): (int(least), int(most)) for n in names.split(" | ")}
    return found


def test_the_script_and_the_cli_have_the_same_verbs_and_operands() -> None:
    assert script_verbs() == {name: operands(command) for name, command in tree().items()}


def test_the_script_knows_every_option_that_takes_a_value() -> None:
    text = SCRIPT.read_text()
    known = set(re.findall(r"--?[\w-]+", text[text.index("            -o | -c") : text.index("[ $# -gt 1 ]")]))
    taking = {
        name
        for command in tree().values()
        for p in command.params
        if p.param_type_name == "option" and not p.is_flag
        for name in p.opts
    }
    assert taking == known


@pytest.mark.parametrize("arguments", [["nonsense"], ["promote"], ["status", "-o", "xml"], ["query", "a", "b"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_control_plane_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", "http://127.0.0.1:1"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("controlplane: could not reach the control plane at http://127.0.0.1:1: ")
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


def test_an_answer_of_another_version_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def older(self: Client, path: str, **_: object) -> dict[str, object]:
        return {"items": [{"name": "m"}]}

    monkeypatch.setattr(Client, "get", older)
    assert run(["models", "--url", "http://127.0.0.1:1"]) == 1
    assert "it is of another version than this program" in capsys.readouterr().err


def test_help_and_version_are_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "promote" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert re.fullmatch(r"controlplane \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "up", "--at", "yesterday-ish"], "--at 'yesterday-ish': expected RFC 3339"),
        (["query", "up", "--range", "-5m"], "--range: expected a duration"),
        (["query", "up", "--range", "0s"], "--range: expected a duration above zero"),
    ],
)
def test_bad_times_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--url", "http://127.0.0.1:1"]) == 2
    assert message in capsys.readouterr().err


def test_dashboards_are_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboards", "generate", "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "fleet.json",
        "gpu.json",
        "triton.json",
        "vllm.json",
    ]
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


def test_an_interrupted_promote_says_that_the_rollout_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = {"id": "r-1", "model": "m", "from": "v1", "to": "v2", "strategy": "blue-green", "kind": "promote"}
    view = {**started, "notes": [], "events": [], "finished": False, "switched": False, "phase": "preparing"}

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "post", lambda *_: view)
    monkeypatch.setattr("time.sleep", interrupt)
    assert run(["promote", "m", "v2", "--url", "http://127.0.0.1:1"]) == 130
    assert capsys.readouterr().err.startswith("  rollout r-1 goes on: cp rollouts watch r-1")


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
        "not expressed: readiness: llm_backend_ready, llm_model_state, llm_engine_ready: only the control plane asks"
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
