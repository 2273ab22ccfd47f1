"""A real journald, in a mount namespace with /run of its own, and the real journalctl as the exporter calls it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.logs.commands import Journal
from collectors.logs.follow import Follow
from collectors.logs.patterns import load_patterns
from tests.patience import HANG_S, wait_until
from tests.unit.collectors.logs.sinks import Lines

pytestmark = pytest.mark.needs("journald", "namespaces")

XID = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."
_START = """
mount -t tmpfs run /run && mount -t tmpfs log /var/log && mkdir -p /run/systemd/journal /run/log/journal
mount --bind {folder}/journald.conf /etc/systemd/journald.conf && mount --bind {folder}/kmsg /dev/kmsg
mount --bind /run/systemd/journal {folder}/sockets && exec /lib/systemd/systemd-journald
"""
_CONFIG = "[Journal]\nStorage=volatile\nForwardToSyslog=no\nReadKMsg=yes\nAudit=no\nRateLimitBurst=0\n"


class Machine:
    """A machine's journal. Lines come to it as programs and as the kernel write them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "journald.conf").write_text(_CONFIG)
        (folder / "sockets").mkdir()
        os.mkfifo(folder / "kmsg")
        self._kmsg = os.open(folder / "kmsg", os.O_RDWR)
        self._records = 0
        start = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _START.format(folder=folder)]
        self.process = subprocess.Popen(start, stderr=subprocess.PIPE)
        # Within the namespace of that process: its /run is no other's.
        self.write(
            "journalctl", f'#!/bin/sh\nexec nsenter --target {self.process.pid} --mount /usr/bin/journalctl "$@"\n'
        )
        # Its own socket: before the mounts are there, the machine's journal would answer.
        ready = ["nsenter", "--target", str(self.process.pid), "--mount", "test", "-S", f"{folder}/sockets/socket"]
        wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
        wait_until(lambda: self.journalctl("--lines=1").stdout)

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
        (self._folder / name).chmod(0o755)

    def journalctl(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([f"{self._folder}/journalctl", *words], capture_output=True, check=False)

    def say(self, *messages: str | bytes, unit: str = "vllm.service") -> None:
        """Send entries as systemd's library does. The last one is in the journal when this returns."""
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            self._send(b"MESSAGE\n" + struct.pack("<Q", len(data)) + data + b"\nOBJECT_SYSTEMD_UNIT=" + unit.encode())
        wait_until(lambda: self._has(messages[-1]))

    def _has(self, message: str | bytes) -> bool:
        data = message.encode() if isinstance(message, str) else message
        return self.journalctl("--output=cat", "--all").stdout.endswith(data + b"\n")

    def _send(self, entry: bytes) -> None:
        script = "import socket,sys;socket.socket(1,2).sendto(sys.stdin.buffer.read(),'/run/systemd/journal/socket')"
        command = ["nsenter", "--target", str(self.process.pid), "--mount", sys.executable, "-c", script]
        subprocess.run(command, input=entry + b"\n", check=True)

    def kernel(self, message: str) -> None:
        self._records += 1
        os.write(self._kmsg, f"4,{self._records},100,-;{message}\n".encode())
        wait_until(lambda: self._has(message))

    def vacuum(self) -> None:
        """Begin a new file, and delete all old ones."""
        assert self.journalctl("--rotate").returncode == 0
        assert b"Deleted archived journal" in self.journalctl("--vacuum-files=1").stderr

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._kmsg)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield machine
    machine.end()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def read(journal: Journal, lines: Lines, last: str) -> list[str]:
    """Follow until a message has come, and return all that came."""
    follow = Follow(journal, lines, wait_s=0.1)
    try:
        wait_until(lambda: (follow.poll(0.0), last in lines.taken)[1])
        assert follow.faults == ()
    finally:
        follow.close()
    return lines.new()


def test_messages_come_as_they_were_written(machine: Machine, lines: Lines) -> None:
    long = "INFO " + "x" * 20_000
    machine.say("(EngineCore pid=7) INFO ready", b"\x1b[36m(EngineCore pid=7)\x1b[0m ERROR coloured")
    machine.say(b"bytes \xff\x00 of no text", "line one\nline two", long, "caf\u00e9", "last")
    machine.say("of another unit", unit="other.service")
    assert read(Journal("vllm.service", now=0.0), lines, "last") == [
        "(EngineCore pid=7) INFO ready",
        "(EngineCore pid=7) ERROR coloured",
        "bytes \ufffd\x00 of no text",
        "line one",
        "line two",
        long,
        "caf\u00e9",
        "last",
    ]
    assert lines.left_out == {}
    assert all(0 < time.time() - at / 1e9 < HANG_S for at in lines.written), "each has the journal's own time"


def test_a_later_run_goes_on_after_the_last_entry_also_when_that_was_vacuumed(machine: Machine, lines: Lines) -> None:
    machine.say("one", "two")
    first = Journal("vllm.service", now=0.0)
    assert read(first, lines, "two") == ["one", "two"]

    machine.say("three")
    second = Journal("vllm.service", now=0.0, at=first.at)
    assert read(second, lines, "three") == ["three"], "the entry of the cursor is there, and is not repeated"

    machine.vacuum()
    machine.say("four", "five")
    assert read(Journal("vllm.service", now=0.0, at=second.at), lines, "five") == ["four", "five"]


def test_rotations_while_it_follows_lose_nothing(machine: Machine, lines: Lines) -> None:
    follow = Follow(Journal("vllm.service", now=0.0), lines, wait_s=0.1)
    said = []
    for number in range(6):
        said.append(f"line {number}")
        machine.say(said[-1])
        if number % 2:
            machine.vacuum()
        wait_until(lambda: (follow.poll(0.0), said[-1] in lines.taken)[1])
    follow.close()
    assert lines.new() == said


def test_a_cursor_of_another_machine_is_no_end(machine: Machine, lines: Lines) -> None:
    machine.say("one")
    foreign = f"s={'ab' * 16};i=5;b={'cd' * 16};m=1;t=1;x=1"
    assert read(Journal("vllm.service", now=0.0, at=foreign), lines, "one") == ["one"]


def test_a_fault_of_a_gpu_is_the_kernels_own_line(machine: Machine, lines: Lines) -> None:
    machine.say(XID)
    machine.kernel("usb 1-1: new device")
    machine.kernel(XID)
    told = read(Journal("kernel", now=0.0), lines, XID)
    assert (told[-2:], told.count(XID)) == (["usb 1-1: new device", XID], 1)
    assert load_patterns().engines["any"].events_in(XID) == ("xid",)
