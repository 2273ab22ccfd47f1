"""A watched object: what is believed, what is read anew, and how often a server in trouble is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes import watching
from controlplane.traffic.kubernetes.refusals import Gone
from controlplane.traffic.kubernetes.resource import Resource, http_route
from controlplane.traffic.kubernetes.watching import FRESH_S, WatchedObject

Json = dict[str, Any]
ROUTE = http_route("llm", "chat")
FORBIDDEN = EngineRefused("the account may not do this; allow the verb")


def state(version: int) -> Json:
    return {"metadata": {"name": "chat", "resourceVersion": str(version)}}


class Server:
    """An API server with one object, and the clock of its client. `calls` counts requests by their verb."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: Counter[str] = Counter()
        self.pauses: list[float] = []
        self.most_pauses = 0
        """Pauses after which the client stands still, so that a test sees what it did until then."""
        self.held: Json | None = state(5)
        self.faults: dict[str, Exception] = {}
        self.events: asyncio.Queue[Json | Exception | None] = asyncio.Queue()
        self.ends: Callable[[], Json | Exception | None] | None = None
        """When set, each watch gets its result in place of `events`: an event, an error, or None for its end."""
        self.before_answer: Callable[[], object] = lambda: None
        self.before_watch: Callable[[], object] = lambda: None
        self.in_pause: Callable[[], object] = lambda: None
        self.before_get: asyncio.Event | None = None

    def watched(self) -> WatchedObject:
        return WatchedObject(self, ROUTE, monotonic=lambda: self.now, sleep=self._sleep)  # type: ignore[arg-type]

    async def get(self, resource: Resource) -> Json:
        self._call("get")
        found = self.held
        if self.before_get is not None:
            await self.before_get.wait()
        if found is None:
            raise EngineRefused("namespace llm has no HTTPRoute chat")
        return found

    async def listed(self, resource: Resource, query: Mapping[str, str]) -> Json:
        self._call("list")
        items = [] if self.held is None else [self.held]
        self.before_answer()
        return {"metadata": {"resourceVersion": "5"}, "items": items}

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, query: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[AsyncIterator[Json]]:
        self.before_watch()
        self._call("watch")
        assert query["resourceVersion"] == "5"
        yield self._lines()

    async def told(self, *events: Json) -> None:
        """Send events, and wait until the client has taken them."""
        for event in events:
            self.events.put_nowait(event)
        await settled()

    async def _lines(self) -> AsyncIterator[Json]:
        while True:
            found = self.ends() if self.ends else await self.events.get()
            if found is None:
                return
            if isinstance(found, Exception):
                raise found
            yield found

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.in_pause()
        self.now += seconds
        if len(self.pauses) >= self.most_pauses:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def _call(self, verb: str) -> None:
        self.calls[verb] += 1
        if verb in self.faults:
            raise self.faults[verb]


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def watching_of(server: Server) -> AsyncIterator[WatchedObject]:
    watched = server.watched()
    try:
        yield watched
    finally:
        await watched.close()


def event(kind: str, version: int) -> Json:
    return {"type": kind, "object": state(version)}


async def test_events_are_believed_without_another_request() -> None:
    server = Server()
    async with watching_of(server) as watched:
        assert await watched.read() == state(5)
        await server.told(event("MODIFIED", 6), event("MODIFIED", 7))
        assert await watched.read() == state(7)
        assert server.calls == {"list": 1, "watch": 1}


async def test_state_of_a_silent_watch_is_read_anew() -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        server.held = state(6)  # the watch hangs, and never tells of it
        server.now += FRESH_S - 0.1
        assert await watched.read() == state(5)
        server.now += 0.1
        assert await watched.read() == state(6)
        assert await watched.read() == state(6)
        assert server.calls["get"] == 2


async def test_read_that_shows_what_the_watch_has_is_believed_for_as_long_again() -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        for _ in range(3):
            server.now += FRESH_S
            await watched.read()
            server.now += FRESH_S - 0.1
            await watched.read()
        assert server.calls["get"] == 3


