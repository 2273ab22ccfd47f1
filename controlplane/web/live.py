"""The refreshes of open pages: the part that is live, rendered once for all browsers that look at the same page.

A page asks for itself every 5 s, and at every event. With 200 open consoles that is 40 requests a second. Those for one
address, role and language within a second get one answer, unless something changed meanwhile or somebody acted. A fleet
that changes all the time is rendered again after a rest, so that pages never take most of the control plane's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastapi import Request, Response

from controlplane.access.roles import Principal, Role
from controlplane.api.auth import SAFE_METHODS, GuardedRoute
from controlplane.api.events import EventHub
from controlplane.api.services import Services
from controlplane.web.languages import language_of

TARGET = "live"
"""Id of the element that a refresh replaces. htmx sends it in the header HX-Target."""
FRESH_S = 1.0
"""Seconds for which a part is given to other browsers. Chosen: as long as the fleet's snapshot."""
REST_SHARE, LONGEST_REST_S = 3.0, 2.0
"""After a rendering of t seconds there is none of the same part for 3·t seconds, at most 2 s. Chosen: a quarter of the
time is for rendering at most, and a change shows well within the 5 s of a refresh."""
MOST_PARTS = 100
"""Most parts that are kept. Chosen: 30 MB at 300 KB each; people look at fewer pages at once."""


def wants_part(request: Request) -> bool:
    """Return whether a page on display asks for its live part."""
    return request.headers.get("HX-Target") == TARGET and request.method == "GET"


class PartKey(NamedTuple):
    """Key of a live part: all that it depends on besides the fleet. It names nobody, so people of one role share it."""

    address: str
    role: Role
    language: str


@dataclass
class Part:
    """One rendered part, or the wait for it."""

    at: float = float("-inf")
    """Second of the control plane's clock at which it was rendered."""
    body: bytes | None = None
    state: int = -1
    """State of the fleet (`Parts.state`) at which its rendering began."""
    rests_until: float = float("-inf")
    """Second of the loop's clock before which a change alone does not render it again."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Parts:
    """The parts of this process. They end when an event was sent, after an action, and after a second."""

    def __init__(self) -> None:
        self._parts: dict[PartKey, Part] = {}
        self._rev = -1
        self.state = 0
        """Number of the fleet's states so far. A part that was begun in an earlier state is out of date."""
        self.acted = 0
        """State since the last act of a person. A part of an earlier state is rendered again without a rest."""
        self._act = asyncio.Event()

    def forget(self) -> None:
        """Let no part be used again, and end every rest: somebody acted."""
        self.state += 1
        self.acted = self.state
        self._act.set()
        self._act = asyncio.Event()

    async def rest(self, part: Part) -> None:
        """Wait until a part may be rendered again."""
        left_s = part.rests_until - asyncio.get_running_loop().time()
        if part.state >= self.acted and left_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._act.wait()

    def at_revision(self, rev: int, services: Services) -> None:
        """Begin a new state, without the snapshot of before, when an event was sent since the last call."""
        if rev != self._rev:
            self._rev = rev
            self.state += 1
            services.fleet.forget()

    def part(self, key: PartKey) -> Part:
        """Return the part of a key. The one that is oldest goes when there are too many."""
        found = self._parts.pop(key, None) or Part()
        self._parts[key] = found
        while len(self._parts) > MOST_PARTS:
            del self._parts[next(iter(self._parts))]
        return found


class LiveRoute(GuardedRoute):
    """A route of the console. The role is checked before a shared part is given out."""

    def answering(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler with the shared parts before it."""
        inner = super().answering()

        async def answer(request: Request) -> Response:
            parts: Parts = request.app.state.parts
            if request.method not in SAFE_METHODS:
                return await self._acted(request, parts, inner)
            if not wants_part(request) or getattr(request.state, "principal", None) is None:
                return await inner(request)
            return await _shared(request, parts, inner)

        return answer

    async def _acted(
        self, request: Request, parts: Parts, inner: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        """Answer an action, and forget the parts when the sender was let in.

        On a route with a role the sender was: an action that fails may have changed something before. On a public route
        anybody asks, and only what is answered without a fault, such as a sign-in, changed something.
        """
        is_let_in = isinstance(self.access, Role)
        try:
            answer = await inner(request)
            is_let_in = is_let_in or answer.status_code < 400
            return answer
        finally:
            if is_let_in:
                parts.forget()


async def _shared(
    request: Request, parts: Parts, inner: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    services: Services = request.app.state.services
    hub: EventHub = request.app.state.events
    parts.at_revision(hub.rev, services)
    principal: Principal = request.state.principal
    part = parts.part(PartKey(str(request.url.replace(scheme="", netloc="")), principal.role, language_of(request)))
    asked, now = parts.state, asyncio.get_running_loop().time
    async with part.lock:
        if part.body is not None and part.state >= asked and 0 <= services.clock.now() - part.at < FRESH_S:
            return Response(part.body, media_type="text/html; charset=utf-8")
        await parts.rest(part)  # those who ask meanwhile wait for the lock
        state, began = parts.state, now()
        answer = await inner(request)
        part.rests_until = now() + min(REST_SHARE * (now() - began), LONGEST_REST_S)
        if answer.status_code == 200 and answer.media_type == "text/html":
            # The time after the rendering: those who waited for one that took longer than FRESH_S share it, too.
            part.at, part.body, part.state = services.clock.now(), bytes(answer.body), state
        return answer
