"""Usage on SQLite and PostgreSQL: each record counts once, rows stay bounded, and sums outlive their minutes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import col

from controlplane.app.parts.housekeeping import clean_up
from controlplane.store import usage as module
from controlplane.store.database import Database, database_now
from controlplane.store.tables.gateway import UsageCursorRow, UsageMinuteRow
from controlplane.store.usage import UsageBatch, UsageStore, UsageSums
from tests.patience import HANG_S

HOUR, DAY = 3600, 86_400
NOW = 1_790_000_000
"""A time before the database's clock, at which no test's record is in the future."""
MINUTE = NOW // 60 * 60


def sums(**changes: Any) -> UsageSums:
    row = UsageSums(
        at=MINUTE,
        tenant="acme",
        key_id="k1",
        model="chat",
        version="v1",
        outcome="ok",
        requests=2,
        prompt_tokens=100,
        completion_tokens=10,
        cached_tokens=40,
        estimated=0,
        duration_s=3.0,
        first_s=0.5,
        streams=1,
    )
    return replace(row, **changes)


def batch(first: int, last: int, *rows: UsageSums, gateway: str = "g1", journal: str = "aa") -> UsageBatch:
    return UsageBatch(gateway, journal, first, last, rows or (sums(),))


def price(row: UsageSums) -> float | None:
    return row.prompt_tokens / 1000 if row.model == "chat" else None


def total(db: Database, *by: str, since: float = 0.0, until: float = 4e9) -> list[dict[str, Any]]:
    return UsageStore(db).report(by, since, until, 1000).rows


def requests(db: Database, *by: str) -> dict[Any, int]:
    return {tuple(row[word] for word in by): row["requests"] for row in total(db, *by)}


def rows_of(db: Database, period: int) -> int:
    with db.reading() as session:
        counted: int = session.execute(select(func.count()).where(col(UsageMinuteRow.period_s) == period)).scalar_one()
    return counted


def test_a_batch_is_in_the_sums_and_its_sequence_is_acknowledged(database: Database) -> None:
    store = UsageStore(database)
    assert store.take(batch(1, 2, sums(), sums(model="code", version="v9", requests=1)), price) == 2
    tokens = {"prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 40, "estimated": 0}
    same = tokens | {"duration_s": 3.0, "first_s": 0.5, "streams": 1}
    assert total(database, "model") == [
        same | {"model": "chat", "requests": 2, "usd": pytest.approx(0.1)},
        same | {"model": "code", "requests": 1, "usd": None},
    ]


def test_a_batch_that_is_sent_again_counts_once(database: Database, replica: Database) -> None:
    assert UsageStore(database).take(batch(1, 5), price) == 5
    assert UsageStore(replica).take(batch(1, 5), price) == 5
    assert UsageStore(replica).take(batch(2, 4), price) == 5
    assert requests(database) == {(): 2}


def test_a_batch_that_is_there_in_part_adds_nothing(database: Database) -> None:
    store = UsageStore(database)
    store.take(batch(1, 5), price)
    for first in (4, 5):
        assert store.take(batch(first, 9), price) == 5
    assert requests(database) == {(): 2}
    assert store.take(batch(6, 9), price) == 9
    assert requests(database) == {(): 4}


def test_a_gap_of_damaged_records_is_no_obstacle(database: Database) -> None:
    store = UsageStore(database)
    assert store.take(batch(3, 5), price) == 5
    assert store.take(batch(100, 110), price) == 110
    assert requests(database) == {(): 4}


def test_journals_of_all_gateways_count_apart_and_their_sums_meet(database: Database) -> None:
    store = UsageStore(database)
    for gateway in ("g1", "g2"):
        for journal in ("aa", "bb"):
            assert store.take(batch(1, 5, gateway=gateway, journal=journal), price) == 5
    assert requests(database) == {(): 8}
    assert rows_of(database, 60) == 1


def test_two_replicas_that_get_the_same_batch_at_once_count_it_once(database: Database, replica: Database) -> None:
    found: list[int] = []

    def send(db: Database, journal: str) -> None:
        for number in range(1, 30):
            found.append(UsageStore(db).take(batch(number, number, journal=journal), price))

    threads = [threading.Thread(target=send, args=(db, j)) for db in (database, replica) for j in ("aa", "bb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert len(found) == 4 * 29
    assert requests(database) == {(): 2 * 29 * 2}
    assert rows_of(database, 60) == 1


def test_a_failed_transaction_acknowledges_nothing(database: Database) -> None:
    def fails(row: UsageSums) -> float | None:
        raise RuntimeError("no price list")

    with pytest.raises(RuntimeError):
        UsageStore(database).take(batch(1, 5), fails)
    assert requests(database) == {}
    assert UsageStore(database).take(batch(1, 5), price) == 5


def test_names_beyond_the_bound_of_a_minute_are_other_and_no_token_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MINUTE_ROWS", 3)
    store = UsageStore(database)
    many = [sums(key_id=f"k{number}", outcome="ok" if number % 2 else "error") for number in range(10)]
    store.take(batch(1, 10, *many), price)
    store.take(batch(11, 20, *many, sums(at=MINUTE + 60, key_id="k9")), price)
    assert rows_of(database, 60) == 3 + 2 + 1
    assert requests(database, "key") == {("k0",): 4, ("k1",): 4, ("k2",): 4, ("other",): 28, ("k9",): 2}
    (all_,) = total(database)
    assert (all_["requests"], all_["prompt_tokens"]) == (42, 2100)
    assert all_["usd"] == pytest.approx(2.1)


def test_a_record_from_the_future_has_the_minute_of_its_arrival(database: Database) -> None:
    with database.reading() as session:
        now = database_now(session)
    UsageStore(database).take(batch(1, 2, sums(at=int(now) + 10 * DAY), sums(at=int(now) + 10)), price)
    found = [row["hour"] for row in total(database, "hour")]
    assert all(abs(at - now) < 2 * HOUR for at in found)


def test_more_tokens_than_a_small_integer_holds(database: Database) -> None:
    store = UsageStore(database)
    for number in range(1, 4):
        store.take(batch(number, number, sums(prompt_tokens=2**40)), price)
    assert total(database)[0]["prompt_tokens"] == 3 * 2**40


def test_a_report_is_by_names_and_times_and_covers_the_periods_that_overlap(database: Database) -> None:
    store = UsageStore(database)
    day = NOW // DAY * DAY
    places = [day, day + HOUR, day + HOUR + 60, day + DAY]
    store.take(batch(1, 4, *(sums(at=at, requests=10**n) for n, at in enumerate(places))), price)
    assert requests(database, "day") == {(day,): 111, (day + DAY,): 1000}
    assert requests(database, "hour", "tenant") == {
        (day, "acme"): 1,
        (day + HOUR, "acme"): 110,
        (day + DAY, "acme"): 1000,
    }
    assert total(database, since=day + HOUR + 30, until=day + HOUR + 90)[0]["requests"] == 110
    assert total(database, since=day + HOUR + 61, until=day + DAY)[0]["requests"] == 100
    assert total(database, since=day + 5 * DAY) == []


def test_a_report_is_cut_at_its_limit_largest_first(database: Database) -> None:
    store = UsageStore(database)
    store.take(batch(1, 3, *(sums(tenant=f"t{n}", prompt_tokens=n) for n in range(3))), price)
    found = store.report(("tenant",), 0.0, 4e9, 2)
    assert ([row["tenant"] for row in found.rows], found.truncated) == (["t2", "t1"], True)
    assert store.report(("tenant",), 0.0, 4e9, 3).truncated is False


def ages(database: Database, *places: float) -> None:
    store = UsageStore(database)
    store.take(batch(1, len(places), *(sums(at=int(at)) for at in places)), price)


def test_minutes_become_hours_and_hours_become_days_and_nothing_is_lost(database: Database) -> None:
    hour = NOW // HOUR * HOUR
    ages(database, hour - 3 * DAY, hour - 3 * DAY + 60, hour - 3 * DAY + HOUR, hour - DAY)
    store = UsageStore(database)
    before = total(database, "tenant", "model")

    assert store.roll_up(NOW) == 2
    assert (rows_of(database, 60), rows_of(database, HOUR), rows_of(database, DAY)) == (1, 2, 0)
    assert total(database, "tenant", "model") == before
    assert requests(database, "hour") == {(hour - 3 * DAY,): 4, (hour - 3 * DAY + HOUR,): 2, (hour - DAY,): 2}
    assert store.roll_up(NOW) == 0

    assert store.roll_up(NOW + 70 * DAY) > 0
    assert (rows_of(database, 60), rows_of(database, HOUR)) == (0, 0)
    assert total(database, "tenant", "model") == before


def test_a_late_record_joins_the_hour_that_was_made_of_its_minute(database: Database) -> None:
    hour = NOW // HOUR * HOUR - 3 * DAY
    ages(database, hour)
    store = UsageStore(database)
    store.roll_up(NOW)
    store.take(batch(10, 10, sums(at=hour + 120)), price)
    assert store.roll_up(NOW) == 1
    assert (rows_of(database, 60), rows_of(database, HOUR)) == (0, 1)
    (row,) = total(database)
    assert (row["requests"], row["usd"]) == (4, pytest.approx(0.2))


def test_prices_that_are_unknown_stay_unknown_through_the_roll_up(database: Database) -> None:
    store = UsageStore(database)
    hour = NOW // HOUR * HOUR - 3 * DAY
    store.take(batch(1, 2, sums(at=hour, model="free"), sums(at=hour + 60, model="free")), price)
    store.roll_up(NOW)
    assert total(database, "model")[0]["usd"] is None


def test_what_is_older_than_it_is_kept_goes(database: Database) -> None:
    ages(database, NOW - 500 * DAY, NOW - 100 * DAY)
    store = UsageStore(database)
    store.roll_up(NOW)
    assert requests(database) == {(): 2}
    with database.reading() as session:
        cursor: Sequence[str] = session.execute(select(col(UsageCursorRow.journal))).scalars().all()
    assert [name for name in cursor if name != "*"] == ["g1/aa"]
    with database.reading() as session:
        now = database_now(session)
    store.roll_up(now + 91 * DAY)
    assert store.take(batch(1, 2), price) == 2  # its place was forgotten


def test_housekeeping_rolls_usage_up(database: Database) -> None:
    hour = NOW // HOUR * HOUR - 3 * DAY
    ages(database, hour)
    clean_up(database, NOW)
    assert (rows_of(database, 60), rows_of(database, HOUR)) == (0, 1)
