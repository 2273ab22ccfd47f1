"""Calls of the API server: their deadlines and bounds, and what a lost or broken answer says about a write."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import NotSent
from controlplane.traffic.kubernetes.cluster import MAX_BODY_BYTES, Cluster
from controlplane.traffic.kubernetes.refusals import Changed
from controlplane.traffic.kubernetes.resource import http_route
from tests.fakes.kubernetes import ApiServer
from tests.fakes.kubernetes.rbac import User
from tests.unit.controlplane.traffic.kubernetes.accounts import (
    SECRET,
    kubeconfig,
    no_secret_is_logged,  # noqa: F401 - a fixture of every test
)

Json = dict[str, Any]
ROUTE = http_route("llm", "chat")
PATH = "*/httproutes/chat"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def strict(folder: Path) -> AsyncIterator[tuple[ApiServer, Cluster]]:
    """Yield the strict API server with a route, and a client whose token is SECRET."""
    async with ApiServer(namespaces=("llm",)) as api:
        spec = {"rules": [{"backendRefs": [{"name": "chat-v1", "port": 8000}]}]}
        metadata = {"name": "chat", "namespace": "llm"}
        api.put({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
        api.access.token(User("driver", admin=True), token=SECRET)
        cluster = Cluster(kubeconfig(folder, {"token": SECRET}, api.url), None)
        try:
            yield api, cluster
        finally:
            await cluster.close()


@contextlib.asynccontextmanager
async def broken(folder: Path, handler: Handler, timeout_s: float = 5.0) -> AsyncIterator[tuple[str, Cluster]]:
    """Yield the address of a server that answers every request with `handler`, and its client."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        address = str(server.make_url("")).rstrip("/")
        cluster = Cluster(kubeconfig(folder, {"token": SECRET}, address), None, timeout_s=timeout_s)
        try:
            yield address, cluster
        finally:
            await cluster.close()


async def fault(call: Awaitable[object]) -> tuple[type[ControlPlaneError], str]:
    with pytest.raises(ControlPlaneError) as caught:
        await call
    assert SECRET not in str(caught.value)
    return type(caught.value), str(caught.value)


def labelled(api: ApiServer) -> Json:
    found = api.get("gateway.networking.k8s.io/v1", "HTTPRoute", "chat", "llm")
    assert found is not None
    labels: Json = found["metadata"].get("labels", {})
    return labels


LABEL = {"metadata": {"labels": {"a": "b"}}}


