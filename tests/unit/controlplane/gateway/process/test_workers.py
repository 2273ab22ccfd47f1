"""All workers: the spread of sockets, the counts of their reports, and refused states."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.gateway.process import child as child_module
from controlplane.gateway.process.child import Child
from controlplane.gateway.process.control import Frame
from controlplane.gateway.process.workers import State, Workers


class Placed:
    """Workers without processes: the test says what each one reports, and reads what it is sent."""

    def __init__(self, places: int, sockets: int) -> None:
        self.cleared: list[int] = []
        self.replaced = True
        """Whether dead workers are to be replaced."""
        self.workers = Workers(range(10, 10 + places), sockets, lambda column: ({}, ()), self.clear)
        self.sent: dict[int, list[dict[str, Any]]] = {}
        for place in self.workers.places:
            self.put(place.number)

    def clear(self, column: int, *, replaced: bool) -> None:
        assert replaced is self.replaced
        self.cleared.append(column)

    def put(self, number: int) -> Child:
        """Put a worker that has started into a place."""
        place = self.workers.places[number]
        child = place.child = Child(number, place.column, self.workers._heard, self.workers._ended)
        child.started.set()
        sent = self.sent[number] = []
        child.send = lambda head, body=b"": sent.append(head)  # type: ignore[method-assign]
        return child

    def say(self, number: int, head: dict[str, Any]) -> None:
        """Let a worker send a message."""
        child = self.workers.places[number].child
        assert child is not None
        child._take(Frame(head))

    def die(self, number: int) -> None:
        """Let a worker be killed."""
        child = self.workers.places[number].child
        assert child is not None
        child.exit_status = -9
        child._lost()

    async def apply(self, revision: str, refuses: dict[int, str] | None = None) -> str:
        """Hand a state out, and let each worker apply or refuse it."""
        applying = asyncio.create_task(self.workers.apply(State(revision, b"")))
        await asyncio.sleep(0)
        for number, place in enumerate(self.workers.places):
            if place.child is not None:
                why = (refuses or {}).get(number)
                kind = {"type": "refused", "why": why} if why else {"type": "applied"}
                self.say(number, {**kind, "revision": revision})
        return await applying

    def serves(self) -> dict[int, list[int]]:
        """Return the sockets of each worker."""
        return {child.number: sorted(child.serves) for child in self.workers.children}


def report(generation: int, **requests: int) -> dict[str, Any]:
    return {"type": "status", "models": {"chat": {"generation": generation, "requests": requests}}}


async def test_workers_serve_when_they_apply_the_state_and_the_gateway_listens() -> None:
    placed = Placed(2, 2)
    placed.workers.listen()
    assert placed.serves() == {0: [], 1: []}
    assert await placed.apply("r1") == ""
    assert placed.serves() == {0: [0], 1: [1]}
    assert not placed.workers.accepting.is_set()
    placed.say(0, {"type": "serving", "sockets": [0]})
    assert not placed.workers.accepting.is_set()
    placed.say(1, {"type": "serving", "sockets": [1]})
    assert placed.workers.accepting.is_set()


@pytest.mark.parametrize(
    ("places", "sockets", "expected"),
    [(1, 3, {0: [0, 1, 2]}), (2, 3, {0: [0, 2], 1: [1]}), (3, 3, {0: [0], 1: [1], 2: [2]})],
)
async def test_fewer_workers_than_sockets_share_them(places: int, sockets: int, expected: dict[int, list[int]]) -> None:
    placed = Placed(places, sockets)
    placed.workers.listen()
    await placed.apply("r1")
    assert placed.serves() == expected


async def test_the_socket_of_a_worker_in_back_off_is_served_by_another_until_it_is_back() -> None:
    placed = Placed(2, 2)
    placed.workers.listen()
    await placed.apply("r1")
    placed.die(0)
    assert placed.cleared == [10]
    assert placed.serves() == {1: [0, 1]}
    assert placed.workers.places[0].last_end == "was killed by SIGKILL"
    placed.put(0)
    placed.say(0, {"type": "applied", "revision": "r1"})
    assert placed.serves() == {0: [0], 1: [1]}


async def test_a_generation_counts_when_all_workers_apply_it() -> None:
    placed = Placed(2, 2)
    await placed.apply("r1")
    assert placed.workers.models() == {}  # none has reported
    placed.say(0, report(4, v1=10))
    placed.say(1, report(4, v1=9, v2=1))
    assert placed.workers.models() == {"chat": {"generation": 4, "requests": {"v1": 19, "v2": 1}}}
    placed.say(0, report(5))
    assert placed.workers.models() == {"chat": {"generation": 4, "requests": {}}}
    placed.say(1, report(5, v2=3))
    assert placed.workers.models() == {"chat": {"generation": 5, "requests": {"v2": 3}}}


async def test_counts_of_a_dead_worker_stay_for_their_generation() -> None:
    placed = Placed(2, 2)
    await placed.apply("r1")
    placed.say(0, report(4, v1=10))
    placed.say(1, report(4, v1=9))
    placed.die(0)
    assert placed.workers.models() == {"chat": {"generation": 4, "requests": {"v1": 19}}}
    placed.put(0)
    placed.say(0, {"type": "applied", "revision": "r1"})
    placed.say(0, report(4, v1=1))
    assert placed.workers.models() == {"chat": {"generation": 4, "requests": {"v1": 20}}}
    for number in (0, 1):
        placed.say(number, report(5))
    assert placed.workers.models() == {"chat": {"generation": 5, "requests": {}}}
    await placed.apply("r2")
    for number in (0, 1):
        placed.say(number, report(4))
    assert placed.workers.models() == {"chat": {"generation": 4, "requests": {}}}


async def test_a_state_that_one_worker_refuses_is_taken_back_from_all() -> None:
    placed = Placed(2, 2)
    await placed.apply("r1")
    assert await placed.apply("r2", {1: "no room"}) == "no room"
    assert [head["revision"] for head in placed.sent[0]] == ["r1", "r2", "r1"]
    # The one that refused went back by itself.
    assert [child.number for child in placed.workers.serving()] == [1]
    placed.say(0, {"type": "applied", "revision": "r1"})
    assert [child.number for child in placed.workers.serving()] == [0, 1]


async def test_a_worker_that_dies_while_it_applies_holds_nobody_up() -> None:
    placed = Placed(2, 2)
    applying = asyncio.create_task(placed.workers.apply(State("r1", b"")))
    await asyncio.sleep(0)
    placed.say(0, {"type": "applied", "revision": "r1"})
    placed.die(1)
    assert await applying == ""


async def test_workers_that_end_by_a_cut_are_not_replaced_also_when_the_drain_begins_later() -> None:
    placed = Placed(2, 2)
    await placed.apply("r1")
    placed.replaced = False
    placed.workers.cut()
    assert [sent[-1] for sent in placed.sent.values()] == [{"type": "cut"}] * 2
    for number in (0, 1):
        placed.say(number, {"type": "ended", "finished": 1, "cut": 2, "tokens_cut": 30})
        placed.die(number)
    assert await placed.workers.drain(1.0) == (2, 4, 60)
    assert [place.restarts.total for place in placed.workers.places] == [0, 0]


async def test_a_silent_worker_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "SILENT_TICKS", 4)
    killed: list[int] = []
    child = Child(3, 3, lambda: None, lambda child: None)
    monkeypatch.setattr(child, "kill", lambda: killed.append(child.number))
    for _ in range(3):
        child.tick()
    child._take(Frame({"type": "status"}))
    for _ in range(3):
        child.tick()
    assert killed == []
    child.tick()
    assert killed == [3]
