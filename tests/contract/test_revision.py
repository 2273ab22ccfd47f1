"""Revisions: numbered in the order of commits, so that a reader that goes on from what it saw misses nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.store.database import Database
from controlplane.store.revision import RevisionStore, touch


def change(db: Database, kind: str, ref: str = "") -> None:
    with db.transaction() as session:
        touch(session, kind, ref)


def test_changes_are_numbered_from_one(database: Database) -> None:
    revisions = RevisionStore(database)
    assert (revisions.latest(), revisions.oldest(), revisions.since(0)) == (0, 0, [])

    change(database, "alerts")
    change(database, "rollouts", "r1")

    assert [(r.id, r.kind, r.ref) for r in revisions.since(0)] == [(1, "alerts", ""), (2, "rollouts", "r1")]
    assert [r.id for r in revisions.since(1)] == [2]
    assert [r.id for r in revisions.since(0, limit=1)] == [1]
    assert (revisions.latest(), revisions.oldest()) == (2, 1)


def test_repeats_within_a_transaction_count_once(database: Database) -> None:
    with database.transaction() as session:
        touch(session, "alerts")
        touch(session, "models", "chat")
        touch(session, "alerts")

    assert [(r.kind, r.ref) for r in RevisionStore(database).since(0)] == [("alerts", ""), ("models", "chat")]


def test_what_rolls_back_was_no_change(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:
        touch(session, "alerts")
        raise RuntimeError

    assert RevisionStore(database).latest() == 0


def test_a_savepoint_does_not_write_early(database: Database) -> None:
    with database.transaction() as session:
        touch(session, "alerts")
        with session.begin_nested():
            touch(session, "models", "chat")
        touch(session, "rollouts")

    assert [r.kind for r in RevisionStore(database).since(0)] == ["alerts", "models", "rollouts"]


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("database", ["postgres"], indirect=True)  # SQLite has one writer: nothing can overtake
def test_who_touched_first_but_committed_last_is_numbered_last(database: Database, replica: Database) -> None:
    with database.transaction() as slow:
        touch(slow, "alerts", "slow")
        slow.flush()
        change(replica, "alerts", "quick")
        seen = RevisionStore(replica).latest()

    assert [r.ref for r in RevisionStore(replica).since(seen)] == ["slow"]


def test_a_reader_that_follows_misses_nothing(database: Database) -> None:
    revisions = RevisionStore(database)
    seen: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(change, database, "alerts", str(n)) for n in range(40)]
        last = 0
        while len(seen) < 40:
            finished = all(w.done() for w in writers)
            news = revisions.since(last)
            seen += [r.ref for r in news]
            last = news[-1].id if news else last
            if finished and not news:
                break

    assert sorted(seen, key=int) == [str(n) for n in range(40)]


def test_pruning_keeps_the_newest_and_the_count(database: Database) -> None:
    revisions = RevisionStore(database)
    for n in range(5):
        change(database, "alerts", str(n))

    assert revisions.prune(keep=2) == 3
    assert [r.id for r in revisions.since(0)] == [4, 5]
    assert revisions.oldest() == 4

    assert revisions.prune(keep=0) == 1
    change(database, "alerts")
    assert [r.id for r in revisions.since(0)] == [5, 6]
