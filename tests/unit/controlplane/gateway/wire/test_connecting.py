"""A connection that is being made calls one function once, and none after it was given up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from controlplane.gateway.wire.pool import Connecting
from controlplane.gateway.wire.upstream import UpstreamConnection
from tests.fakes.hand_clock import HandClock, wheel_of


class Made:
    """A connection that notes that it was closed. `closing`: the engine has ended it already."""

    def __init__(self, *, closing: bool = False) -> None:
        self.transport = self
        self.closed = False
        self._closing = closing

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self.closed = True


async def connects(connection: Made | OSError) -> UpstreamConnection:
    if isinstance(connection, OSError):
        raise connection
    return cast(UpstreamConnection, connection)


@pytest.mark.parametrize("outcome", [Made(), OSError("refused")])
@pytest.mark.parametrize("late", [False, True])
async def test_a_connection_that_is_made_as_it_is_given_up_is_closed(outcome: Made | OSError, late: bool) -> None:
    """The callback of the task is on its way already: it must not send a request of a client that has left."""
    clock = HandClock()
    wheel = wheel_of(clock)
    called: list[Any] = []
    connecting = Connecting(connects(outcome), 3.0, wheel, called.append, called.append)
    await asyncio.sleep(0)
    assert connecting._task.done() and not called
    if late:
        clock.advance(10.0)
    else:
        connecting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert called == (["no connection within 3 seconds"] if late else [])
    assert not isinstance(outcome, Made) or outcome.closed
    wheel.close()


async def test_a_connection_is_handed_over() -> None:
    wheel = wheel_of(HandClock())
    called: list[Any] = []
    made = Made()
    Connecting(connects(made), 3.0, wheel, called.append, called.append)
    for _ in range(3):
        await asyncio.sleep(0)
    assert called == [made] and not made.closed
    wheel.close()


async def test_a_connection_that_the_engine_ended_at_once_has_failed() -> None:
    """The end came between the connection and its callback. A request on it would be lost, and is sent elsewhere."""
    wheel = wheel_of(HandClock())
    made: list[Any] = []
    failed: list[str] = []
    Connecting(connects(Made(closing=True)), 3.0, wheel, made.append, failed.append)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (made, failed) == ([], ["the connection was closed as soon as it was made"])
    wheel.close()
