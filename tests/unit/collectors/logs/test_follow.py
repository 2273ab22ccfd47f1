"""Programs that print logs: real ones of a few lines, in the formats of journalctl, docker and kubectl."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collectors.logs.commands import Docker, Journal, Plain
from collectors.logs.follow import Follow
from tests.unit.collectors.logs.sinks import Lines

SLOW_S = 20.0


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def program(path: Path, name: str, body: str) -> str:
    """Write a program that notes its arguments in `NAME.calls` and then does what `body` says."""
    (path / name).write_text(f'#!/bin/sh\necho "$@" >> "{path}/{name}.calls"\n{body}\n')
    (path / name).chmod(0o755)
    return str(path / name)


def calls(path: Path, name: str) -> list[str]:
    return (path / f"{name}.calls").read_text().splitlines()


def poll_until(follow: Follow, now: float, done: Callable[[], object]) -> None:
    until = time.monotonic() + SLOW_S
    while not done():
        assert time.monotonic() < until
        follow.poll(now)


def test_a_program_that_ends_is_started_again_after_longer_and_longer_pauses(path: Path, lines: Lines) -> None:
    follow = Follow(Plain([program(path, "fails", "echo no such pod >&2; exit 3"), "-f"]), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert follow.faults[0] == ("ended", f"`{path}/fails -f` ended with exit code 3: no such pod")
    assert (follow.files, lines.new()) == (0, ["no such pod"])
    starts = []
    for second in range(1, 20):
        before = len(calls(path, "fails"))
        follow.poll(float(second))
        if len(calls_after(follow, path, float(second), before)) > before:
            starts.append(second)
    assert starts == [1, 3, 7, 15]
    follow.close()


def calls_after(follow: Follow, path: Path, now: float, before: int) -> list[str]:
    """Return the calls once a program that runs has ended."""
    if follow.files:
        poll_until(follow, now, lambda: not follow.files)
    return calls(path, "fails")


def test_a_program_that_lasted_is_started_again_at_once(path: Path, lines: Lines) -> None:
    follow = Follow(Plain([program(path, "lasts", f'read line < "{path}/go"; echo "$line"')]), lines, wait_s=0.01)
    for start in (0.0, 101.0, 202.0):
        (path / "go").unlink(missing_ok=True)
        os.mkfifo(path / "go")
        follow.poll(start)
        assert (follow.files, follow.faults) == (1, ())
        (path / "go").write_text("it ends\n")
        poll_until(follow, start + 100.0, lambda: not follow.files)
        assert lines.new() == ["it ends"]
    follow.close()


def test_a_program_that_does_not_exist_is_named(lines: Lines) -> None:
    follow = Follow(Plain(["/nowhere/kubectl"]), lines)
    assert follow.poll(0.0) is False
    assert follow.faults[0].sentence == "/nowhere/kubectl: cannot be started: No such file or directory"


def test_a_key_in_the_last_words_of_a_program_is_masked(path: Path, lines: Lines) -> None:
    follow = Follow(Plain([program(path, "leaks", "echo bad token: sk-0123456789abcdef; exit 1")]), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert "0123456789abcdef" not in follow.faults[0].sentence


def test_the_journal_goes_on_after_its_last_entry(path: Path, lines: Lines) -> None:
    entry = json.dumps({"__CURSOR": "s=1;i=2a", "MESSAGE": "NVRM: Xid", "_TRANSPORT": "kernel"})
    program(path, "journalctl", f"echo '{entry}'; exit 1")
    follow = Follow(Journal("vllm.service", now=1000.4), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert lines.new() == ["NVRM: Xid"]
    poll_until(follow, 1.0, lambda: len(calls(path, "journalctl")) == 2)
    form = "--follow --output=json --output-fields=MESSAGE --all --no-pager --no-tail"
    assert calls(path, "journalctl") == [
        f"{form} --since=@1000 -u vllm.service",
        f"{form} --cursor=s=1;i=2a -u vllm.service",
    ]
    follow.close()
    assert Journal("kernel", now=0.0).words()[-1] == "_TRANSPORT=kernel"


def test_docker_goes_on_after_its_last_line_and_repeats_none(path: Path, lines: Lines) -> None:
    program(
        path,
        "docker",
        "echo 2026-11-29T15:00:00.000000001Z first\n"
        "echo 2026-11-29T15:00:00.000000002Z of stderr >&2\n"
        f'[ $(wc -l < "{path}/docker.calls") = 1 ] || echo 2026-11-29T15:00:00.000000003Z third',
    )
    follow = Follow(Docker("vllm", now=1.5), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert sorted(lines.new()) == ["first", "of stderr"]
    assert sorted(lines.written) == [1_795_964_400_000_000_001, 1_795_964_400_000_000_002]
    poll_until(follow, 1.0, lambda: lines.taken)
    poll_until(follow, 1.0, lambda: not follow.files)
    assert lines.new() == ["third"]
    assert calls(path, "docker") == [
        "logs --follow --timestamps --since 1970-01-01T00:00:01.500000000Z vllm",
        "logs --follow --timestamps --since 2026-11-29T15:00:00.000000002Z vllm",
    ]
    follow.close()


def test_kubectl_prints_the_engines_lines_or_cri(path: Path, lines: Lines) -> None:
    kubectl = program(
        path,
        "kubectl",
        "echo plain; echo 2026-11-29T15:00:00Z stderr P half; echo 2026-11-29T15:00:00Z stderr F ' line'",
    )
    follow = Follow(Plain([kubectl, "logs", "-f", "--tail=0", "deploy/vllm"]), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert lines.new() == ["plain", "half line"]
    follow.close()


def test_the_last_line_counts_without_a_line_break_and_a_long_one_is_cut(path: Path, lines: Lines) -> None:
    script = "import sys; sys.stdout.write('x' * 200_000 + '\\nbin\\0\\nlast')"
    follow = Follow(Plain([sys.executable, "-c", script]), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert [len(text) for text in lines.new()] == [64 << 10, 4]
    assert lines.left_out == {"long": 1, "binary": 1}


def test_a_program_that_the_follower_ends_is_no_fault(path: Path, lines: Lines) -> None:
    follow = Follow(Plain([program(path, "on", "echo up; exec sleep 1000")]), lines, wait_s=0.01)
    poll_until(follow, 0.0, lambda: lines.taken)
    follow.stop()
    follow.poll(1.0)
    follow.close()
    assert follow.faults == ()


def test_the_whole_group_ends_with_the_follower(path: Path, lines: Lines) -> None:
    body = f'sh -c "echo \\$\\$ > {path}/child; trap \\"\\" TERM HUP; sleep 1000" & wait'
    follow = Follow(Plain([program(path, "parent", body)]), lines, wait_s=0.01)
    poll_until(follow, 0.0, lambda: (path / "child").exists() and (path / "child").read_text())
    child = int((path / "child").read_text())
    follow.close()
    until = time.monotonic() + SLOW_S
    while Path(f"/proc/{child}").exists() and "Z (zombie)" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < until
    assert follow.poll(1000.0) is False
    assert follow.files == 0


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Traceback\n\n  File x\r\nOOM\n", ["Traceback", "  File x", "OOM"]),
        (list(b"a\nb\0"), ["a", "b\0"]),
        (list(b"\xff\x1b[31mred\x1b[0m\ntail"), ["\ufffdred", "tail"]),
        (["first", "second\nthird", list(b"bytes")], ["first", "second", "third", "bytes"]),
        (["x", [300], [-1], None, {"a": 1}, "y"], ["x", "y"]),
        ([300], [""]),
        (None, [""]),
    ],
)
def test_an_entry_of_the_journal_may_have_several_lines_and_any_bytes(
    path: Path, lines: Lines, message: object, wanted: list[str]
) -> None:
    entry = {"__CURSOR": "s=1;i=2a", "MESSAGE": message, "__REALTIME_TIMESTAMP": "1795964400000000"}
    (path / "entries").write_text(json.dumps(entry) + "\n")
    program(path, "journalctl", f"cat '{path}/entries'")
    follow = Follow(Journal("vllm.service", now=1000.4), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert lines.new() == wanted
    assert set(lines.written) == {1_795_964_400_000_000_000}
    follow.close()


@pytest.mark.parametrize(
    ("cursor", "since", "told"),
    [
        ("s=ab;i=1;b=cd;m=1;t=6427d29ce6000;x=9", "@1761955200", "2025-11-01T00:00:00Z"),
        ("s=ab;i=zz", "@1000", "1970-01-01T00:16:40Z"),
        ("s=ab;i=1;t=fffffffffffffff", "@1000", "1970-01-01T00:16:40Z"),
    ],
)
def test_a_cursor_that_the_journal_does_not_take_is_given_up_in_a_sentence(
    path: Path, lines: Lines, cursor: str, since: str, told: str
) -> None:
    said = "Failed to seek to cursor: Invalid argument"
    program(path, "journalctl", f'case "$*" in *--cursor*) echo "{said}" >&2; exit 1;; *) echo later; sleep 9;; esac')
    follow = Follow(Journal("vllm.service", now=1000.4, at=cursor), lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    (fault,) = follow.faults
    assert fault.sentence.endswith(
        f"ended with exit code 1: {said}; the kept place is none of this journal, so entries since {told} are read, "
        "some perhaps again"
    )
    lines.new()
    poll_until(follow, 60.0, lambda: lines.taken)
    assert lines.new() == ["later"]
    assert f"--since={since} " in calls(path, "journalctl")[1]
    assert follow.faults == ()
    follow.close()


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="needs journalctl")
def test_a_real_journalctl_says_so_of_a_foreign_cursor(lines: Lines) -> None:
    command = Journal("kernel", now=1000.0, at="s=ab;i=zz")
    follow = Follow(command, lines)
    poll_until(follow, 0.0, lambda: follow.faults)
    assert "the kept place is none of this journal" in follow.faults[0].sentence
    assert command.at == "@1000"
    follow.close()
