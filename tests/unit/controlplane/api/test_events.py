"""The event stream: through the whole app, and the hub on its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from controlplane.access.roles import Principal, Role
from controlplane.access.tokens import TokenStore
from controlplane.api import events
from controlplane.api.auth import SESSION_COOKIE
from controlplane.api.events import EventHub
from controlplane.errors import Unavailable
from controlplane.store.database import Database
from controlplane.store.revision import Revision, touch
from tests.patience import HANG_S
from tests.unit.controlplane.api.conftest import FakeClock


class Stream:
    """One open event stream, driven over ASGI: httpx's transport would wait for an end that never comes."""

    def __init__(self, app: FastAPI, headers: dict[str, str]) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._asked = False
        pairs = [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in headers.items())]
        path = "/cp/v1/events"
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": pairs,
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "root_path": "",
        }
        self._task = asyncio.create_task(app(scope, self._receive, self._messages.put))

    async def next(self) -> str:
        """Return the next chunk's text, or "" at the end."""
        async with asyncio.timeout(HANG_S):
            message = await self._messages.get()
        return str(message.get("body", b"").decode())

    async def start(self) -> dict[str, Any]:
        async with asyncio.timeout(HANG_S):
            return dict(await self._messages.get())

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(HANG_S):
            await self._task

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}


@asynccontextmanager
async def opened(rig: Any, app: FastAPI, **headers: str) -> AsyncIterator[Stream]:
    stream = Stream(app, {**rig.headers("viewer"), **{k.replace("_", "-"): v for k, v in headers.items()}})
    try:
        yield stream
    finally:
        await stream.leave()


def change(rig: Any, kind: str, ref: str = "") -> None:
    with rig.db.transaction() as session:
        touch(session, kind, ref)


