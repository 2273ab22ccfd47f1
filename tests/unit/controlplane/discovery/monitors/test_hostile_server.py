"""Monitors of an API server that hangs, floods, refuses, forgets, or answers with something else.

The server is on a socket. In each case the monitors that were read stay, the fault says why, and both end with it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.operator_sd import OperatorSd
from controlplane.discovery.kubernetes import collection, reaching
from controlplane.discovery.monitors import following
from controlplane.traffic.kubernetes import cluster
from tests.fakes.monitors import pod_monitor
from tests.patience import until
from tests.unit.controlplane.discovery.monitors.test_following import followed, names
from tests.unit.controlplane.discovery.test_following import Quick

Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Hostile:
    """An API server with one PodMonitor. `on_list`, `on_watch` and `on_secret` replace its good answers."""

    def __init__(self) -> None:
        self.on_list: Answers | None = None
        self.on_watch: Answers | None = None
        self.on_secret: Answers | None = None
        self.asked: list[str] = []
        self.good = pod_monitor("p", "a")
        self._ended = asyncio.Event()

    def change(self, on_list: Answers | None, on_watch: Answers | None, on_secret: Answers | None = None) -> None:
        """Answer otherwise from now on. Open watches end."""
        self.on_list, self.on_watch, self.on_secret = on_list, on_watch, on_secret
        ended, self._ended = self._ended, asyncio.Event()
        ended.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        kind = "secret" if "/secrets/" in request.path else "watch" if "watch" in request.query else "list"
        self.asked.append(kind)
        special = {"secret": self.on_secret, "watch": self.on_watch, "list": self.on_list}[kind]
        if special is not None:
            return await special(request)
        if kind == "secret":
            return web.json_response({"kind": "Secret", "data": {"token": base64.b64encode(b"t0p").decode()}})
        if kind == "list":
            return web.json_response(page(self.good))
        response = await opened(request)
        await self._ended.wait()
        return response


def page(*items: dict[str, Any], version: str = "7", rest: str = "") -> dict[str, Any]:
    return {"kind": "PodMonitorList", "metadata": {"resourceVersion": version, "continue": rest}, "items": list(items)}


async def opened(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


@asynccontextmanager
async def serving(hostile: Hostile) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hostile.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def read(hostile: Hostile) -> AsyncIterator[Quick]:
    """Follow the monitors of a server. The good one has been read."""
    async with serving(hostile) as url:
        sd = OperatorSd(KubernetesSd(Role.POD, api_server=url), ("podmonitors",))
        async with followed(sd) as heard:
            await until(lambda: "watch" in hostile.asked and names(heard).get("podmonitors") == ["a/p"])
            assert isinstance(heard, Quick)
            yield heard


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "CALL_S", 0.2)
    monkeypatch.setattr(collection, "SILENCE_S", 0.2)


def answering(status: int, body: object) -> Answers:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")

    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def silent(request: web.Request) -> web.StreamResponse:
    await opened(request)
    return await hang(request)


async def flood(request: web.Request) -> web.StreamResponse:
    """Write without an end and without a line's end."""
    response = await opened(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b"{" + b" " * 2**20)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    response = await opened(request)
    await response.write(b'{"type": "ADD')
    assert request.transport is not None
    request.transport.abort()
    return response


