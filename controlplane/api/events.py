"""Server-sent events: one poller reads the revision table for all clients of this process.

Any process serves any client, because events come from the database and not from this process's memory. A client that
falls too far behind gets one event `resync` instead of the events that it missed: it must read everything again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from alerts.interfaces import Clock
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.roles import Principal, Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.store.revision import Revision, RevisionStore

router = APIRouter(route_class=GuardedRoute, tags=["events"])

POLL_S = 0.5
"""Seconds between two polls. Chosen: a stream must end within a second after its token is revoked."""
HEARTBEAT_S = 15.0
"""Longest time without data, in seconds. A comment then keeps proxies from closing the stream and detects a client
that has disconnected."""
MAX_CLIENTS = 200
MAX_OF_TOKEN = 100
"""Most streams of one token with all its sessions. Chosen: a team may share a token, and half is left for others."""
MAX_OF_SESSION = 20
"""Most streams of one console session, and of one token without a session. Chosen: more than a person's tabs in sight;
a hidden tab has no stream."""
QUEUE = 256
"""Most events that wait for a client. Beyond that the client gets a `resync`."""
MAX_STREAM_S = 900.0
"""Longest duration of a stream, in seconds. The client reconnects by itself; a forgotten stream ends."""
RECONNECT_MS = 2000

_log = logging.getLogger(__name__)


class Subscription:
    """One client's bounded queue."""

    def __init__(self, rev: int, principal: Principal) -> None:
        self.rev = rev
        """The revision after which this subscription's events begin."""
        self.principal = principal
        self.closed = False
        self._items: deque[Revision] = deque()
        self._ready = asyncio.Event()

    def offer(self, revision: Revision) -> None:
        """Queue an event. A full queue becomes one `resync`. A closed subscription ignores the event."""
        if self.closed:
            return
        if len(self._items) >= QUEUE:
            self._items.clear()
            revision = revision._replace(kind="resync", ref="")
        self._items.append(revision)
        self._ready.set()

    def close(self) -> None:
        """End the stream after the queued events are sent."""
        self.closed = True
        self._ready.set()

    def cut(self) -> None:
        """End the stream at once, without the queued events: the client may not see them any more."""
        self._items.clear()
        self.close()

    async def take(self, timeout_s: float) -> list[Revision] | None:
        """Return the queued events. Wait up to `timeout_s` for the first. [] after that time, None at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return []
        items = list(self._items)
        self._items.clear()
        if self.closed:
            return items or None
        self._ready.clear()
        return items


class EventHub:
    """Sends the rows of the revision table to all subscriptions. It polls only while there are subscriptions."""

    def __init__(
        self,
        revisions: RevisionStore,
        gatekeeper: Gatekeeper,
        clock: Clock,
        *,
        poll_s: float = POLL_S,
        max_clients: int = MAX_CLIENTS,
        max_of_token: int = MAX_OF_TOKEN,
        max_of_session: int = MAX_OF_SESSION,
    ) -> None:
        self._revisions, self._gatekeeper, self._clock = revisions, gatekeeper, clock
        self._poll_s, self._max_clients = poll_s, max_clients
        self._max_of_token, self._max_of_session = max_of_token, max_of_session
        self._subscriptions: set[Subscription] = set()
        self._poller: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._rev = 0
        self._closed = False

    @property
    def rev(self) -> int:
        """Revision of the newest event that was sent to clients. It stands still while nobody listens."""
        return self._rev

    @property
    def clients(self) -> int:
        """Number of subscribed clients."""
        return len(self._subscriptions)

    async def subscribe(self, principal: Principal) -> Subscription:
        """Add a client. Its stream ends with its token or session.

        Raises Unavailable when there are too many clients, in all or of the token or session, and when the database
        cannot be read.
        """
        async with self._starting:
            self._check_places(principal)
            if self._poller is None:
                self._rev = await asyncio.to_thread(self._revisions.latest)
                self._poller = asyncio.create_task(self._poll(), name="event poller")
            subscription = Subscription(self._rev, principal)
            self._subscriptions.add(subscription)
            return subscription

    def _check_places(self, principal: Principal) -> None:
        """Raise Unavailable unless there is a place for one more stream of `principal`."""
        if self._closed or len(self._subscriptions) >= self._max_clients:
            reason = "is shutting down" if self._closed else f"has {self._max_clients} event streams open already"
            raise Unavailable(f"this control plane {reason}; read the listings, or try again")
        of_token = [s.principal.session for s in self._subscriptions if s.principal.token_id == principal.token_id]
        if of_token.count(principal.session) >= self._max_of_session:
            whose = f"this session of token {principal.name}" if principal.session else f"token {principal.name}"
            raise Unavailable(
                f"{whose} has {self._max_of_session} event streams open already, the most that it may have: close "
                "pages or clients that you do not need"
            )
        if len(of_token) >= self._max_of_token:
            raise Unavailable(
                f"token {principal.name} has {self._max_of_token} event streams open already with all its sessions, "
                "the most that it may have: give each person a token of their own"
            )

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a client. The poller stops with the last one."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    def close(self) -> None:
        """End every stream. The server could not stop while streams are open."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()
            self.unsubscribe(subscription)

    async def missed(self, after: int, upto: int) -> list[Revision]:
        """Return the events in (after, upto], or one `resync` when there are too many or they cannot be read."""
        if after == upto:
            return []
        try:
            latest = await asyncio.to_thread(self._revisions.latest)
            oldest = await asyncio.to_thread(self._revisions.oldest)
            found = await asyncio.to_thread(self._revisions.since, after, QUEUE + 1)
        except ControlPlaneError as error:
            _log.warning("events: %s", error)
            return [Revision(upto, "resync", "", 0.0)]
        missed = [revision for revision in found if revision.id <= upto]
        # An id above the latest comes from before the database was restored: the client's state is unknown.
        if after > latest or after < oldest - 1 or len(missed) > QUEUE:
            return [Revision(upto, "resync", "", 0.0)]
        return missed

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                revisions = await asyncio.to_thread(self._revisions.since, self._rev)
                # Checked after the read: a token must not get an event that was written after its revocation.
                await self._cut_off()
            except ControlPlaneError as error:
                _log.warning("events: %s", error)
                continue
            for revision in revisions:
                for subscription in self._subscriptions:
                    subscription.offer(revision)
                self._rev = revision.id

    async def _cut_off(self) -> None:
        """End the streams whose token or session has ended, in this or another process."""
        over = await self._gatekeeper.over({s.principal for s in self._subscriptions}, self._clock.now())
        for subscription in self._subscriptions:
            if subscription.principal in over:
                subscription.cut()


