"""A sender on a virtual clock: what it sends again, cuts, drops and keeps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from collectors.errors import Unreachable
from collectors.logs.shipping.queue import Queue
from collectors.logs.shipping.spool import Spool
from collectors.logs.shipping.verdict import Answer
from tests.unit.collectors.logs.shipping.lines import World, line, write


def dropped(world: World) -> dict[str, int]:
    return {reason: count for reason, count in world.sender.dropped.items() if count}


async def test_lines_wait_for_others_and_go_in_batches_in_their_order() -> None:
    world = World(batch_lines=2)
    world.put("a")
    await world.sender.turn()
    assert world.posted == []
    world.put("b", "c")
    assert await world.sent() == [["a", "b"]]
    assert await world.sent() == [["a", "b"], ["c"]]
    assert world.sender.stats.sent == 3


async def test_a_batch_has_no_more_bytes_than_allowed_but_for_one_long_line() -> None:
    world = World(batch_bytes=1000)
    world.put("x" * 5000, "a", "b", "c", "d")
    for _ in range(3):
        await world.sent()
    assert [[text[0] for text in batch] for batch in world.posted] == [["x"], ["a", "b", "c"], ["d"]]


async def test_faults_that_pass_are_tried_again_ever_later_and_hold_the_order() -> None:
    world = World(Unreachable("connection refused"), Answer(500), Answer(503), max_backoff_s=1.5)
    world.put("a")
    world.while_waiting = lambda: world.put("later")
    assert await world.sent() == [["a"]] * 4
    assert world.waits == [0.5, 1.0, 1.5]
    assert (world.sender.stats.sent, world.sender.stats.retried, dropped(world)) == (1, 3, {})


@pytest.mark.parametrize(("header", "waited"), [("30", 30.0), ("0", 0.5), ("soon", 0.5), ("999999", 600.0)])
async def test_retry_after_lengthens_the_wait(header: str, waited: float) -> None:
    world = World(Answer(429, retry_after=header))
    world.put("a")
    assert await world.sent() == [["a"]] * 2
    assert world.waits == [waited]


async def test_a_refused_batch_is_cut_until_only_the_line_that_is_refused_is_dropped() -> None:
    world = World(Answer(413), Answer(413), Answer(204), Answer(400, b"no"), Answer(204))
    world.put("a", "b", "c", "d")
    assert await world.sent() == [["a", "b", "c", "d"], ["a", "b"], ["a"], ["b"], ["c", "d"]]
    assert (world.sender.stats.sent, dropped(world), world.waits) == (3, {"status_400": 1}, [])


async def test_wrong_credentials_wait_for_their_cure() -> None:
    world = World(Answer(401, b"who?"), Answer(404))
    world.put("a")
    seen: list[str] = []
    world.while_waiting = lambda: seen.append(world.sender.stats.failing)
    await world.sent()
    assert seen == ["answered 401: who?", "answered 404"]
    assert (world.sender.stats.sent, world.sender.stats.failing) == (1, "")


async def test_lines_that_wait_too_long_are_dropped_so_that_newer_ones_get_their_turn() -> None:
    world = World(*[Answer(500)] * 20, max_age_s=10.0)
    world.put("poison")
    await world.sent()
    assert dropped(world) == {"age": 1}
    assert len(world.posted) < 20
    world.answers.clear()
    world.put("good")
    assert (await world.sent())[-1] == ["good"]


def test_a_full_queue_loses_its_oldest_lines_and_counts_them() -> None:
    queue = Queue(1000, lambda: 0.0)
    for number in range(10):
        queue.put(line(f"{number}"))
    assert (queue.lost, [record.text for record in queue.take(99, 10**6)]) == (7, ["7", "8", "9"])
    assert (queue.bytes, queue.lines) == (0, 0)


def test_no_two_lines_have_the_same_time_even_where_the_clock_goes_back() -> None:
    queue = Queue(10**6, lambda: 0.0)
    for at in (5.0, 5.0, 4.0, 6.0):
        queue.put(line("a", at))
    times = [record.at_ns for record in queue.take(99, 10**6)]
    assert times == [5 * 10**9, 5 * 10**9 + 1, 5 * 10**9 + 2, 6 * 10**9]


async def test_loki_stores_the_rest_of_a_batch_with_late_entries() -> None:
    words = b"entry with timestamp 1 ignored, reason: 'entry too far behind', total ignored: 2 out of 3"
    world = World(Answer(400, words))
    world.put("a", "b", "c")
    assert await world.sent() == [["a", "b", "c"]]
    assert (world.sender.stats.sent, dropped(world)) == (1, {"too_late": 2})


async def test_elasticsearch_gets_again_only_the_items_that_may_pass() -> None:
    items = [{"create": {"status": status}} for status in (201, 429, 400, 409)]
    items[2]["create"]["error"] = {"type": "mapper_parsing_exception", "reason": "no"}  # type: ignore[assignment]
    world = World(Answer(200, json.dumps({"errors": True, "items": items}).encode()), kind="elasticsearch")
    world.answers.append(Answer(200, b'{"errors": false}'))
    world.put("stored", "busy", "bad", "there already")
    assert await world.sent() == [["stored", "busy", "bad", "there already"], ["busy"]]
    assert (world.sender.stats.sent, dropped(world)) == (3, {"status_400": 1})


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": true}', b'{"errors": true, "items": [{}]}'])
async def test_an_answer_of_elasticsearch_that_makes_no_sense_counts_as_none(body: bytes) -> None:
    world = World(Answer(200, body), Answer(200, b'{"errors": false}'), kind="elasticsearch")
    world.put("a")
    assert await world.sent() == [["a"], ["a"]]


async def test_otlp_sends_nothing_again_of_a_partial_success_or_a_fault_that_the_protocol_calls_final() -> None:
    partial = b'{"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "too old"}}'
    world = World(Answer(200, partial), Answer(500), Answer(503), kind="otlp")
    world.put("a", "b")
    await world.sent()
    world.put("c")
    await world.sent()
    world.put("d")
    assert await world.sent() == [["a", "b"], ["c"], ["d"], ["d"]]
    assert (world.sender.stats.sent, dropped(world)) == (2, {"rejected": 1, "status_500": 1})


def spool(folder: Path, limit: int = 10**6) -> Spool:
    made = Spool(folder, limit, write)
    made.open()
    return made


async def test_what_waits_at_the_end_goes_on_at_the_next_start_in_its_order(tmp_path: Path) -> None:
    world = World(Answer(413), Answer(204), *[Answer(503)] * 9, spool=spool(tmp_path), batch_lines=2)
    world.put("a", "b", "c", "d", "e")

    def stop() -> None:
        raise asyncio.CancelledError

    world.while_waiting = stop
    with pytest.raises(asyncio.CancelledError):
        await world.sent()
    assert world.posted == [["a", "b"], ["a"], ["b"]]
    await world.sender.close(0.0)
    again = World(spool=spool(tmp_path), batch_lines=2)
    again.put("f")
    for _ in range(4):
        await again.sent()
    assert again.posted == [["b"], ["c", "d"], ["e"], ["f"]]
    assert again.sender.spool and again.sender.spool.files == 0
    assert spool(tmp_path).files == 0


async def test_a_half_sent_batch_of_the_spool_goes_back_to_its_head_without_what_was_sent(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    kept.put([line("a"), line("b")])
    kept.put([line("c")])
    world = World(Answer(413), Answer(204), *[Answer(503)] * 9, spool=spool(tmp_path))

    def stop() -> None:
        raise asyncio.CancelledError

    world.while_waiting = stop
    with pytest.raises(asyncio.CancelledError):
        await world.sent()
    await world.sender.close(0.0)
    again = World(spool=spool(tmp_path))
    await again.sent()
    assert await again.sent() == [["b"], ["c"]]


async def test_lines_without_room_in_memory_go_to_the_spool_and_are_sent_in_their_order(tmp_path: Path) -> None:
    world = World(Unreachable("connection refused"), spool=spool(tmp_path), batch_lines=10, queue_bytes=20_000)
    names = [f"{number:03}" for number in range(500)]
    rest = iter(names)

    async def fill() -> None:
        for name in rest:
            world.put(name)
            if int(name) % 10 == 9:
                await world.sender._make_room()

    await fill()
    assert world.sender.spool and world.sender.spool.files > 40
    assert world.sender.queue.bytes <= 10_000
    while world.sender.stats.sent < 500:
        await world.sent()
    assert [name for batch in world.posted[1:] for name in batch] == names
    assert (dropped(world), world.sender.spool.files) == ({}, 0)


async def test_lines_stay_in_memory_while_the_disk_is_full_and_the_oldest_are_lost_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = {"full": True}

    def write(path: Path, data: bytes) -> None:
        if disk["full"]:
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    made = Spool(tmp_path, 10**6, write)
    world = World(spool=made, batch_lines=3, queue_bytes=2000)
    world.put(*"abcdef")
    waiting = world.sender.queue.bytes
    for _ in range(3):
        await world.sender._make_room()
    assert (dropped(world), world.sender.queue.lines, world.sender.queue.bytes) == ({}, 6, waiting)
    assert caplog.text.count("the spool cannot be written: No space left on device") == 1
    world.put(*"ghijklmnopqrstuvwxyz")  # more than the memory takes: the oldest go
    await world.sender._make_room()
    lost = dropped(world)["queue_full"]
    assert lost and dropped(world) == {"queue_full": lost}
    disk["full"] = False
    while made.files * 3 + world.sender.queue.lines > 0:
        await world.sender._make_room()
        await world.sent()
    names = "abcdefghijklmnopqrstuvwxyz"
    assert "".join(name for batch in world.posted for name in batch) == names[lost:]


async def test_without_a_spool_what_waits_at_the_end_is_counted() -> None:
    world = World()
    world.put("a", "b")
    await world.sender.close(0.0)
    assert dropped(world) == {"shutdown": 2}


def test_a_spool_is_bounded_and_leaves_out_broken_files(tmp_path: Path) -> None:
    kept = spool(tmp_path, limit=300)
    for text in ("a", "b", "c", "d"):
        kept.put([line(text)])
    assert (kept.lost, kept.files, kept.bytes <= 300) == (2, 2, True)
    next(iter(sorted(tmp_path.iterdir()))).write_text('[1, "half')
    again = spool(tmp_path)
    found = again.first()
    assert found and [record.text for record in found[1]] == ["d"]
    assert (again.broken, again.files) == (1, 1)


async def test_a_bug_costs_its_batch_and_not_the_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(batch_lines=1)
    world.put("a", "b")
    judge, calls = world.sender._dialect.verdict, [0]

    def buggy(answer: Answer, records: object) -> object:
        calls[0] += 1
        if calls[0] == 1:
            raise ZeroDivisionError
        return judge(answer, records)  # type: ignore[arg-type]

    monkeypatch.setattr(world.sender._dialect, "verdict", buggy)
    world.sender.start()
    await world.sender.close(20.0)
    assert (world.posted, dropped(world)) == ([["a"], ["b"]], {"internal": 1})
