"""Bodies: a stranger's is never read, everybody else's is bounded, one by one and together."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from controlplane.access.roles import Role
from controlplane.api.auth import FORM_BYTES, GuardedRoute, include, public, requires, takes_body
from controlplane.api.bodies import MAX_BODY_BYTES, BodyBudget
from controlplane.errors import Unavailable
from tests.patience import HANG_S
from tests.unit.controlplane.api.test_access_table import PATH_VALUES, TABLE

MIB = 2**20


class Sender:
    """One request, driven over ASGI, whose body comes when the test says so."""

    def __init__(self, app: FastAPI, method: str, path: str, headers: dict[str, str]) -> None:
        self.asked, self.status = 0, 0
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()
        self._wanted = asyncio.Event()
        pairs = [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in headers.items())]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": pairs,
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "root_path": "",
            "client": ("10.0.0.1", 5000),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    def send(self, body: bytes, *, more: bool) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def wanted(self) -> None:
        """Wait until the application asks for what was not sent yet."""
        async with asyncio.timeout(HANG_S):
            await self._wanted.wait()

    async def answered(self) -> int:
        async with asyncio.timeout(HANG_S):
            await self.task
        return self.status

    async def _receive(self) -> Any:
        self.asked += 1
        if self._pieces.empty():
            self._wanted.set()
        return await self._pieces.get()

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


SIGNED = "/api/v1/slack/interactions"
STRANGERS = [{}, {"Authorization": "Bearer cp_0123456789ab_" + "0" * 64}, {"Cookie": "cp_session=made-up"}]


@pytest.mark.parametrize("headers", STRANGERS, ids=["nothing", "token", "cookie"])
async def test_a_strangers_body_is_read_on_no_route_and_beside_them(rig: Any, headers: dict[str, str]) -> None:
    app = rig.app()
    routes = [(method, path.format(**PATH_VALUES)) for method, path in TABLE]
    beside = [("POST", "/nothing"), ("PUT", "/cp/v1/fleet"), ("POST", "/healthz"), ("PROPFIND", "/cp/v1/rollouts")]
    for method, path in [*routes, *beside]:
        sender = Sender(app, method, path, {**headers, "Content-Length": str(MIB), "Content-Type": "application/json"})
        if path in ("/healthz", "/readyz", "/-/healthy", "/-/ready"):
            assert await sender.answered() == (200 if method == "GET" else 405)
        elif path == SIGNED:
            # Slack's signature stands for a token, and the fleet of this test has no `slack:`.
            assert await sender.answered() == 404
        else:
            # A token that was guessed so often is not looked up any more.
            assert await sender.answered() in ((401, 429) if "Authorization" in headers else (401,)), (method, path)
        assert sender.asked == 0, (method, path)


async def test_a_role_that_is_not_enough_is_told_before_the_body_is_read(rig: Any) -> None:
    sender = Sender(rig.app(), "POST", "/cp/v1/rollouts", {**rig.headers("viewer"), "Content-Length": str(MIB)})
    assert await sender.answered() == 403
    assert sender.asked == 0


async def test_a_body_that_nobody_needs_is_not_read(rig: Any) -> None:
    sender = Sender(rig.app(), "GET", "/cp/v1/fleet", {**rig.headers("viewer"), "Content-Length": str(MIB)})
    assert await sender.answered() == 200
    assert sender.asked == 0


async def test_all_bodies_together_are_bounded_and_given_back(rig: Any) -> None:
    app = rig.app()
    app.state.bodies = BodyBudget(total=2 * MIB, of_sender=2 * MIB)

    def post() -> Sender:
        return Sender(app, "POST", "/api/v1/query", rig.headers("viewer"))

    slow = []
    for _ in range(2):
        slow.append(post())
        slow[-1].send(b"query=" + b"1" * (MIB - 6), more=True)
        await slow[-1].wanted()
    first, second = slow
    assert app.state.bodies.held == 2 * MIB
    third = post()
    third.send(b"query=1", more=False)
    assert await third.answered() == 503
    first.send(b"", more=False)
    assert await first.answered() in (200, 400)
    again = post()
    again.send(b"query=1", more=False)
    assert await again.answered() in (200, 400)
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    assert app.state.bodies.held == 0


async def test_one_sender_cannot_take_what_the_others_need(rig: Any) -> None:
    app = rig.app()
    app.state.bodies = BodyBudget(total=4 * MIB, of_sender=MIB)
    slow = Sender(app, "POST", "/api/v1/query", rig.headers("viewer"))
    slow.send(b"query=" + b"1" * (MIB - 6), more=True)
    await slow.wanted()
    async with rig.client(Role.VIEWER, app) as same, rig.client(Role.OPERATOR, app) as other:
        refused = await same.post("/api/v1/query", data={"query": "1"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (await other.post("/api/v1/query", data={"query": "1"})).status_code == 200
    slow.task.cancel()
    await asyncio.gather(slow.task, return_exceptions=True)


def test_what_is_refused_is_not_held() -> None:
    budget = BodyBudget(total=10, of_sender=6)
    with budget.of("a") as mine, budget.of("b") as others:
        mine(6)
        with pytest.raises(Unavailable, match="this sender"):
            mine(1)
        others(4)
        with pytest.raises(Unavailable, match="other requests"):
            others(1)
        assert budget.held == 10
    assert budget.held == 0


def test_a_public_route_cannot_take_large_bodies(rig: Any) -> None:
    router = APIRouter(route_class=GuardedRoute)

    with pytest.raises(TypeError, match="accepts a body of more than 4096 bytes"):

        @router.post("/large")
        @public
        @takes_body(FORM_BYTES + 1)
        def large() -> None: ...


async def test_a_route_may_declare_a_smaller_body(rig: Any) -> None:
    app, router = rig.app(), APIRouter(route_class=GuardedRoute)

    @router.post("/small")
    @requires(Role.VIEWER)
    @takes_body(4)
    async def small(request: Request) -> int:
        return len(await request.body())

    include(app, router)
    async with rig.client(Role.VIEWER, app) as client:
        assert (await client.post("/small", content=b"1234")).text == "4"
        assert (await client.post("/small", content=b"12345")).status_code == 413


async def test_the_largest_body_is_taken(operator: httpx.AsyncClient) -> None:
    body = b'{"model": "chat", "version": "v2", "dry_run": true}'.ljust(MAX_BODY_BYTES)
    answer = await operator.post("/cp/v1/rollouts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
