"""Turns are shared between askers: exact orders, and no turn is lost when an asker leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import QueryError
from controlplane.metrics.query.workers.fair_queue import FairQueue, Shares, Turn


class Crowd:
    """Askers at a queue: notes who has a turn, in order."""

    def __init__(self, **shares: int) -> None:
        self.queue = FairQueue(Shares(**shares))
        self.order: list[str] = []
        self.turns: list[tuple[str, Turn]] = []
        self.asking: list[asyncio.Task[None]] = []

    async def ask(self, *askers: str) -> None:
        for asker in askers:
            self.asking.append(asyncio.create_task(self._ask(asker)))
            await settle()

    async def _ask(self, asker: str) -> None:
        turn = await self.queue.turn(asker)
        self.order.append(asker)
        self.turns.append((asker, turn))

    async def end(self, asker: str) -> None:
        turn = next(one for one in self.turns if one[0] == asker)
        self.turns.remove(turn)
        turn[1].end()
        await settle()

    @property
    def running(self) -> str:
        return "".join(sorted(asker for asker, _ in self.turns))


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_one_asker_fills_its_share_and_waits_for_itself() -> None:
    crowd = Crowd(each=2, together=4, most=6)
    await crowd.ask(*"aaaaaaaa")
    assert (crowd.running, crowd.queue.running, crowd.queue.waiting) == ("aa", 2, 6)
    await crowd.ask("b")
    assert crowd.order == ["a", "a", "b"]


async def test_turns_go_around_however_many_one_of_them_wants() -> None:
    crowd = Crowd(each=1, together=1, most=1)
    await crowd.ask(*"aaaabbc")
    for asker in "abcabaa":
        assert crowd.running == asker
        await crowd.end(asker)
    assert crowd.order == list("abcabaa")
    assert not crowd.queue._served, "who is gone is forgotten"


async def test_who_has_less_running_comes_first() -> None:
    crowd = Crowd(each=2, together=3, most=3)
    await crowd.ask(*"aabaab")
    assert crowd.running == "aab"
    await crowd.end("a")  # a has one running, and b: a's last turn is longer ago
    assert crowd.running == "aab"
    await crowd.end("a")  # now b's is
    assert crowd.running == "abb"
    assert crowd.queue.waiting == 1


async def test_a_first_turn_comes_at_once_where_others_must_wait() -> None:
    crowd = Crowd(each=2, together=4, most=6)
    await crowd.ask(*"aabb")
    await crowd.ask("a", "b")
    assert crowd.queue.waiting == 2
    await crowd.ask("c", "d")
    assert crowd.running == "aabbcd"
    await crowd.ask("e")
    assert crowd.queue.waiting == 3
    await crowd.end("a")
    assert crowd.running == "abbcde", "e had none; a and b may have a second one only while there are few"


async def test_one_who_leaves_the_queue_costs_nobody_a_turn() -> None:
    crowd = Crowd(each=1, together=1, most=1)
    await crowd.ask(*"aabc")
    crowd.asking[2].cancel()  # b
    await settle()
    assert crowd.queue.waiting == 2
    await crowd.end("a")
    assert crowd.running == "c"
    await crowd.end("c")
    assert crowd.running == "a"


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_one_who_leaves_in_the_moment_of_its_turn_gives_it_on(moment: str) -> None:
    crowd = Crowd(each=1, together=1, most=1)
    await crowd.ask(*"abc")
    steps: list[Callable[[], object]] = [crowd.turns[0][1].end, crowd.asking[1].cancel]
    for step in steps if moment == "after" else reversed(steps):
        step()
    await settle()
    assert crowd.order == ["a", "c"]
    assert (crowd.queue.running, crowd.queue.waiting) == (1, 0)


async def test_ending_a_turn_again_frees_nothing() -> None:
    crowd = Crowd(each=1, together=1, most=1)
    await crowd.ask(*"abc")
    turn = crowd.turns[0][1]
    turn.end()
    turn.end()
    await settle()
    assert crowd.order == ["a", "b"]


async def test_too_many_are_refused_at_once_and_counted() -> None:
    crowd = Crowd(each=1, together=1, most=1, waiting=3, each_waiting=2)
    await crowd.ask(*"aaab")
    for asker, kind in (("a", "too_many_requests"), ("c", "unavailable")):
        with pytest.raises(QueryError) as caught:
            await crowd.queue.turn(asker)
        assert caught.value.kind == kind
    assert crowd.queue.refused == 2
    await crowd.end("a")
    assert crowd.order == ["a", "b"]


async def test_after_the_end_nobody_waits_and_nobody_comes() -> None:
    crowd = Crowd(each=1, together=1, most=1)
    await crowd.ask(*"ab")
    crowd.queue.close(QueryError("execution", "the end"))
    with pytest.raises(QueryError, match="the end"):
        await crowd.asking[1]
    with pytest.raises(QueryError, match="the end"):
        await crowd.queue.turn("c")
    crowd.turns[0][1].end()
    assert crowd.queue.running == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["ask", "end", "leave"])), max_size=60))
def test_limits_hold_and_nothing_is_lost_whatever_happens(events: list[tuple[str, str]]) -> None:
    async def play() -> None:
        crowd = Crowd(each=2, together=3, most=4)
        for asker, event in events:
            waiting = [task for task in crowd.asking if not task.done()]
            if event == "ask":
                await crowd.ask(asker)
            elif event == "end" and asker in crowd.running:
                await crowd.end(asker)
            elif event == "leave" and waiting:
                waiting[ord(asker) % len(waiting)].cancel()
                await settle()
            assert crowd.queue.running == len(crowd.turns) <= 4
            assert all(crowd.running.count(one) <= 2 for one in "abcd")
            assert crowd.queue.waiting == sum(not task.done() for task in crowd.asking)
        while crowd.turns:
            await crowd.end(crowd.turns[0][0])
        assert crowd.queue.running == crowd.queue.waiting == 0
        assert all(task.done() for task in crowd.asking)

    asyncio.run(play())
