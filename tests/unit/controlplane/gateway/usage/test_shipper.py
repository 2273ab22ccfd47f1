"""Shipping over real HTTP: each record counts once, whatever happens to requests, replies and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from controlplane.gateway.usage import segments as segments_module
from controlplane.gateway.usage import shipper as module
from controlplane.gateway.usage.batch import Batch
from controlplane.gateway.usage.journal import Journal
from controlplane.gateway.usage.lines import Entry
from controlplane.gateway.usage.shipper import Shipper
from controlplane.remote_client import RemoteClient, Reply
from tests.fakes.usage_ledger import Ledger
from tests.fakes.usage_meters import Meters
from tests.fakes.usage_records import record
from tests.patience import until


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with Ledger() as made:
        yield made


@pytest.fixture
async def client(ledger: Ledger) -> AsyncIterator[RemoteClient]:
    made = RemoteClient(ledger.url, max_reply_bytes=2**16)
    yield made
    await made.close()


def write(root: Path, number: int, column: str = "0", tenant: str = "acme") -> None:
    journal = Journal(root / column, 2**30, Meters())
    for _ in range(number):
        journal.append(record(tenant=tenant))
    assert journal.close()


def files(root: Path) -> list[Path]:
    return list(root.glob("*/*"))


async def drain(shipper: Shipper) -> list[bool]:
    """Ship until nothing waits, and return whether each attempt was acknowledged."""
    found = []
    while (done := await shipper.ship()) is not None:
        found.append(done)
        assert len(found) < 100
    return found


async def test_all_journals_are_shipped_and_deleted(ledger: Ledger, client: RemoteClient, tmp_path: Path) -> None:
    write(tmp_path, 10, "0")
    write(tmp_path, 5, "1", "beta")
    meters = Meters()
    assert await drain(Shipper(tmp_path, "g1", client, meters)) == [True, True]
    assert ledger.tokens == {"acme": 120, "beta": 60}
    assert len(ledger.cursors) == 2
    assert all(journal.startswith("g1/") for journal in ledger.cursors)
    assert meters.acknowledged == 15
    assert meters.backlog == (0, 0.0)
    assert files(tmp_path) == []


async def test_a_reply_that_was_lost_counts_nothing_twice(ledger: Ledger, client: RemoteClient, tmp_path: Path) -> None:
    write(tmp_path, 10)
    # The client tries twice by itself: the server may have closed a kept connection.
    ledger.misbehave = ["drop", "drop"]
    shipper = Shipper(tmp_path, "g1", client, Meters())
    assert await drain(shipper) == [False, True]
    assert (ledger.requests, ledger.posts) == (10, 3)


async def test_a_shipper_that_was_killed_after_the_reply_was_lost_counts_nothing_twice(
    ledger: Ledger, client: RemoteClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 20)
    monkeypatch.setattr(segments_module, "BATCH_RECORDS", 7)
    ledger.misbehave = ["", "drop", "drop"]
    before = Shipper(tmp_path, "g1", client, Meters())
    assert [await before.ship(), await before.ship()] == [True, False]
    # The next one knows nothing of what was sent, and makes other batches.
    monkeypatch.setattr(segments_module, "BATCH_RECORDS", 16)
    assert await drain(Shipper(tmp_path, "g1", client, Meters())) == [True, True]
    assert (ledger.requests, ledger.tokens) == (20, {"acme": 240})
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("503", "answered 503: not now"),
        ("401", "answered 401: not now; check gateway.control_plane"),
        ("422", "answered 422: not now"),
    ],
)
async def test_what_is_refused_waits_and_the_reason_is_told_once(
    ledger: Ledger,
    client: RemoteClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: str,
    said: str,
) -> None:
    write(tmp_path, 10)
    ledger.misbehave = [status, status]
    with caplog.at_level("INFO"):
        assert await drain(Shipper(tmp_path, "g1", client, Meters())) == [False, False, True]
    assert ledger.requests == 10
    assert [r.getMessage() for r in caplog.records if r.name == module.__name__] == [
        f"usage waits in the journal: {client.name} {said}",
        f"usage is shipped again to {client.name}",
    ]


async def test_a_batch_that_is_sent_again_is_not_read_again(
    ledger: Ledger, client: RemoteClient, tmp_path: Path
) -> None:
    write(tmp_path, 10)
    [journal] = files(tmp_path)
    journal.write_bytes(journal.read_bytes().replace(b'"acme"', b'"ACME"', 1))
    ledger.misbehave = ["503", "503", "drop", "drop"]
    meters = Meters()
    assert await drain(Shipper(tmp_path, "g1", client, meters)) == [False, False, False, True]
    assert (ledger.requests, ledger.tokens) == (9, {"acme": 108})
    # A record that cannot be read is lost once, however often its batch is sent.
    assert meters.losses["damaged"] == 1


async def test_a_control_plane_that_is_away_keeps_everything_in_the_journal(tmp_path: Path) -> None:
    write(tmp_path, 10)
    meters = Meters()
    client = RemoteClient("http://127.0.0.1:1", max_reply_bytes=2**16)
    shipper = Shipper(tmp_path, "g1", client, meters, unix=lambda: 4e9)
    assert await shipper.ship() is False
    assert len(files(tmp_path)) == 1
    size, age_s = meters.backlog
    assert size > 1000 and age_s > 1e9
    await client.close()


@pytest.mark.parametrize("reply", [b"{}", b"nonsense", b'{"acknowledged": 0}', b'{"acknowledged": "10"}'])
async def test_an_answer_that_acknowledges_less_is_a_failure(tmp_path: Path, reply: bytes) -> None:
    write(tmp_path, 10)

    class Client:
        name = "http://cp"

        async def request(self, *_: object, **__: object) -> Reply:
            return Reply(200, "application/json", reply)

    assert await Shipper(tmp_path, "g1", Client(), Meters()).ship() is False
    assert len(files(tmp_path)) == 1


async def test_run_ships_what_a_worker_writes_meanwhile(
    ledger: Ledger, client: RemoteClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    monkeypatch.setattr(module, "_BACKOFF_S", (0.01, 0.02))
    ledger.misbehave = ["503", "", "drop", "drop", "500"]
    journal = Journal(tmp_path / "0", 2**30, Meters())
    running = asyncio.create_task(Shipper(tmp_path, "g1", client, Meters()).run())
    for number in range(1, 201):
        journal.append(record())
        if number % 20 == 0:
            await until(partial(lambda number: ledger.requests == number, number))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert journal.close()
    assert ledger.tokens == {"acme": 2400}


async def test_the_end_ships_what_is_left_and_does_not_wait_for_a_control_plane_that_is_away(
    ledger: Ledger, client: RemoteClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "BATCH_RECORDS", 7)
    write(tmp_path, 20)
    await Shipper(tmp_path, "g1", client, Meters()).finish()
    assert (ledger.requests, files(tmp_path)) == (20, [])
    write(tmp_path, 1)
    ledger.misbehave = ["503", "503"]
    await Shipper(tmp_path, "g1", client, Meters()).finish()
    assert (ledger.posts, len(files(tmp_path))) == (4, 1)


def test_a_batch_sums_by_the_minute_and_every_name() -> None:
    batch = Batch("e")

    def add(sequence: int, at: float, **changes: object) -> None:
        names = {"at": at, "tenant": "t", "key_id": "k", "model": "m", "version": "v", "outcome": "ok"}
        tokens = {"prompt_tokens": 3, "completion_tokens": None, "cached_tokens": None, "estimated": False}
        values = names | tokens | {"duration_s": 1.5, "first_s": None} | changes
        batch.add(Entry(sequence, values))

    add(4, 119.9)
    add(5, 60.0, completion_tokens=7, first_s=0.5, estimated=True)
    add(7, 120.0, cached_tokens=2)
    assert batch.records == 3
    document = batch.document()
    assert (document["journal"], document["first"], document["length"]) == ("e", 4, 4)
    assert document["rows"] == [
        {
            "at": 60,
            "tenant": "t",
            "key_id": "k",
            "model": "m",
            "version": "v",
            "outcome": "ok",
            "requests": 2,
            "prompt_tokens": 6,
            "completion_tokens": 7,
            "cached_tokens": 0,
            "estimated": 1,
            "duration_s": 3.0,
            "first_s": 0.5,
            "streams": 1,
        },
        {**document["rows"][0], "at": 120, "requests": 1, "prompt_tokens": 3, "completion_tokens": 0}
        | {"cached_tokens": 2, "estimated": 0, "duration_s": 1.5, "first_s": 0.0, "streams": 0},
    ]


async def test_a_batch_has_a_bounded_number_of_rows(
    ledger: Ledger, client: RemoteClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "BATCH_ROWS", 4)
    journal = Journal(tmp_path / "0", 2**30, Meters())
    for number in range(10):
        journal.append(record(tenant=f"t{number}"))
    assert journal.close()
    assert await drain(Shipper(tmp_path, "g1", client, Meters())) == [True, True, True]
    assert len(ledger.tokens) == 10
