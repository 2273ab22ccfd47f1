"""Programs that get messages, real ones."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from alerts.errors import DeliveryFailed
from alerts.notify.command import KEPT_OUTPUT, CommandNotifier, Program
from tests.contract.notifiers.messages import ATTACK, EDIT, FIRING, HUGE, NOTICE, RESOLVED
from tests.patience import HANG_S, until


def program(folder: Path, script: str) -> str:
    file = folder / "notify"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def notifier(folder: Path, script: str, *arguments: str, timeout_s: float = HANG_S) -> CommandNotifier:
    return CommandNotifier("ops", (program(folder, script), *arguments), timeout_s=timeout_s)


async def test_the_message_is_json_on_standard_input(tmp_path: Path) -> None:
    own = notifier(tmp_path, 'cat > "$1"; echo "$CONTROLPLANE_MESSAGE_STATUS" > "$1.status"', str(tmp_path / "got"))
    for message, status in ((FIRING, "firing"), (RESOLVED, "resolved"), (NOTICE, "notice")):
        ref = await own.send(message, None)
        assert ref is not None and (ref.place, ref.note) == ("", "")
        got = orjson.loads((tmp_path / "got").read_bytes())
        assert (got["version"], got["messageId"], got["receiver"]) == ("4", message.id, "ops")
        assert (tmp_path / "got.status").read_text() == f"{status}\n"
    (tmp_path / "got").unlink()
    assert await own.send(EDIT, None) is None
    assert not (tmp_path / "got").exists()
    await own.close()


async def test_nothing_of_a_message_reaches_a_shell_or_the_arguments(tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/evil); `touch {tmp_path}/evil` && touch {tmp_path}/evil"
    own = notifier(tmp_path, 'cat > /dev/null; echo "$@" > "$1"', str(tmp_path / "got"), evil)
    await own.send(replace(ATTACK, group_key=evil), None)
    assert (tmp_path / "got").read_text() == f"{tmp_path}/got {evil}\n"
    assert not (tmp_path / "evil").exists()


async def test_secrets_of_the_control_plane_are_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    own = CommandNotifier("ops", (program(tmp_path, f"env > {tmp_path}/got"),), environment={"TEAM": "gpu"})
    await own.send(FIRING, None)
    found = (tmp_path / "got").read_text()
    assert "xoxb-secret" not in found
    assert "TEAM=gpu\n" in found and "PATH=" in found


@pytest.mark.parametrize(
    ("script", "words", "permanent"),
    [
        ("echo broken >&2; exit 1", "notify: exit status 1: broken", False),
        ("echo 'wrong\nusage'; exit 64", "exit status 64: wrong usage", True),
        ("exit 77", "exit status 77", True),
        ("exit 78", "exit status 78", True),
        ("kill -9 $$", "ended by signal 9", False),
    ],
)
async def test_failures_have_the_programs_own_words(tmp_path: Path, script: str, words: str, permanent: bool) -> None:
    with pytest.raises(DeliveryFailed, match=words) as failed:
        await notifier(tmp_path, script).send(FIRING, None)
    assert failed.value.permanent is permanent


async def test_a_refused_form_is_sent_again_as_text(tmp_path: Path) -> None:
    script = f'[ "$CONTROLPLANE_MESSAGE_FORM" = json ] && {{ echo no JSON; exit 65; }}; cat > {tmp_path}/got'
    ref = await notifier(tmp_path, script).send(FIRING, None)
    assert ref is not None and ref.note.endswith("notify: exit status 65: no JSON")
    assert (tmp_path / "got").read_text().splitlines()[:2] == ["FIRING: LLMErrorRateHigh · chat", "Model: chat"]


async def test_a_program_that_reads_nothing_gets_a_message_of_any_size(tmp_path: Path) -> None:
    await notifier(tmp_path, "exit 0").send(HUGE, None)


async def test_endless_output_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match="exit status 3") as failed:
        await notifier(tmp_path, "head -c 5000000 /dev/zero | tr '\\0' x; echo last words; exit 3").send(FIRING, None)
    assert str(failed.value).endswith("last words")
    assert len(str(failed.value)) < 600


async def test_output_is_kept_to_its_last_bytes() -> None:
    command = ("sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo last words")
    program = await Program.start(command, {"PATH": os.environ["PATH"]})
    assert await program.run(b"") == 0
    await program.end()
    assert len(program.output) == KEPT_OUTPUT
    assert program.output.endswith(b"last words\n")


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; echo begun; trap '' TERM; wait"
    own = notifier(tmp_path, script, timeout_s=5.0)  # long enough for its first words
    with pytest.raises(DeliveryFailed, match="did not end within 5 s, and was killed: begun") as failed:
        await own.send(FIRING, None)
    assert not failed.value.permanent
    await until(lambda: _is_gone(int((tmp_path / "child").read_text())))


async def test_a_child_that_is_left_behind_delays_nothing_and_is_killed(tmp_path: Path) -> None:
    await notifier(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; exit 0").send(FIRING, None)
    await until(lambda: _is_gone(int((tmp_path / "child").read_text())))


@pytest.mark.parametrize("fault", ["missing", "not executable", "not a program"])
async def test_a_program_that_cannot_run_is_told_with_the_cure(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "notify"
    if fault != "missing":
        file.write_text("this is no program")
        file.chmod(0o700 if fault == "not a program" else 0o600)
    with pytest.raises(DeliveryFailed, match=f"{file}: .*; check command:"):
        await CommandNotifier("ops", (str(file),)).send(FIRING, None)


def _is_gone(pid: int) -> bool:
    """Return whether a process has ended. A zombie has, too: its new parent may be slow to collect it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