class EventStream(StreamingResponse):
    """One client's stream. At its end, even before it began, the client is unsubscribed."""

    def __init__(self, hub: EventHub, subscription: Subscription, after: int | None) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_wire(hub, subscription, after), media_type="text/event-stream", headers=headers)
        self._hub, self._subscription = hub, subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves, the hub closes or MAX_STREAM_S is over."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.unsubscribe(self._subscription)


async def _wire(hub: EventHub, subscription: Subscription, after: int | None) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + MAX_STREAM_S
    start = subscription.rev if after is None else after
    yield f"retry: {RECONNECT_MS}\nid: {start}\n\n".encode()
    for revision in await hub.missed(start, subscription.rev):
        start = revision.id
        yield encode(revision)
    while loop.time() < ends and (revisions := await subscription.take(HEARTBEAT_S)) is not None:
        yield b"".join(encode(r) for r in revisions if r.id > start) or b": heartbeat\n\n"


def encode(revision: Revision) -> bytes:
    """Return one event in the format of server-sent events."""
    data = json.dumps({"rev": revision.id, "kind": revision.kind, "ref": revision.ref}, separators=(",", ":"))
    return f"event: {revision.kind}\nid: {revision.id}\ndata: {data}\n\n".encode()


@router.get("/cp/v1/events", response_class=StreamingResponse)
@requires(Role.VIEWER)
async def events(
    request: Request, principal: PrincipalDep, last_event_id: Annotated[str | None, Header(max_length=40)] = None
) -> EventStream:
    """Stream changes: `event: <kind>`, `id: <rev>`, data `{"rev","kind","ref"}`, while the token is valid.

    `Last-Event-ID` resumes the stream. `event: resync` means that events were missed: read everything again.
    """
    hub: EventHub = request.app.state.events
    # A malformed id (of another server or a proxy) says nothing about the last event, so all events are sent: 0.
    after = int(last_event_id) if last_event_id and re.fullmatch(r"\d{1,18}", last_event_id) else None
    if last_event_id and after is None:
        after = 0
    return EventStream(hub, await hub.subscribe(principal), after)