def status(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": f"it is {reason}"}


NO_LIST = "answered list of PodMonitors of the whole cluster with something that is no list"
CASES: dict[str, tuple[Answers | None, Answers | None, str]] = {
    "hang": (hang, hang, "within 0.2 s"),
    "silent watch": (None, silent, "within 0.2 s"),
    "flood of a list": (flood, answering(410, status(410, "Expired")), "more than 65536 bytes"),
    "flood of a watch": (None, flood, "an event of more than 65536 bytes"),
    "cut watch": (None, cut, "did not answer watch"),
    "forgotten for ever": (answering(410, status(410, "Expired")),) * 2 + ("",),
    "too many requests": (answering(429, "slow down"), answering(429, "slow down"), "too many requests"),
    "broken": (answering(500, status(500, "Broken")), answering(500, status(500, "Broken")), "it is Broken"),
    "garbage": (answering(200, "<html>"), answering(410, "gone"), "with no JSON object"),
    "another JSON": (answering(200, {"status": "ok"}), answering(410, "gone"), NO_LIST),
    "a list of no list": (answering(200, page() | {"items": {}}), answering(410, "gone"), NO_LIST),
    "one without a name": (
        answering(200, page({"metadata": {}})), answering(410, "gone"), "without a name"),
    "garbage in a watch": (None, answering(200, "<html>\n"), "no event of a watch"),
    "an event without an object": (None, answering(200, '{"type": "ADDED"}\n'), "without an object"),
    "refused": (answering(403, status(403, "Forbidden")), answering(403, status(403, "Forbidden")), "it is Forbidden"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_the_monitors_stay_and_the_fault_says_why(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MAX_BODY_BYTES", 2**16)
    on_list, on_watch, why = CASES[case]
    hostile = Hostile()
    async with read(hostile) as heard:
        hostile.change(on_list, on_watch)
        hostile.asked.clear()
        await until(lambda: heard.error if why else hostile.asked.count("list") > 3)
        await until(lambda: why in heard.error)
        assert names(heard) == {"podmonitors": ["a/p"]}
        hostile.good = pod_monitor("q", "a")
        hostile.change(None, None)
        hostile.on_watch = answering(410, "gone")  # so that it is listed anew
        await until(lambda: names(heard) == {"podmonitors": ["a/q"]})
        hostile.change(None, None)
        await until(lambda: not heard.error)


async def test_a_list_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MAX_PAGES", 20)
    hostile = Hostile()
    async with read(hostile) as heard:
        hostile.change(answering(200, page(hostile.good, rest="more")), answering(410, "gone"))
        await until(lambda: "sent 20 pages of a list without an end" in heard.error)
        assert names(heard) == {"podmonitors": ["a/p"]}


@pytest.mark.parametrize("by", ["list", "watch"])
async def test_objects_of_too_many_bytes_are_refused(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MAX_BYTES", 2**20)
    large = [pod_monitor(f"n{number}", "a", text="x" * 2**18) for number in range(9)]
    events = [
        json.dumps({"type": "ADDED", "object": each | {"metadata": {**each["metadata"], "resourceVersion": f"{at}"}}})
        for at, each in enumerate(large, start=8)
    ]
    hostile = Hostile()
    async with read(hostile) as heard:
        hostile.good = pod_monitor("q", "a")
        if by == "list":
            hostile.change(answering(200, page(*large)), answering(410, "gone"))
        else:
            hostile.change(None, answering(200, "\n".join([*events, ""])))
        await until(lambda: "objects of more than 1048576 bytes; choose fewer" in heard.error)
        assert len(names(heard)["podmonitors"]) < 5


async def test_a_flood_takes_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = Hostile()
    async with read(hostile) as heard:
        tracemalloc.start()
        try:
            hostile.change(None, flood)
            await until(lambda: "an event of more than" in heard.error)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 6 * cluster.MAX_BODY_BYTES


async def test_a_secret_that_was_read_stays_while_the_server_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SECRETS_S", 0.02)
    hostile = Hostile()
    hostile.good = pod_monitor("p", "a", podMetricsEndpoints=[{"bearerTokenSecret": {"name": "keys", "key": "token"}}])
    async with read(hostile) as heard:
        (good,) = heard.objects["secrets"]
        for answer, why in (
            (answering(500, status(500, "Broken")), "could not get Secret"),
            (hang, "within 0.2 s"),
            (answering(429, "slow"), "too many requests"),
        ):
            hostile.on_secret = answer
            await until(lambda why=why: why in heard.error)  # type: ignore[misc]
            assert heard.objects["secrets"] == (good,)
        hostile.on_secret = answering(403, status(403, "Forbidden"))
        await until(lambda: "it is Forbidden" in str(heard.objects["secrets"]))
        hostile.on_secret = None
        await until(lambda: heard.objects["secrets"] == (good,) and not heard.error)


@pytest.mark.parametrize("depth", [300, 700, 900, 950, 980, 3000])
async def test_objects_that_are_nested_deeply_end_no_task(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    hostile = Hostile()
    async with read(hostile) as heard:
        text = json.dumps(page(pod_monitor("deep", "a", deep="DEEP"))).replace('"DEEP"', nested)
        hostile.change(answering(200, text), answering(410, "gone"))
        await until(lambda: heard.error or names(heard) == {"podmonitors": ["a/deep"]})
        changed = text.replace('"deep":', '"deeper": 1, "deep":')
        hostile.change(answering(200, changed), answering(410, "gone"))  # both are compared
        asked = len(hostile.asked)
        await until(lambda: len(hostile.asked) > asked + 4)
        hostile.change(None, None)
        hostile.on_watch = answering(410, "gone")
        await until(lambda: names(heard) == {"podmonitors": ["a/p"]})
        hostile.change(None, None)
        await until(lambda: not heard.error)


async def test_many_secrets_of_a_server_that_hangs_hold_no_monitor_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "READ_S", 0.1)
    hostile = Hostile()
    hostile.on_secret = hang
    hostile.good = pod_monitor(
        "p", "a", podMetricsEndpoints=[{"bearerTokenSecret": {"name": f"s{n}", "key": "token"}} for n in range(99)]
    )
    async with read(hostile) as heard:
        assert hostile.asked.count("secret") <= 2 * following.AT_ONCE  # and not 99, of 0.2 s each
        faults = [each["fault"] for each in heard.objects["secrets"]]
        assert len(faults) == 99
        assert faults.count("the API server did not answer for all Secrets within 0.1 s") >= 91