@pytest.mark.parametrize("done", [True, False])
async def test_patch_that_is_cut_may_have_been_done(done: bool, tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        api.faults.close("patch", PATH, done=done)
        assert await fault(cluster.patch(ROUTE, LABEL)) == (
            Unavailable,
            f"the API server {api.url} did not answer patch of HTTPRoute llm/chat: Server disconnected",
        )
        assert labelled(api) == ({"a": "b"} if done else {})
        assert [verb for verb, _, _ in api.requests] == ["patch"]


async def test_patch_whose_time_is_over_may_have_been_done(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        api.faults.hang("patch", PATH, done=True)
        assert await fault(cluster.patch(ROUTE, LABEL)) == (
            Unavailable,
            "the API server could not patch HTTPRoute llm/chat (504): Timeout: request did not complete within "
            "requested timeout - context deadline exceeded",
        )
        assert labelled(api) == {"a": "b"}


async def test_dry_run_stores_nothing(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        shown = await cluster.patch(ROUTE, LABEL, dry_run=True)
        assert (shown["metadata"]["labels"], labelled(api)) == ({"a": "b"}, {})


async def test_patch_of_an_older_version_is_no_write(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        locked = {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}
        assert (await fault(cluster.patch(ROUTE, locked)))[0] is Changed
        assert labelled(api) == {}


async def test_unknown_field_is_refused_and_not_dropped(tmp_path: Path) -> None:
    async with strict(tmp_path) as (_, cluster):
        _, words = await fault(cluster.patch(ROUTE, {"spec": {"rulez": []}}))
        assert words.endswith('strict decoding error: unknown field "spec.rulez"')


async def test_too_many_requests_are_not_sent_again_by_itself(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        api.faults.throttle("patch", PATH)
        assert await fault(cluster.patch(ROUTE, LABEL)) == (
            NotSent,
            "the API server has too many requests and did not patch HTTPRoute llm/chat: Too many requests, please try "
            "again later.",
        )
        assert len(api.requests) == 1
        await cluster.patch(ROUTE, LABEL)
        assert labelled(api) == {"a": "b"}


async def test_server_that_is_gone(tmp_path: Path) -> None:
    cluster = Cluster(kubeconfig(tmp_path, {"token": SECRET}), None)
    kind, words = await fault(cluster.patch(ROUTE, LABEL))
    assert kind is NotSent
    assert words == "the API server http://127.0.0.1:1 did not answer patch of HTTPRoute llm/chat: connection refused"
    await cluster.close()


async def test_netrc_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login driver password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    cluster = Cluster(kubeconfig(tmp_path, {"token": SECRET}), None)
    assert await fault(cluster.get(ROUTE)) == (
        NotSent,
        "the API server cannot be asked to get HTTPRoute llm/chat: Cannot combine AUTHORIZATION header with AUTH "
        "argument or credentials encoded in URL",
    )
    await cluster.close()


async def test_server_that_hangs(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with broken(tmp_path, hang, timeout_s=0.2) as (address, cluster):
        assert await fault(cluster.patch(ROUTE, LABEL)) == (
            Unavailable,
            f"the API server {address} did not answer patch of HTTPRoute llm/chat within 0.2 s",
        )
        over.set()


async def test_answer_that_drips_has_the_same_deadline(tmp_path: Path) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await answer.write(b" ")
                await asyncio.sleep(0.01)
        return answer

    async with broken(tmp_path, drip, timeout_s=0.2) as (address, cluster):
        assert await fault(cluster.get(ROUTE)) == (
            Unavailable,
            f"the API server {address} did not answer get of HTTPRoute llm/chat within 0.2 s",
        )


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[]", "", '"text"', "[" * 100_000])
async def test_answer_that_is_no_object(body: str, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with broken(tmp_path, answer) as (_, cluster):
        assert await fault(cluster.get(ROUTE)) == (
            Unavailable,
            "the API server answered get of HTTPRoute llm/chat with no JSON object",
        )


async def test_answer_that_is_too_long(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b" " * (MAX_BODY_BYTES + 1))

    async with broken(tmp_path, answer) as (_, cluster):
        assert await fault(cluster.get(ROUTE)) == (
            Unavailable,
            "the API server answered more than 8388608 bytes",
        )


async def test_object_of_the_largest_size_is_read_and_watched(tmp_path: Path) -> None:
    large = {"metadata": {"name": "chat", "annotations": {"note": "x" * 1_500_000}}}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"type": "ADDED", "object": large} if "watch" in request.query else large)

    async with broken(tmp_path, answer) as (_, cluster):
        assert await cluster.get(ROUTE) == large
    assert await watched(tmp_path, json.dumps({"object": large}).encode() + b"\n") == [{"object": large}]


async def watched(folder: Path, *parts: bytes, into: list[Json] | None = None) -> list[Json]:
    """Return the lines of a watch that a server sends in these parts."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                await response.write(part)
                await asyncio.sleep(0)
        return response

    found: list[Json] = [] if into is None else into
    async with broken(folder, answer) as (_, cluster), cluster.watch(ROUTE, {}, 5.0) as lines:
        async for line in lines:
            found.append(line)
    return found


async def test_lines_may_come_in_any_parts(tmp_path: Path) -> None:
    assert await watched(tmp_path, b'{"a"', b": 1}\n\n{}", b"\n", b'{"b": "\xc3', b'\xa4"}\n{"cut": ') == [
        {"a": 1},
        {},
        {"b": "ä"},
    ]


@pytest.mark.parametrize("line", [b"<html>\n", b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
async def test_line_that_is_no_event(line: bytes, tmp_path: Path) -> None:
    found: list[Json] = []
    assert await fault(watched(tmp_path, b'{"a": 1}\n', line, into=found)) == (
        Unavailable,
        "the API server sent a line that is no event of a watch",
    )
    assert found == [{"a": 1}]


async def test_line_that_is_too_long(tmp_path: Path) -> None:
    part = b"x" * (MAX_BODY_BYTES // 2 + 1)
    assert await fault(watched(tmp_path, part, part)) == (
        Unavailable,
        "the API server sent an event of more than 8388608 bytes",
    )


async def test_watch_that_is_silent(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):

        async def silent() -> None:
            async with cluster.watch(ROUTE, {"resourceVersion": str(api.store.version)}, 0.2) as lines:
                async for _ in lines:
                    pass

        assert await fault(silent()) == (
            Unavailable,
            f"the API server {api.url} did not answer watch of HTTPRoute llm/chat within 0.2 s",
        )


async def test_redirect_to_another_server_does_not_get_the_token(tmp_path: Path) -> None:
    headers: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        headers.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with broken(tmp_path, elsewhere) as (address, _):
        target = address.replace("127.0.0.1", "localhost")

        async def away(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == f"Bearer {SECRET}"
            raise web.HTTPTemporaryRedirect(target)

        async with broken(tmp_path, away) as (_, cluster):
            await cluster.get(ROUTE)
    assert headers == [None]


async def test_closed_client_asks_nothing(tmp_path: Path) -> None:
    async with strict(tmp_path) as (api, cluster):
        await cluster.get(ROUTE)
        await cluster.close()
        assert await fault(cluster.get(ROUTE)) == (
            NotSent,
            "the API server was not asked: the configuration has just changed",
        )
        assert len(api.requests) == 1


async def test_close_in_the_middle_of_a_call(tmp_path: Path) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        begun.set()
        await over.wait()
        return web.json_response({})

    async with broken(tmp_path, hang) as (_, cluster):
        task = asyncio.create_task(cluster.patch(ROUTE, LABEL))
        await begun.wait()
        await cluster.close()
        kind, _ = await fault(task)
        assert kind is Unavailable
        over.set()
