"""Runs of backups as stored: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.errors import Conflict, LeaseLost, NotFound
from controlplane.store.backups.runs import (
    CUT_SHORT,
    MOST_WORDS,
    BackupOutcome,
    BackupResult,
    BackupRun,
    BackupRunStore,
    JobRuns,
)
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore

NOW = 1_000_000.0
GOOD = BackupResult(BackupOutcome.SUCCEEDED, "", "abc", NOW + 7, 5 << 40, 3)


def test_a_run_from_its_beginning_to_its_end(database: Database, replica: Database) -> None:
    store = BackupRunStore(database)
    begun = store.begin("models", None, NOW)
    assert begun == BackupRun(begun.id, "models", NOW, started_at=NOW)
    store.progress(begun.id, 4 << 40, 5 << 40, None)
    running = BackupRunStore(replica).jobs()["models"].open
    assert running is not None and (running.done, running.total) == (4 << 40, 5 << 40)
    ended = store.finish(begun.id, GOOD, None, NOW + 9)
    assert (ended.outcome, ended.seconds, ended.snapshot, ended.bytes) == ("succeeded", 9.0, "abc", 5 << 40)
    assert BackupRunStore(replica).jobs() == {"models": JobRuns(ended, ended, None, NOW)}
    with pytest.raises(NotFound):
        store.finish(begun.id, GOOD, None, NOW + 10)


def test_a_wish_waits_until_the_next_run_carries_it_out(database: Database, replica: Database) -> None:
    wish = BackupRunStore(replica).ask("models", "ana", NOW)
    assert BackupRunStore(database).wanted() == [wish]
    with pytest.raises(Conflict, match="waits already"):
        BackupRunStore(database).ask("models", "ben", NOW + 1)
    assert BackupRunStore(database).ask("other", "ben", NOW + 1).id != wish.id
    begun = BackupRunStore(database).begin("models", None, NOW + 2)
    assert (begun.id, begun.asked_by, begun.started_at) == (wish.id, "ana", NOW + 2)
    with pytest.raises(Conflict, match="is under way already"):
        BackupRunStore(replica).ask("models", "ben", NOW + 3)
    with pytest.raises(Conflict, match="is under way already"):
        BackupRunStore(replica).begin("models", None, NOW + 3)
    assert [run.job for run in BackupRunStore(database).wanted()] == ["other"]


def test_what_a_dead_process_left_is_interrupted(database: Database) -> None:
    store = BackupRunStore(database)
    store.begin("models", None, NOW)
    store.ask("other", "ana", NOW)
    assert store.interrupt_left(None, NOW + 60) == ["models"]
    assert store.interrupt_left(None, NOW + 61) == []
    last = store.jobs()["models"].last
    assert last is not None and (last.outcome, last.words, last.finished_at) == ("interrupted", CUT_SHORT, NOW + 60)
    assert [run.job for run in store.wanted()] == ["other"]


def test_a_process_that_lost_its_lease_writes_nothing(database: Database, run_out: Callable[[str], None]) -> None:
    store, lease = BackupRunStore(database), LeaseStore(database).acquire("backups", "a", 30)
    begun = store.begin("models", lease, NOW)
    run_out("backups")
    assert LeaseStore(database).acquire("backups", "b", 30)
    for write in (
        lambda: store.begin("other", lease, NOW),
        lambda: store.progress(begun.id, 1, 2, lease),
        lambda: store.finish(begun.id, GOOD, lease, NOW),
        lambda: store.interrupt_left(lease, NOW),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert store.jobs() == {"models": JobRuns(None, None, begun, NOW)}


def test_the_newest_runs_and_the_newest_good_one_are_kept(database: Database) -> None:
    store = BackupRunStore(database)
    outcomes = ["succeeded", "succeeded", "failed", "failed", "interrupted"]
    ids = []
    for at, outcome in enumerate(outcomes):
        ids.append(store.begin("models", None, NOW + at).id)
        store.finish(ids[-1], BackupResult(BackupOutcome(outcome)), None, NOW + at)
    other = store.begin("other", None, NOW)
    assert store.prune(keep=2) == 2
    assert [run.id for run in store.runs("models", 10)] == [ids[4], ids[3], ids[1]]
    assert [run.id for run in store.runs("other", 10)] == [other.id]
    kept = store.jobs()["models"]
    assert kept.last is not None and kept.good is not None and kept.first_at == NOW + 1
    assert (kept.last.id, kept.good.id) == (ids[4], ids[1])


def test_words_are_bounded_and_keep_their_end(database: Database) -> None:
    store = BackupRunStore(database)
    begun = store.begin("models", None, NOW)
    words = f"{'long ' * 2000}\nno \x00 space"
    ended = store.finish(begun.id, BackupResult(BackupOutcome.FAILED, words), None, NOW)
    assert len(ended.words) == MOST_WORDS and ended.words.startswith("… ") and ended.words.endswith("no \\x00 space")
