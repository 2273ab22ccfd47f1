"""The timer wheel: every deadline fires once, not before its time and at most two steps after it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.wire.timer import STEP_S, Deadline, TimerWheel, WheelTimer
from tests.fakes.hand_clock import HandClock, wheel_of
from tests.patience import until


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def wheel(clock: HandClock) -> TimerWheel:
    return wheel_of(clock)


def step(clock: HandClock) -> None:
    clock.jump(STEP_S)


@given(st.lists(st.floats(0, 400), min_size=1, max_size=30), st.integers(0, 50))
def test_each_fires_once_in_time(delays: list[float], before: int) -> None:
    clock = HandClock()
    wheel = wheel_of(clock)
    for _ in range(before):
        step(clock)
    began = clock.time()
    fired: list[tuple[float, float]] = []
    for delay in delays:
        wheel.after(delay, lambda delay=delay: fired.append((delay, clock.time() - began)))  # type: ignore[misc]
    assert len(wheel) == len(delays)
    for _ in range(round(max(delays) / STEP_S) + 3):
        step(clock)
    assert sorted(delay for delay, _ in fired) == sorted(delays)
    assert all(delay - 1e-6 <= at <= delay + 2 * STEP_S + 1e-6 for delay, at in fired)
    assert len(wheel) == 0


def test_a_cancelled_one_is_forgotten_at_once(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[int] = []
    timers = [wheel.after(300, lambda: fired.append(1)) for _ in range(1000)]
    for timer in timers:
        timer.cancel()
        timer.cancel()
    assert len(wheel) == 0
    clock.jump(400)
    assert fired == []


def test_after_a_pause_of_the_process_all_that_is_due_fires_in_order(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[int] = []
    for seconds in (30, 10, 20, 1000):
        wheel.after(seconds, lambda seconds=seconds: fired.append(seconds))  # type: ignore[misc]
    clock.jump(500)
    assert fired == [10, 20, 30]
    clock.jump(600)
    assert fired == [10, 20, 30, 1000]


def test_one_may_cancel_another_of_the_same_step(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[str] = []
    timers: dict[str, WheelTimer] = {}

    def fire(name: str, other: str) -> None:
        fired.append(name)
        timers[other].cancel()

    timers["a"] = wheel.after(1, lambda: fire("a", "b"))
    timers["b"] = wheel.after(1, lambda: fire("b", "a"))
    clock.advance(2)
    assert len(fired) == 1


def test_a_fault_stops_no_other_deadline(clock: HandClock, wheel: TimerWheel, caplog: pytest.LogCaptureFixture) -> None:
    fired: list[int] = []

    def fails() -> None:
        raise ValueError

    wheel.after(1, fails)
    wheel.after(1, lambda: fired.append(1))
    wheel.after(2, lambda: fired.append(2))
    clock.advance(3)
    assert fired == [1, 2]
    assert "callback failed" in caplog.text


def test_an_empty_wheel_does_not_turn(clock: HandClock, wheel: TimerWheel) -> None:
    wheel.after(1, lambda: None)
    assert clock.next is not None
    clock.advance(2)
    assert clock.next is None
    fired: list[int] = []
    clock.jump(1000)
    wheel.after(1, lambda: fired.append(1))
    clock.advance(1)
    assert fired == [1]


def test_a_closed_wheel_fires_nothing(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[int] = []
    wheel.after(1, lambda: fired.append(1))
    wheel.close()
    clock.jump(10)
    assert fired == []


def test_a_deadline_that_moves_later_costs_no_new_entry(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[float] = []
    deadline = Deadline(wheel, lambda: fired.append(clock.time()))
    began = clock.time()
    for _ in range(100):
        deadline.set(clock.time() + 10, clock.time())
        assert len(wheel) == 1
        clock.jump(1)
    assert fired == []
    clock.advance(10)
    assert len(fired) == 1
    assert 109 <= fired[0] - began <= 110
    assert len(wheel) == 0


def test_a_deadline_may_move_earlier_be_cleared_and_come_back(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[int] = []
    deadline = Deadline(wheel, lambda: fired.append(1))
    deadline.set(clock.time() + 100, clock.time())
    deadline.set(clock.time() + 5, clock.time())
    assert len(wheel) == 1
    clock.advance(5)
    assert fired == [1]
    deadline.set(clock.time() + 5, clock.time())
    deadline.clear()
    clock.advance(10)
    assert fired == [1]
    deadline.set(clock.time() + 5, clock.time())
    clock.advance(5)
    assert fired == [1, 1]


def test_a_closed_deadline_calls_nothing(clock: HandClock, wheel: TimerWheel) -> None:
    fired: list[int] = []
    deadline = Deadline(wheel, lambda: fired.append(1))
    deadline.set(clock.time() + 5, clock.time())
    deadline.close()
    assert len(wheel) == 0
    deadline.set(clock.time() + 5, clock.time())
    clock.advance(10)
    assert fired == []


async def test_a_wheel_turns_by_the_clock_of_its_loop() -> None:
    loop = asyncio.get_running_loop()
    wheel = TimerWheel(loop)
    fired: list[float] = []
    began = loop.time()
    wheel.after(0.25, lambda: fired.append(loop.time() - began))
    await until(lambda: fired)
    assert fired[0] >= 0.25
    wheel.close()
