"""The outbox: nothing is lost, nothing is claimed twice at a time, nothing overtakes in its lane."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from alerts.sending import Fate, Outcome, Substitute
from controlplane.errors import LeaseLost, Unavailable
from controlplane.store.backlog.backlog import Backlog
from controlplane.store.backlog.outbox import EnduringOutbox
from controlplane.store.backlog.write_back import write_back
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue


class Clock:
    def now(self) -> float:
        return 102.0


def put(db: Database, *ids: str, at: float = 0.0, lane: str = "") -> list[bool]:
    with db.transaction() as session:
        return [enqueue(session, "alert", "ops", i, {"text": i}, at, lane=lane) for i in ids]


def test_a_message_is_claimed_sent_and_remembered(database: Database) -> None:
    put(database, "m1", at=100.0)
    outbox = OutboxStore(database)

    (entry,) = outbox.claim("p1", now=100.0, ttl_s=30, limit=10)
    assert (entry.message_id, entry.kind, entry.receiver, entry.payload) == ("m1", "alert", "ops", {"text": "m1"})
    assert (entry.attempts, entry.claimed_by, entry.claimed_until) == (1, "p1", 130.0)
    outbox.done(entry, {"ts": "17.1"}, at=101.0)

    sent = outbox.get("m1")
    assert sent is not None
    assert (sent.status, sent.result, sent.finished_at, sent.error) == (OutboxStatus.SENT, {"ts": "17.1"}, 101.0, None)
    assert outbox.claim("p1", now=1e9, ttl_s=30, limit=10) == []


def test_a_search_without_a_queued_message_locks_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    put(database, "m1", at=100.0)
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=100.0, ttl_s=30, limit=10)
    outbox.done(entry, None, at=101.0)

    monkeypatch.delattr(Database, "transaction")
    assert outbox.claim("p1", now=200.0, ttl_s=30, limit=10) == []


def test_a_message_of_the_same_id_is_queued_once(database: Database) -> None:
    assert put(database, "m1", "m1") == [True, False]
    assert put(database, "m1") == [False]
    assert len(OutboxStore(database).recent(10)) == 1


def test_a_message_lives_and_dies_with_its_transaction(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:
        enqueue(session, "alert", "ops", "m1", {}, 0.0)
        raise RuntimeError

    assert OutboxStore(database).get("m1") is None


def test_messages_are_claimed_oldest_first_when_due(database: Database) -> None:
    put(database, "late", at=200.0)
    put(database, "a", "b", "c", at=100.0)
    outbox = OutboxStore(database)

    assert [e.message_id for e in outbox.claim("p1", now=100.0, ttl_s=30, limit=2)] == ["a", "b"]
    assert [e.message_id for e in outbox.claim("p2", now=100.0, ttl_s=30, limit=2)] == ["c"]
    assert [e.message_id for e in outbox.claim("p2", now=200.0, ttl_s=30, limit=9)] == ["late", "a", "b", "c"]


def test_a_retry_waits_and_keeps_the_error(database: Database) -> None:
    put(database, "m1")
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=0.0, ttl_s=30, limit=1)

    outbox.retry(entry, "slack: ratelimited", next_at=60.0)

    assert outbox.claim("p1", now=59.0, ttl_s=30, limit=1) == []
    (again,) = outbox.claim("p1", now=60.0, ttl_s=30, limit=1)
    assert (again.attempts, again.error, again.status) == (2, "slack: ratelimited", OutboxStatus.QUEUED)
    outbox.done(again, None, at=61.0)
    done = outbox.get("m1")
    assert done is not None
    assert (done.error, done.result) == (None, None)


def test_a_dead_message_is_kept_with_its_error_and_not_claimed(database: Database) -> None:
    put(database, "m1")
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=0.0, ttl_s=30, limit=1)

    outbox.dead(entry, "slack: channel_not_found", at=1.0)

    assert outbox.claim("p1", now=1e9, ttl_s=30, limit=1) == []
    (kept,) = outbox.recent(10)
    assert (kept.status, kept.error, kept.finished_at) == (OutboxStatus.DEAD, "slack: channel_not_found", 1.0)


def test_the_claim_of_a_sender_that_died_runs_out(database: Database) -> None:
    put(database, "m1")
    outbox = OutboxStore(database)
    outbox.claim("dead", now=0.0, ttl_s=30, limit=1)

    assert outbox.claim("p2", now=29.0, ttl_s=30, limit=1) == []
    (entry,) = outbox.claim("p2", now=30.0, ttl_s=30, limit=1)
    assert (entry.claimed_by, entry.attempts) == ("p2", 2)


def test_a_process_that_knows_the_other_senders_dead_claims_their_messages_at_once(database: Database) -> None:
    outbox = OutboxStore(database)
    put(database, "m1", "m2", "m3")
    sent, *_ = outbox.claim("dead", 100.0, 60.0, 2)
    outbox.done(sent, None, 101.0)
    assert outbox.claim("new", 102.0, 60.0, 9)[0].message_id == "m3"
    assert outbox.take_over() == 2
    assert [(one.message_id, one.attempts) for one in outbox.claim("new", 103.0, 60.0, 9)] == [("m2", 2), ("m3", 2)]


@pytest.mark.parametrize("holder", ["p2", "p1"])
def test_a_sender_that_wakes_late_is_refused(database: Database, holder: str) -> None:
    put(database, "m1")
    outbox = OutboxStore(database)
    (late,) = outbox.claim("p1", now=0.0, ttl_s=30, limit=1)
    (current,) = outbox.claim(holder, now=30.0, ttl_s=30, limit=1)

    with pytest.raises(LeaseLost, match="m1 is no longer claimed by p1"):
        outbox.done(late, None, at=31.0)
    with pytest.raises(LeaseLost):
        outbox.retry(late, "late", next_at=99.0)
    outbox.done(current, {"ts": "1"}, at=32.0)
    with pytest.raises(LeaseLost):
        outbox.dead(current, "twice", at=33.0)


def test_a_lane_is_sent_one_at_a_time_and_in_order(database: Database) -> None:
    put(database, "a1", "a2", lane="a")
    put(database, "b1", lane="b")
    put(database, "free")
    outbox = OutboxStore(database)

    first = outbox.claim("p1", now=0.0, ttl_s=30, limit=10)
    assert [e.message_id for e in first] == ["a1", "b1", "free"]
    assert outbox.claim("p2", now=0.0, ttl_s=30, limit=10) == []

    outbox.retry(first[0], "timeout", next_at=100.0)
    assert [e.message_id for e in outbox.claim("p2", now=99.0, ttl_s=30, limit=10)] == ["b1", "free"]
    (retried,) = outbox.claim("p2", now=100.0, ttl_s=30, limit=10)
    assert retried.message_id == "a1"
    outbox.dead(retried, "gone", at=101.0)
    assert [e.message_id for e in outbox.claim("p2", now=101.0, ttl_s=30, limit=10)] == ["a2"]


def test_senders_at_once_never_share_a_message(database: Database) -> None:
    put(database, *(f"m{n:02}" for n in range(40)))
    outbox = OutboxStore(database)
    start = Barrier(4)

    def take(holder: str) -> list[str]:
        start.wait()
        mine: list[str] = []
        while batch := outbox.claim(holder, now=0.0, ttl_s=30, limit=3):
            mine += [e.message_id for e in batch]
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [m for mine in pool.map(take, ["p1", "p2", "p3", "p4"]) for m in mine]

    assert sorted(taken) == [f"m{n:02}" for n in range(40)]


def test_pruning_forgets_only_what_is_finished(database: Database) -> None:
    put(database, "sent", "dead", "queued")
    outbox = OutboxStore(database)
    sent, dead = outbox.claim("p1", now=0.0, ttl_s=30, limit=2)
    outbox.done(sent, None, at=10.0)
    outbox.dead(dead, "no", at=20.0)

    assert outbox.prune(before=20.0) == 1
    assert [e.message_id for e in outbox.recent(10)] == ["queued", "dead"]


@pytest.mark.parametrize("off", [float("inf"), 1e12, 3601.0])
def test_a_message_that_was_put_off_beyond_all_reason_is_due(database: Database, off: float) -> None:
    put(database, "m1", at=100.0)
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=100.0, ttl_s=30, limit=1)
    outbox.retry(entry, "asked to wait", next_at=100.0 + off)
    assert [e.message_id for e in outbox.claim("p1", now=100.0, ttl_s=30, limit=1)] == ["m1"]


def test_a_message_that_was_put_off_for_an_hour_waits(database: Database) -> None:
    put(database, "m1", at=100.0)
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=100.0, ttl_s=30, limit=1)
    outbox.retry(entry, "asked to wait", next_at=3700.0)
    assert outbox.claim("p1", now=100.0, ttl_s=30, limit=1) == []
    assert [e.message_id for e in outbox.claim("p1", now=3700.0, ttl_s=30, limit=1)] == ["m1"]


def test_an_error_in_a_receivers_words_is_kept_whatever_it_holds(database: Database) -> None:
    put(database, "m1")
    outbox = OutboxStore(database)
    (entry,) = outbox.claim("p1", now=100.0, ttl_s=30, limit=1)
    outbox.retry(entry, "half \ud83d of a pair, \0", next_at=110.0)
    (entry,) = outbox.claim("p1", now=110.0, ttl_s=30, limit=1)
    assert entry.error == r"half \ud83d of a pair, \x00"
    outbox.dead(entry, "\0", at=111.0)
    assert [e.error for e in outbox.recent(1)] == [r"\x00"]


def test_senders_whose_clocks_differ_never_hold_one_message(database: Database, replica: Database) -> None:
    ahead_s = 3000.0
    right, ahead = OutboxStore(database), OutboxStore(replica, lambda at: at - ahead_s)
    put(database, "m1", at=100.0)
    (entry,) = right.claim("p1", now=100.0, ttl_s=30, limit=1)
    assert ahead.claim("p2", now=101.0 + ahead_s, ttl_s=30, limit=1) == []
    right.done(entry, None, at=102.0)
    put(database, "m2", at=100.0)
    (entry,) = ahead.claim("p2", now=103.0 + ahead_s, ttl_s=30, limit=1)
    assert right.claim("p1", now=104.0, ttl_s=30, limit=1) == []
    assert [e.message_id for e in right.claim("p1", now=134.0, ttl_s=30, limit=1)] == ["m2"]


def put_for(db: Database, receiver: str, *ids: str) -> None:
    with db.transaction() as session:
        for i in ids:
            enqueue(session, "alert", receiver, i, {}, 0.0)


def test_each_receiver_has_its_own_share_of_a_claim(database: Database) -> None:
    put_for(database, "ops", *(f"o{n}" for n in range(5)))
    put_for(database, "pager", "p1")
    put_for(database, "busy", "b1")
    claimed = OutboxStore(database).claim("one", 100.0, 60.0, 3, without={"busy"})
    assert [entry.message_id for entry in claimed] == ["o0", "o1", "o2", "p1"]


def test_many_results_are_one_transaction_and_lost_claims_are_returned(database: Database) -> None:
    outbox = OutboxStore(database)
    put(database, "sent", "retry", "released", "dead", "late")
    claimed = {entry.message_id: entry for entry in outbox.claim("one", 100.0, 60.0, 9)}
    late = claimed["late"]
    assert [e.message_id for e in OutboxStore(database).claim("two", 160.0, 60.0, 1)] == ["sent"]
    outcomes = [
        Outcome(claimed["sent"], Fate.SENT, 101.0, result={"place": "C/1"}),
        Outcome(claimed["retry"], Fate.RETRY, 110.0, "HTTP 500"),
        Outcome(claimed["released"], Fate.RELEASED, 120.0, "ops asked to wait"),
        Outcome(claimed["dead"], Fate.DEAD, 102.0, "invalid_auth"),
        Outcome(late, Fate.SENT, 103.0),
    ]
    assert outbox.settle(outcomes) == [claimed["sent"]]
    found = {e.message_id: (e.status.value, e.attempts, e.next_attempt_at, e.error) for e in outbox.recent(9)}
    assert found == {
        "sent": ("queued", 2, 0.0, None),
        "retry": ("queued", 1, 110.0, "HTTP 500"),
        "released": ("queued", 0, 120.0, "ops asked to wait"),
        "dead": ("dead", 1, 0.0, "invalid_auth"),
        "late": ("sent", 1, 0.0, None),
    }


def test_substitutes_are_queued_with_the_end_of_their_message_and_only_if_its_claim_is_ours(database: Database) -> None:
    outbox = OutboxStore(database)
    put(database, "m1", "m2")
    first, late = outbox.claim("one", 100.0, 60.0, 9)
    outbox.done(late, None, 101.0)
    more = [Substitute(f"{entry.message_id}~pager", "pager", "lane~pager", {"to": "all"}) for entry in (first, late)]
    outcomes = [
        Outcome(e, Fate.DEAD, 102.0, "refused", substitutes=(s,)) for e, s in zip((first, late), more, strict=True)
    ]
    assert outbox.settle(outcomes) == [late]
    (queued,) = outbox.claim("two", 102.0, 60.0, 9)
    assert (queued.message_id, queued.kind, queued.receiver, queued.lane, queued.payload, queued.created_at) == (
        "m1~pager", "alert", "pager", "lane~pager", {"to": "all"}, 102.0
    )  # fmt: skip


def test_substitutes_wait_in_memory_while_the_database_is_away_and_are_stored_then(database: Database) -> None:
    backlog = Backlog(Clock())
    outbox = EnduringOutbox(OutboxStore(database), backlog)
    put(database, "m1")
    (entry,) = outbox.claim("one", 100.0, 60.0, 9)
    backlog.pause(Unavailable("the disk is full"))
    substitute = Substitute("m1~pager", "pager", "lane~pager", {"to": "all"})
    assert outbox.settle([Outcome(entry, Fate.DEAD, 102.0, "refused", substitutes=(substitute,))]) == ()
    (waiting,) = outbox.claim("one", 102.0, 60.0, 9)
    assert (waiting.message_id, waiting.receiver, waiting.payload) == ("m1~pager", "pager", {"to": "all"})
    assert outbox.settle([Outcome(waiting, Fate.RETRY, 104.0, "away")]) == ()
    assert write_back(database, backlog, lambda: None, "one")
    found = {e.message_id: (e.status.value, e.receiver) for e in OutboxStore(database).recent(9)}
    assert found == {"m1": ("dead", "ops"), "m1~pager": ("queued", "pager")}


def test_a_receiver_that_asked_to_wait_gets_nothing_until_then_also_after_a_restart(database: Database) -> None:
    put_for(database, "ops", "o1")
    put_for(database, "pager", "p1")
    OutboxStore(database).hold("ops", 160.0)
    OutboxStore(database).hold("ops", 150.0)
    restarted = OutboxStore(database)
    assert [entry.message_id for entry in restarted.claim("one", 149.0, 60.0, 9)] == ["p1"]
    assert [entry.message_id for entry in restarted.claim("one", 150.0, 60.0, 9)] == ["o1"]


def test_a_wait_ends_when_its_receiver_is_replaced(database: Database) -> None:
    outbox = OutboxStore(database)
    put_for(database, "ops", "o1")
    outbox.hold("ops", 160.0)
    outbox.free({"ops", "unknown"})
    assert [entry.message_id for entry in outbox.claim("one", 101.0, 60.0, 9)] == ["o1"]


def test_a_wait_of_before_the_clock_was_set_back_holds_nothing(database: Database) -> None:
    put_for(database, "ops", "o1")
    OutboxStore(database).hold("ops", 3700.0)
    assert [entry.message_id for entry in OutboxStore(database).claim("one", 101.0, 60.0, 9)] == ["o1"]


def test_a_wait_is_the_same_for_senders_whose_clocks_differ(database: Database) -> None:
    put_for(database, "ops", "o1")
    OutboxStore(database, lambda at: at - 1000.0).hold("ops", 1160.0)
    other = OutboxStore(database)
    assert other.claim("two", 159.0, 60.0, 9) == []
    assert [entry.message_id for entry in other.claim("two", 160.0, 60.0, 9)] == ["o1"]


def test_a_claimed_message_names_the_next_one_of_its_lane(database: Database) -> None:
    outbox = OutboxStore(database)
    put(database, "a1", "a2", "a3", lane="a")
    put(database, "b1", lane="b")
    put(database, "free")
    found = {entry.message_id: entry.followed_by for entry in outbox.claim("one", 100.0, 60.0, 9)}
    assert found == {"a1": "a2", "b1": "", "free": ""}


@pytest.mark.parametrize(
    ("before", "payload", "expected"),
    [("g/7/1", {}, True), ("g/6/9", {}, False), ("g/7/1", {"edit": True}, False)],
    ids=["of its generation", "of an earlier generation", "an edit"],
)
def test_a_claimed_message_knows_whether_one_before_it_was_given_up(
    database: Database, before: str, payload: dict[str, bool], *, expected: bool
) -> None:
    outbox = OutboxStore(database)
    with database.transaction() as session:
        enqueue(session, "alert", "ops", before, payload, 0.0, lane="g")
    (first,) = outbox.claim("one", 100.0, 60.0, 9)
    assert not first.after_given_up
    outbox.dead(first, "wrong token", 101.0)
    put(database, "g/7/2", lane="g")
    put(database, "h/7/2", lane="h")
    found = {entry.message_id: entry.after_given_up for entry in outbox.claim("one", 102.0, 60.0, 9)}
    assert found == {"g/7/2": expected, "h/7/2": False}