async def test_bookmark_shows_that_the_watch_lives() -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        server.now += FRESH_S
        await server.told(event("BOOKMARK", 9))
        assert await watched.read() == state(5)
        assert server.calls["get"] == 0


async def test_events_from_before_a_write_are_not_believed() -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        watched.seen(state(8))
        server.held = state(8)
        await server.told(event("MODIFIED", 6))
        assert await watched.read() == state(8)
        await server.told(event("MODIFIED", 7))
        assert await watched.read() == state(8)
        asked = server.calls["get"]
        await server.told(event("MODIFIED", 8))
        assert await watched.read() == state(8)
        assert (asked, server.calls["get"]) == (2, 2)


@pytest.mark.parametrize("shown", [5, 6])  # as the watch has it, and newer than that
async def test_read_that_began_before_a_write_does_not_hide_it(shown: int) -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        server.held, server.before_get = state(shown), asyncio.Event()
        slow = asyncio.create_task(watched.read_now())
        await settled()
        server.held = state(8)
        watched.seen(state(8))
        server.before_get.set()
        assert await slow == state(shown)
        await server.told(event("MODIFIED", 6))
        assert await watched.read() == state(8)


async def test_list_that_began_before_a_write_does_not_hide_it() -> None:
    server = Server()

    def write() -> None:
        server.held = state(8)
        watched.seen(state(8))

    server.before_answer = write
    async with watching_of(server) as watched:
        assert await watched.read() == state(8)
        assert server.calls == {"list": 1, "watch": 1, "get": 1}


async def test_list_shows_every_write_before_it() -> None:
    server = Server()
    async with watching_of(server) as watched:
        watched.seen(state(4))
        assert await watched.read() == state(5)
        assert await watched.read() == state(5)
        assert server.calls["get"] == 0


async def test_deleted_object_is_told_as_missing_until_it_is_there_again() -> None:
    server = Server()
    async with watching_of(server) as watched:
        await watched.read()
        server.held = None
        await server.told(event("DELETED", 6))
        with pytest.raises(EngineRefused, match="namespace llm has no HTTPRoute chat"):
            await watched.read()
        server.held = state(9)
        await server.told(event("ADDED", 9))
        assert await watched.read() == state(9)
        assert server.calls["get"] == 1


async def test_object_that_is_not_there_at_first() -> None:
    server = Server()
    server.held = None
    async with watching_of(server) as watched:
        with pytest.raises(EngineRefused, match="namespace llm has no HTTPRoute chat"):
            await watched.read()
        assert watched.fault == ""


GROWING = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]
"""Pauses of a client whose watch ends at once each time."""


@pytest.mark.parametrize(
    "end",
    [
        lambda: None,
        lambda: Gone("the API server has forgotten the history of HTTPRoute llm/chat"),
        lambda: {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}},
    ],
)
async def test_watch_that_ends_at_once_each_time_is_no_tight_loop(
    end: Callable[[], Json | Exception | None],
) -> None:
    server = Server()
    server.ends, server.most_pauses = end, len(GROWING)
    async with watching_of(server) as watched:
        assert await watched.read() == state(5)
        await settled()
        assert server.pauses == GROWING
        assert server.calls == {"list": 8, "watch": 8}
        assert watched.fault == ""
        server.held = state(6)
        assert await watched.read() == state(6)  # 30 s after the list: too old to be believed


@pytest.mark.parametrize(
    ("verb", "end", "fault"),
    [
        ("list", None, str(FORBIDDEN)),
        ("watch", None, str(FORBIDDEN)),
        ("", lambda: Unavailable("the connection was cut"), "the connection was cut"),
        (
            "",
            lambda: {"type": "ERROR", "object": {"code": 500, "message": "etcd has no leader"}},
            "the API server could not watch HTTPRoute llm/chat (500): etcd has no leader",
        ),
        (
            "",
            lambda: {"type": "MODIFIED", "object": None},
            "the API server sent an event of HTTPRoute llm/chat without an object",
        ),
    ],
)
async def test_watch_that_fails_each_time_is_told_and_the_object_read_at_each_need(
    verb: str, end: Callable[[], Json | Exception | None] | None, fault: str
) -> None:
    server = Server()
    server.faults = {verb: FORBIDDEN} if verb else {}
    server.ends, server.most_pauses = end, len(GROWING)
    async with watching_of(server) as watched:
        assert await watched.read() == state(5)
        await settled()
        assert (server.pauses, watched.fault) == (GROWING, fault)
        gets = server.calls["get"]
        for version in (6, 7):
            server.held = state(version)
            assert await watched.read() == state(version)
        assert server.calls["get"] == gets + 2


