"""kill -9 at any instant: what was committed is there, whole, and what was not left no trace."""

from __future__ import annotations

import os
import random
import select as poll
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from tests.patience import PROCESS_S

ROUNDS = 24

WRITERS = """
import os, sys, signal
import controlplane.store.tables
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database
from controlplane.store.outbox import enqueue
from controlplane.store.revision import touch

def write_for_ever(url):
    db = Database(url)
    last = AuditStore(db).recent(1)
    number = int(last[0].action) if last else 0
    while True:
        number += 1
        with db.transaction() as session:
            audit(session, "child", str(number), "kill", "x" * 2000, float(number))
            session.flush()
            enqueue(session, "kill", "ops", f"m{number}", {"number": number}, 0.0)
            touch(session, "alerts", str(number))
        os.write(1, b"%d\\n" % number)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    child = os.fork()
    if not child:
        write_for_ever(sys.argv[1])
    os.write(1, b"pid %d\\n" % child)
"""
"""Forks a writer for each line on stdin (imports are done once) and says its pid; a writer says what it committed."""


class Writers:
    """The process that forks writers."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITERS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._buffer = b""

    def run_and_kill(self, after_s: float) -> int:
        """Let a writer commit something, kill it `after_s` later, and return the last number that it committed."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        pid = committed = 0
        while not (pid and committed):
            pid, committed = self._read(pid, committed, wait_s=PROCESS_S)
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        while self._alive(pid):
            time.sleep(0.001)
        return self._read(pid, committed, wait_s=0)[1]

    def close(self) -> None:
        self._process.communicate(timeout=PROCESS_S)

    @staticmethod
    def _alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _read(self, pid: int, committed: int, wait_s: float) -> tuple[int, int]:
        assert self._process.stdout is not None
        if poll.select([self._process.stdout], [], [], wait_s)[0]:
            self._buffer += os.read(self._process.stdout.fileno(), 1 << 20)
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"pid "):
                pid = int(line[4:])
            else:
                committed = int(line)
        return pid, committed


@contextmanager
def writers(url: str) -> Iterator[Writers]:
    process = Writers(url)
    try:
        yield process
    finally:
        process.close()


def wait_for_server(database: Database) -> None:
    """PostgreSQL may still be committing for a client that is dead. (A transaction sees one state of its activity.)"""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
    while not database.is_sqlite:
        with database.reading() as session:
            if session.execute(text(busy)).scalar_one() == 1:
                return


def test_a_killed_writer_leaves_whole_transactions_only(database: Database) -> None:
    moments = random.Random(1)
    acknowledged = 0
    with writers(database.engine.url.render_as_string(hide_password=False)) as forks:
        for _ in range(ROUNDS):
            acknowledged = forks.run_and_kill(after_s=moments.uniform(0, 0.03))
            wait_for_server(database)

            everything = 10 * acknowledged + 1000
            numbers = [int(e.action) for e in reversed(AuditStore(database).recent(everything))]
            assert numbers == list(range(1, len(numbers) + 1))
            assert acknowledged <= len(numbers) <= acknowledged + 1
            messages = [e.message_id for e in reversed(OutboxStore(database).recent(everything))]
            assert messages == [f"m{n}" for n in numbers]
            assert [r.ref for r in RevisionStore(database).since(0, limit=everything)] == [str(n) for n in numbers]
            if database.is_sqlite:
                with database.reading() as session:
                    assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"

    assert acknowledged >= ROUNDS
