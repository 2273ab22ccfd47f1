"""The server: HTTP/1.1 on loopback, and what a test does to it."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict

from tests.fakes.kubernetes.bodies import LARGEST, Options
from tests.fakes.kubernetes.cluster import Cluster
from tests.fakes.kubernetes.discovery import discovered
from tests.fakes.kubernetes.errors import ApiError, TextError
from tests.fakes.kubernetes.faults import Change, Closed, Fault, Faults, Hung, Intrusion
from tests.fakes.kubernetes.kinds import kind_named
from tests.fakes.kubernetes.paths import Target, parse
from tests.fakes.kubernetes.rbac import Access, Rule, User
from tests.fakes.kubernetes.resources import Answer, Resources
from tests.fakes.kubernetes.reviews import reviewed
from tests.fakes.kubernetes.serving import Desk, Request
from tests.fakes.kubernetes.store import Given, Key, Store
from tests.fakes.kubernetes.watching import Watch

Json = dict[str, Any]


class ApiServer:
    """A Kubernetes API server. `async with ApiServer() as api` serves it at `api.url`.

    The namespaces named at the start exist from the start. `requests` holds the verb, path and user of each request.
    """

    def __init__(self, namespaces: Iterable[str] = ("default",), tls: ssl.SSLContext | None = None) -> None:
        """`tls` None: HTTP without it."""
        self.store, self.given, self.access = Store(), Given(), Access()
        self.resources = Resources(self.store, self.given)
        self.faults = Faults(self.store)
        self.cluster = Cluster(self.resources)
        self.requests: list[tuple[str, str, str]] = []
        self._desk = Desk(self.resources, self.access)
        self._runner: web.AppRunner | None = None
        self._port, self._tls = 0, tls
        self._up = False
        self._open: list[web.Request] = []
        for name in namespaces:
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(kill=True)

    @property
    def url(self) -> str:
        """The base URL, for example "http://127.0.0.1:40123"."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def token(self, rules: Iterable[Rule] | None = None, user: str = "driver") -> str:
        """Return a new bearer token of a user with these rules. Without rules the user may do everything."""
        return self.access.token(User(user, admin=rules is None), rules or ())

    async def start(self) -> None:
        """Listen, on the same port as before."""
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener, ssl_context=self._tls).start()
        self._up = True

    async def stop(self, *, kill: bool = False) -> None:
        """Refuse connections. Open watches live on to their own end, unless the server is killed."""
        self._up = False
        if self._runner is None:
            return
        if not kill:
            for site in list(self._runner.sites):
                await site.stop()
            return
        self.cut()
        await self._runner.cleanup()
        self._runner = None

    def cut(self) -> None:
        """Cut every open connection in the middle: a watch ends with an incomplete chunked read."""
        for request in self._open:
            if request.transport is not None:
                request.transport.abort()

    def put(self, found: Json, manager: str = "test") -> Json:
        """Create or change an object as another writer would, with its status, and return it as stored."""
        kind = kind_named(found["apiVersion"], found["kind"])
        metadata = found["metadata"]
        namespace = metadata.get("namespace", "default") if kind.namespaced else ""
        key = Key(kind.group, kind.plural, namespace, metadata["name"])
        options = Options(manager)
        before = self.store.get(key)
        if before is None:
            stored = self.resources.create(kind, namespace, found, options).object
        else:
            wanted = found | {"metadata": {**before["metadata"], **metadata}}
            wanted["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            stored = self.resources.update(kind, key, before, wanted, "", options).object
        if "status" in found and "status" in kind.subresources:
            return self.resources.update(
                kind, key, stored, stored | {"status": found["status"]}, "status", options
            ).object
        return stored

    def get(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Json | None:
        """Return an object, or None."""
        found = kind_named(api_version, kind)
        return self.store.get(Key(found.group, found.plural, namespace if found.namespaced else "", name))

    def remove(self, api_version: str, kind: str, name: str, namespace: str = "default", propagation: str = "") -> None:
        """Delete an object. In the "Foreground" it stays until the cluster's next step. Raises ApiError 404."""
        found = kind_named(api_version, kind)
        key = Key(found.group, found.plural, namespace if found.namespaced else "", name)
        self.resources.delete(found, key, {"propagationPolicy": propagation})

    def between(self, after: str, before: str, path: str, change: Change) -> None:
        """Let another writer change the object of a path once, after a request of one verb and before one of another.

        Example: `api.between("get", "patch", "*/httproutes/chat", lambda route: route["spec"].update(rules=[]))`.
        """
        self.faults.intrusions.append(Intrusion(after, before, path, change))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not self._up:
            raise _dropped(request)
        self._open.append(request)
        try:
            return await self._answer(request)
        except ApiError as error:
            headers = {"Retry-After": "1"} if "retryAfterSeconds" in error.body.get("details", {}) else {}
            return _json(error.code, error.body, headers)
        except TextError as error:
            return web.Response(status=error.code, text=error.text, headers=error.headers)
        except Closed:
            raise _dropped(request) from None
        finally:
            self._open = [one for one in self._open if one is not request]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self.access.who(request.headers.get("Authorization", ""))
        plain = discovered(request.method, request.path, request.headers.get("Accept", ""), self.url)
        if plain is not None:
            return plain
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {LARGEST}"
            raise ApiError(413, "RequestEntityTooLarge", message) from None
        review = reviewed(self.access, user, request.method, request.path, raw,
                          request.headers.get("User-Agent", ""), self.given.now())  # fmt: skip
        if review is not None:
            return _json(201, review)
        target = parse(request.path)
        asked = Request(request.method, target, dict(request.query), request.headers.get("Content-Type", ""),
                        request.headers.get("User-Agent", ""), raw, user)  # fmt: skip
        verb = asked.verb
        self.requests.append((verb, request.path, user.name))
        self._desk.allow(asked)
        for change in self.faults.due(verb, request.path):
            self._intrude(target, change)
        await self.faults.wait(verb)
        fault = self.faults.take(verb, request.path)
        if fault is not None:
            self._befall(fault, asked)
        if verb == "watch":
            return await self._watch(request, Watch(self.store, target, asked.query))
        answer = self._desk.answer(asked)
        self.faults.answered(verb, request.path)
        return _json(answer.code, answer.object, _warnings(answer), custom=target.kind.custom)

    def _befall(self, fault: Fault, asked: Request) -> None:
        if fault.done:
            self._desk.answer(asked)
        if isinstance(fault.error, Hung):
            raise fault.error.answer(asked.verb, asked.target.kind.custom)
        raise fault.error

    def _intrude(self, target: Target, change: Change) -> None:
        found = self.resources.get(target.kind, target.key)
        change(found)
        self.put(found, manager="another-writer")

    async def _watch(self, request: web.Request, watch: Watch) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # The client stopped reading.
            async for line in watch.lines():
                for written in self.faults.mangle(json.dumps(line, separators=(",", ":")).encode() + b"\n"):
                    await response.write(written)
            await response.write_eof()
        return response


def _dropped(request: web.Request) -> BaseException:
    if request.transport is not None:
        request.transport.abort()
    return asyncio.CancelledError()


def _json(
    code: int, body: Json, headers: Iterable[tuple[str, str]] | dict[str, str] = (), custom: bool = False
) -> web.Response:
    text = json.dumps(body, separators=(",", ":"), sort_keys=custom) + "\n"

    return web.Response(status=code, body=text.encode(), content_type="application/json", headers=CIMultiDict(headers))


def _warnings(answer: Answer) -> list[tuple[str, str]]:
    return [("Warning", f'299 - "{told.replace(chr(34), chr(92) + chr(34))}"') for told in answer.warnings]