async def test_watch_that_has_lasted_begins_anew_at_once() -> None:
    server = Server()
    server.most_pauses = 3
    async with watching_of(server) as watched:
        await watched.read()
        for _ in range(2):
            server.now += 300.0
            await server.told(None)  # type: ignore[arg-type]
        assert server.pauses == [0.0, 0.0]
        server.now += 300.0
        await server.told(Unavailable("the connection was cut"))  # type: ignore[arg-type]
        assert server.pauses == [0.0, 0.0, 0.5]
        assert watched.fault == "the connection was cut"


async def test_failures_of_watches_that_have_lasted_do_not_add_up() -> None:
    server = Server()
    server.most_pauses = 4
    async with watching_of(server) as watched:
        await watched.read()
        for _ in range(4):
            server.now += 300.0
            await server.told(Unavailable("the connection was cut"))  # type: ignore[arg-type]
        assert server.pauses == [0.5, 0.5, 0.5, 0.5]


async def test_list_that_took_long_to_fail_is_a_failure() -> None:
    server = Server()
    server.most_pauses = 3

    def slow() -> None:
        server.now += 5.0
        raise Unavailable("no answer within 5 s")

    server.before_answer = slow
    async with watching_of(server) as watched:
        await watched.read()
        await settled()
        assert server.pauses == [0.5, 1.0, 2.0]


async def test_state_of_a_failed_watch_is_not_believed() -> None:
    server = Server()
    server.faults = {"watch": FORBIDDEN}
    async with watching_of(server) as watched:
        await watched.settle()
        server.held = state(6)
        assert await watched.read() == state(6)


async def test_watch_that_works_again_is_no_fault() -> None:
    server = Server()
    server.faults, server.most_pauses = {"watch": FORBIDDEN}, 2
    faults: list[str] = []

    def in_pause() -> None:
        faults.append(watched.fault)
        server.faults.clear()

    async with watching_of(server) as watched:
        server.in_pause = in_pause
        await watched.settle()
        await settled()
        assert (faults, watched.fault) == ([str(FORBIDDEN)], "")
        assert await watched.read() == state(5)
        assert server.calls["get"] == 0


async def test_next_attempt_hides_no_fault_before_its_watch_is_open() -> None:
    server = Server()
    server.faults, server.most_pauses = {"watch": FORBIDDEN}, 3
    faults = []
    server.before_answer = lambda: faults.append(watched.fault)
    server.before_watch = lambda: faults.append(watched.fault)
    async with watching_of(server) as watched:
        await watched.settle()
        await settled()
        assert server.calls == {"list": 3, "watch": 3}
        assert faults == ["", ""] + [str(FORBIDDEN)] * 4


async def test_list_that_hangs_does_not_hold_a_reader_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_S", 0.0)
    server = Server()
    async with watching_of(server) as watched:
        server.listed = lambda *_: asyncio.Event().wait()  # type: ignore[method-assign,assignment]
        assert await watched.read() == state(5)
        assert watched.fault == "the API server has not listed HTTPRoute llm/chat within 0 s"
        await watched.settle()


async def test_close_ends_the_watch_and_begins_no_other() -> None:
    server = Server()
    watched = server.watched()
    await watched.read()
    await watched.close()
    assert await watched.read() == state(5)
    await watched.settle()
    assert server.calls == {"list": 1, "watch": 1, "get": 1}


async def test_close_in_the_middle_of_the_first_list() -> None:
    server = Server()
    server.listed = lambda *_: asyncio.Event().wait()  # type: ignore[method-assign,assignment]
    watched = server.watched()
    reading = asyncio.create_task(watched.read())
    await settled()
    await watched.close()
    assert await reading == state(5)
