"""How many messages wait, were sent, were given up."""

from __future__ import annotations

from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue


def test_every_status_is_counted_and_none_is_missing(database: Database) -> None:
    store = OutboxStore(database)
    assert store.depth() == dict.fromkeys(OutboxStatus, 0)
    with database.transaction() as session:
        for number in range(3):
            enqueue(session, "alert", "ops", f"m{number}", {}, 10.0)
    sent, dead = store.claim("a", 20.0, 60.0, 2)
    store.done(sent, None, 21.0)
    store.dead(dead, "refused", 21.0)
    assert store.depth() == dict.fromkeys(OutboxStatus, 1) | {OutboxStatus.HELD: 0}