@pytest.fixture
def app(rig: Any, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    built: FastAPI = rig.app()
    built.state.events = EventHub(rig.revisions, rig.gatekeeper, rig.clock, poll_s=0.01)
    return built


async def test_a_change_reaches_every_client(rig: Any, app: FastAPI) -> None:
    change(rig, "config")
    async with opened(rig, app) as first, opened(rig, app) as second:
        for stream in (first, second):
            head = await stream.start()
            assert head["status"] == 200
            assert dict(head["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
            assert await stream.next() == "retry: 2000\nid: 1\n\n"
        change(rig, "rollouts", "r1")
        for stream in (first, second):
            assert await stream.next() == ('event: rollouts\nid: 2\ndata: {"rev":2,"kind":"rollouts","ref":"r1"}\n\n')


async def test_a_client_resumes_where_it_was(rig: Any, app: FastAPI) -> None:
    for number in range(3):
        change(rig, "alerts", str(number))
    async with opened(rig, app, Last_Event_ID="1") as stream:
        await stream.start()
        assert await stream.next() == "retry: 2000\nid: 1\n\n"
        assert [(await stream.next()).splitlines()[1] for _ in range(2)] == ["id: 2", "id: 3"]
        change(rig, "alerts", "3")
        assert (await stream.next()).splitlines()[1] == "id: 4"


@pytest.mark.parametrize("last", ["99", "no-number", "9" * 18])
async def test_a_client_from_elsewhere_is_told_to_read_anew(rig: Any, app: FastAPI, last: str) -> None:
    for _ in range(3):
        change(rig, "alerts")
    rig.revisions.prune(1)
    async with opened(rig, app, Last_Event_ID=last) as stream:
        await stream.start()
        await stream.next()
        assert (await stream.next()).splitlines()[:2] == ["event: resync", "id: 3"]
        change(rig, "models")
        assert (await stream.next()).splitlines()[:2] == ["event: models", "id: 4"]


async def test_an_idle_stream_beats(rig: Any, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    async with opened(rig, app) as stream:
        await stream.start()
        await stream.next()
        assert await stream.next() == ": heartbeat\n\n"


async def test_a_stream_ends_so_that_its_token_is_checked_again(
    rig: Any, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_STREAM_S", 0.0)
    async with opened(rig, app) as stream:
        await stream.start()
        await stream.next()
        assert await stream.next() == ""
    assert app.state.events.clients == 0


async def test_closing_the_hub_ends_every_stream_and_takes_no_more(rig: Any, app: FastAPI) -> None:
    async with opened(rig, app) as stream:
        await stream.start()
        await stream.next()
        app.state.events.close()
        while await stream.next():
            pass
    async with rig.client(app=app) as client:
        assert (await client.get("/cp/v1/events")).status_code == 503


async def test_a_client_that_left_is_forgotten_and_the_poller_rests(rig: Any, app: FastAPI) -> None:
    async with opened(rig, app) as stream:
        await stream.start()
        assert app.state.events.clients == 1
    assert app.state.events.clients == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "event poller" and not task.cancelling()]


async def read_on(stream: Stream) -> list[str]:
    """Return the kinds of event that come until the stream ends."""
    kinds = []
    while chunk := await stream.next():
        kinds += [line.removeprefix("event: ") for line in chunk.splitlines() if line.startswith("event: ")]
    return kinds


async def test_a_stream_ends_when_its_token_is_revoked_elsewhere_and_tells_nothing_more(rig: Any, app: FastAPI) -> None:
    token_id = rig.role_tokens["viewer"].split("_")[1]
    elsewhere = TokenStore(Database(str(rig.db.engine.url)))
    async with opened(rig, app) as stream, opened(rig, app, **rig.headers("operator")) as other:
        for each in (stream, other):
            await each.start()
            await each.next()
        elsewhere.revoke(token_id, rig.clock.time)
        change(rig, "alerts", "told to the other alone")
        assert await read_on(stream) == []
        assert (await other.next()).startswith("event: alerts")


async def test_a_stream_ends_when_its_token_expires(rig: Any, app: FastAPI) -> None:
    _, text = rig.tokens.create("short", Role.VIEWER, rig.clock.time + 60, rig.clock.time)
    async with opened(rig, app, Authorization=f"Bearer {text}") as stream:
        await stream.start()
        await stream.next()
        rig.clock.time += 60
        assert await read_on(stream) == []


async def test_a_stream_ends_with_its_session(rig: Any, app: FastAPI) -> None:
    principal = rig.tokens.authenticate(rig.role_tokens["viewer"], rig.clock.time)
    cookies = [rig.sessions.open(principal, rig.clock.time) for _ in range(2)]
    first, second = (Stream(app, {"cookie": f"{SESSION_COOKIE}={cookie}"}) for cookie in cookies)
    for stream in (first, second):
        await stream.start()
        await stream.next()
    rig.sessions.close(cookies[0])
    assert await read_on(first) == []
    change(rig, "models")
    assert (await second.next()).startswith("event: models")
    await first.leave()
    await second.leave()


async def test_who_may_listen_is_asked_more_than_once_a_second() -> None:
    assert events.POLL_S <= 0.5


async def test_nothing_is_told_while_nobody_can_say_who_may_hear_it(rig: Any, app: FastAPI) -> None:
    asked = asyncio.Event()

    async def away(principals: set[Principal], now: float) -> set[Principal]:
        asked.set()
        raise Unavailable("the database is away")

    over, rig.gatekeeper.over = rig.gatekeeper.over, away
    async with opened(rig, app) as stream:
        await stream.start()
        await stream.next()
        change(rig, "alerts")
        async with asyncio.timeout(HANG_S):
            await asked.wait()
        rig.gatekeeper.over = over
        assert (await stream.next()).splitlines()[1] == "id: 1"


async def test_head_says_what_get_would_and_holds_no_stream(rig: Any, app: FastAPI) -> None:
    async with rig.client(app=app) as client:
        answer = await client.head("/cp/v1/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert app.state.events.clients == 0


class FakeRevisions:
    def __init__(self) -> None:
        self.log: list[Revision] = []
        self.broken = False
        self.failed = threading.Event()

    def add(self, count: int) -> None:
        start = len(self.log) + 1
        self.log = self.log + [Revision(start + i, "alerts", "", 0.0) for i in range(count)]

    def since(self, rev: int, limit: int = 1000) -> list[Revision]:
        if self.broken:
            self.failed.set()
            raise Unavailable("the database is away")
        return [r for r in self.log if r.id > rev][:limit]

    def latest(self) -> int:
        return self.log[-1].id if self.log else 0

    def oldest(self) -> int:
        return self.log[0].id if self.log else 0


class LetsIn:
    """Nobody's token ends."""

    async def over(self, principals: set[Principal], now: float) -> set[Principal]:
        return set()


ANYBODY = Principal("ann", Role.VIEWER, "0123456789ab")


def hub_of(revisions: Any, **options: Any) -> EventHub:
    lets_in: Any = LetsIn()
    return EventHub(revisions, lets_in, FakeClock(), **options)


@pytest.fixture
def revisions() -> FakeRevisions:
    return FakeRevisions()


async def test_a_slow_client_costs_a_bounded_queue_and_is_told_to_resync(
    revisions: FakeRevisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUEUE", 4)
    hub = hub_of(revisions, poll_s=0.0)
    slow = await hub.subscribe(ANYBODY)
    for number in range(1, 11):
        slow.offer(Revision(number, "alerts", "", 0.0))
    kept = await slow.take(1.0)
    assert kept is not None
    assert [(r.id, r.kind) for r in kept] == [(9, "resync"), (10, "alerts")]
    hub.close()


async def test_too_many_missed_events_are_one_resync(revisions: FakeRevisions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUEUE", 4)
    hub = hub_of(revisions)
    revisions.add(10)
    assert [r.id for r in await hub.missed(6, 10)] == [7, 8, 9, 10]
    assert await hub.missed(5, 10) == [Revision(10, "resync", "", 0.0)]
    assert await hub.missed(10, 10) == []


async def test_a_client_that_another_process_served_further_waits_for_what_it_has_not_seen(
    revisions: FakeRevisions,
) -> None:
    hub = hub_of(revisions)
    revisions.add(8)
    assert await hub.missed(8, 6) == []


async def test_one_poller_serves_all_clients_and_survives_the_database(revisions: FakeRevisions) -> None:
    hub = hub_of(revisions, poll_s=0.001)
    first, second = await hub.subscribe(ANYBODY), await hub.subscribe(ANYBODY)
    revisions.broken = True
    assert await asyncio.to_thread(revisions.failed.wait, HANG_S)
    revisions.broken = False
    revisions.add(3)
    for subscription in (first, second):
        assert [r.id for r in await subscription.take(HANG_S) or ()] == [1, 2, 3]
    hub.unsubscribe(first)
    hub.unsubscribe(second)


async def test_clients_are_limited(revisions: FakeRevisions) -> None:
    hub = hub_of(revisions, max_clients=1)
    held = await hub.subscribe(ANYBODY)
    with pytest.raises(Unavailable, match="has 1 event streams open already"):
        await hub.subscribe(ANYBODY)
    hub.unsubscribe(held)
    again = await hub.subscribe(ANYBODY)
    hub.unsubscribe(again)


def of_session(session: str, token: str = "0123456789ab") -> Principal:
    return Principal("ann", Role.VIEWER, token, session)


async def test_the_tabs_of_one_session_leave_places_for_others(revisions: FakeRevisions) -> None:
    hub = hub_of(revisions, max_of_session=2)
    first = await hub.subscribe(of_session("laptop"))
    await hub.subscribe(of_session("laptop"))
    with pytest.raises(Unavailable, match=r"this session of token ann has 2 event streams open already.*close pages"):
        await hub.subscribe(of_session("laptop"))
    await hub.subscribe(of_session("phone"))
    await hub.subscribe(ANYBODY)
    await hub.subscribe(ANYBODY)
    with pytest.raises(Unavailable, match=r"^token ann has 2 event streams open already"):
        await hub.subscribe(ANYBODY)
    hub.unsubscribe(first)
    await hub.subscribe(of_session("laptop"))
    assert hub.clients == 5
    hub.close()


async def test_the_sessions_of_one_token_leave_places_for_other_tokens(revisions: FakeRevisions) -> None:
    hub = hub_of(revisions, max_of_token=2)
    for session in ("one", "two"):
        await hub.subscribe(of_session(session))
    with pytest.raises(Unavailable, match="token ann has 2 event streams open already with all its sessions"):
        await hub.subscribe(of_session("three"))
    await hub.subscribe(of_session("one", token="ba9876543210"))
    assert hub.clients == 3
    hub.close()


def test_one_token_never_has_all_streams() -> None:
    assert events.MAX_OF_SESSION < events.MAX_OF_TOKEN <= events.MAX_CLIENTS // 2
