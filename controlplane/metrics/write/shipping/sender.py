"""Sends a window's requests until the server has accepted each, or refused it for good."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple, Protocol

from alerts.interfaces import Clock
from collectors.http.backoff import delay_s
from collectors.http.retry_after import retry_after_s
from controlplane.errors import Unavailable
from controlplane.metrics.write.shipping.window import Window, WindowRequest
from controlplane.remote_client import Reply

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
"""Headers of a request. Source: https://prometheus.io/docs/specs/remote_write_spec."""
_MAX_TOLD = 300


class WriteClient(Protocol):
    """A client that sends one request at a time, such as remote_client.RemoteClient."""

    name: str

    async def request(self, method: str, path: str, timeout_s: float, *, body: bytes, headers: dict[str, str]) -> Reply:
        """Return the reply. Raises TimeoutError past the deadline, and Unavailable when no whole reply came."""
        ...


@dataclass(frozen=True)
class Policy:
    """Timeouts and retries of an endpoint, in seconds; see fleet.yaml's queue_config."""

    timeout_s: float = 30.0
    min_backoff_s: float = 0.03
    max_backoff_s: float = 5.0
    age_limit_s: float = 7200.0


@dataclass
class Sent:
    """Counters of samples since the start of the process."""

    sent: int = 0
    retried: int = 0
    bytes: int = 0
    """Compressed bytes of accepted bodies."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Dropped samples by reason: `age`, or the status of the refusal, such as `status_400`."""
    failing: str = ""
    """Reason why samples wait for another attempt. "" when none waits."""


class _Again(NamedTuple):
    why: str
    after_s: float | None = None


class _Refused(NamedTuple):
    status: int
    why: str


class RowSender:
    """Sends to one endpoint. Shards are sent in parallel. In a shard a request ends before the next one begins."""

    def __init__(
        self,
        name: str,
        client: WriteClient,
        policy: Policy,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.stats = Sent()
        self._name, self._client, self._policy, self._clock = name, client, policy, clock
        self._sleep, self._jitter = sleep, jitter
        self._said: set[int] = set()
        self._waiting: dict[int, str] = {}

    async def send(self, window: Window) -> None:
        """Send a window. Return when each request was accepted, was refused for good, or became too old."""
        async with asyncio.TaskGroup() as group:
            for requests in window.shards:
                group.create_task(self._in_order(requests, again=window.again))

    async def _in_order(self, requests: Sequence[WindowRequest], *, again: bool) -> None:
        for request in requests:
            await self._deliver(request, again=again)

    async def _deliver(self, request: WindowRequest, *, again: bool) -> None:
        attempt = 0
        while (outcome := await self._attempt(request)) is not None:
            if isinstance(outcome, _Refused) and again and outcome.status == HTTPStatus.BAD_REQUEST:
                # The server accepted it before the last process ended. Now the same samples are out of order.
                log.info(
                    "remote write %s: what was in flight at the last stop had arrived: %s", self._name, outcome.why
                )
                break
            if isinstance(outcome, _Refused):
                self.stats.dropped[f"status_{outcome.status}"] += request.samples
                self._say_refused(outcome)
                break
            if self._clock.now() - request.newest_ms / 1000 > self._policy.age_limit_s:
                self.stats.dropped["age"] += request.samples
                break
            self._note(request, outcome.why)
            self.stats.retried += request.samples
            policy = self._policy
            wait = delay_s(attempt, policy.min_backoff_s, policy.max_backoff_s, self._jitter(), outcome.after_s)
            attempt += 1
            await self._sleep(wait)
        else:
            self.stats.sent += request.samples
            self.stats.bytes += len(request.body)
        self._note(request, "")

    def _note(self, request: WindowRequest, why: str) -> None:
        """Update `stats.failing`. A request of one shard that succeeds does not clear the reason of another."""
        before = self.stats.failing
        self._waiting.pop(id(request), None)
        if why:
            self._waiting[id(request)] = why
        self.stats.failing = next(iter(self._waiting.values()), "")
        if self.stats.failing and not before:
            log.warning("remote write %s: %s; samples wait on disk", self._name, why)
        elif before and not self.stats.failing:
            log.info("remote write %s: no sample waits for another try any more", self._name)

    async def _attempt(self, request: WindowRequest) -> _Again | _Refused | None:
        """Send a request once. Return None if the server accepted it."""
        try:
            reply = await self._client.request("POST", "", self._policy.timeout_s, body=request.body, headers=HEADERS)
        except (TimeoutError, Unavailable) as error:
            return _Again(str(error))
        if 200 <= reply.status < 300:
            return None
        words = "".join(c for c in reply.body[:_MAX_TOLD].decode(errors="replace").strip() if c.isprintable())
        why = f"{self._client.name} answered {reply.status}" + (f": {words}" if words else "")
        if reply.status == 429 or reply.status >= 500:
            return _Again(why, retry_after_s(reply.retry_after, self._clock.now()))
        return _Refused(reply.status, why)

    def _say_refused(self, refused: _Refused) -> None:
        if refused.status not in self._said:
            self._said.add(refused.status)
            cure = {
                401: "; see authorization and basic_auth of this remote_write",
                403: "; see authorization, basic_auth and headers of this remote_write",
                404: "; see the path in url of this remote_write",
            }.get(refused.status, "")
            log.error("remote write %s: samples are dropped: %s%s (said once)", self._name, refused.why, cure)
