"""The one object that counts an open request."""

from __future__ import annotations

import gc
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.choosing.held import Held
from controlplane.gateway.request import Outcome
from tests.fakes.choosing_world import World, ask, model, version

ONE = model("chat", version("v1", 1000, "a", max_in_flight=1))


def test_a_second_release_does_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ONE)
    for _ in range(3):
        held = world.choose()
        held.release(Outcome.OK, world.now)
        held.release(Outcome.ERROR, world.now, connected=False)
        held.progress(5)
        held.first_byte(world.now)
        assert world.open() == {}
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "a request to http://a gave its backend back twice; this is logged once"
    ]


def test_a_backend_that_nobody_gave_back_is_given_back_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ONE)
    world.choose()
    world.requests.clear()
    gc.collect()
    assert world.open() == {}
    assert "ended without giving its backend back" in caplog.text
    world.choose()


class Exchange:
    """Requests at random, and what should be counted of them."""

    def __init__(self, limit: int) -> None:
        self.world = World(model("chat", version("v1", 1000, "a", "b", max_in_flight=limit)))
        self.again: list[Held] = []
        self._failed: list[Held] = []

    @property
    def held(self) -> list[Held]:
        """Backends that are held, in the order in which they were acquired."""
        answers = [*(one.answer for one in self.world.requests), *self.again]
        return [one for one in answers if isinstance(one, Held) and one.held]

    def do(self, step: str) -> None:
        if step == "choose":
            self.world.request()
        elif step == "wait":
            self.world.go(0.7)
        elif step == "cancel":
            for one in self.world.requests:
                if one.place is not None:
                    one.place.cancel()
        elif step == "again" and self._failed:
            answer = self.world.chooser.again(ask(), self._failed.pop(), self.world.now)
            if isinstance(answer, Held):
                self.again.append(answer)
        elif self.held:
            self._go_on(step, self.held[-1])
        self.world.turn()

    def _go_on(self, step: str, one: Held) -> None:
        if step == "first":
            one.first_byte(self.world.now)
        elif step == "progress":
            one.progress(100)
        else:
            outcome = Outcome.ERROR if step == "fail" else Outcome.OK
            for _ in range(2 if step == "double" else 1):
                one.release(outcome, self.world.now, connected=False)
            self._failed.append(one)

    def check(self) -> None:
        assert sum(self.world.open().values()) == len(self.held)
        works = sum(one.work for one in self.world.report().backends)
        assert works == sum(one.outstanding for one in self.held)


STEPS = ["choose", "choose", "first", "progress", "release", "fail", "again", "double", "cancel", "wait"]


@given(st.lists(st.sampled_from(STEPS), max_size=60), st.sampled_from([0, 1, 3]))
def test_no_path_loses_or_doubles_a_count(steps: list[str], limit: int) -> None:
    exchange = Exchange(limit)
    for step in steps:
        exchange.do(step)
        exchange.check()
    while exchange.held:
        exchange.held[0].release(Outcome.ABORTED, exchange.world.now)
        exchange.world.turn()
    exchange.check()
    assert exchange.world.open() == {}
