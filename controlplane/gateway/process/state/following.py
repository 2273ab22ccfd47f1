"""Follows a control plane: asks for the desired state by long poll, and reports what the workers apply."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from controlplane.errors import Unavailable
from controlplane.gateway.backoff import Backoff
from controlplane.gateway.desired.codec import decode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired
from controlplane.remote_client import Reply, Server

log = logging.getLogger(__name__)

DESIRED = "cp/v1/gateways/desired"
REPORT = "cp/v1/gateways/report"
WAIT_S = 25.0
"""Seconds that the control plane may wait for a change before it answers. Chosen: below the idle timeout of proxies."""
ANSWER_S = 10.0
"""Seconds for an answer beyond that wait."""
REPORT_S = 1.0
FIRST_S, MOST_S = 0.5, 10.0
"""First and longest wait after a failure. Chosen: a control plane that is back is found within ten seconds."""


class Fault(Exception):
    """The control plane gave no usable answer. The message is fit for an operator."""


class Once:
    """Logs a fault once while it lasts, and its end."""

    def __init__(self, what: str) -> None:
        self._what, self.fault = what, ""

    def failed(self, why: str, then: str) -> None:
        """Log a fault that differs from the last one."""
        if why != self.fault:
            log.warning("%s: %s; %s", self._what, why, then)
            self.fault = why

    def worked(self) -> None:
        """Log that the fault has ended."""
        if self.fault:
            log.info("%s: works again", self._what)
            self.fault = ""


class Follower:
    """Asks for the desired state again and again. A state that cannot be applied keeps the running one."""

    def __init__(
        self,
        client: Server,
        name: str,
        server: str,
        apply: Callable[[Desired, str], Awaitable[None]],
        revision: str = "",
        *,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`server` names the control plane in sentences. `revision` is that of the state in force."""
        self._client, self._name, self._server, self._apply = client, name, server, apply
        self.revision = revision
        """Revision that was seen last, also if it was refused: the next answer then waits for a change."""
        self._is_refused = False
        self._backoff = backoff or Backoff(FIRST_S, MOST_S)
        self._sleep = sleep
        self.said = Once("desired state")

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.turn()

    async def turn(self) -> None:
        """Ask once, apply what came, and wait after a fault."""
        try:
            desired = await self._ask()
            if desired is not None:
                self.revision = desired.revision
                await self._apply(desired, self._server)
                self._is_refused = False
        except BadDesired as error:
            self._is_refused = True
            self.said.failed(f"{self._server} gave one that is refused: {error}", "the one in force stays")
        except Fault as error:
            self.said.failed(str(error), "the one in force stays")
        else:
            self._backoff.worked()
            if not self._is_refused:
                self.said.worked()
            return
        await self._sleep(self._backoff.failed())

    async def _ask(self) -> Desired | None:
        asked = {"name": self._name, "revision": self.revision, "wait": f"{WAIT_S:g}"}
        reply = await answer(self._client, "GET", DESIRED, WAIT_S + ANSWER_S, params=asked)
        if reply.status == 204:
            return None
        return await asyncio.to_thread(decode, reply.body)


class Reporter:
    """Reports what all workers apply, every second and at once after a change.

    The answer holds shares of limits, and what this gateway spent before it lost its disk.
    """

    def __init__(
        self,
        client: Server,
        report: Callable[[], dict[str, Any]],
        share: Callable[[Mapping[str, float]], None],
        raise_spent: Callable[[Mapping[str, float]], None],
        changed: asyncio.Event,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        """`report` makes the body, `changed` is set when it should go at once."""
        self._client, self._report, self._changed = client, report, changed
        self._share, self._raise_spent = share, raise_spent
        self._backoff = backoff or Backoff(FIRST_S, MOST_S)
        self.said = Once("report to the control plane")

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            wait_s = await self.turn()
            if wait_s == REPORT_S:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)
            else:
                await asyncio.sleep(wait_s)

    async def turn(self) -> float:
        """Report once, and return the seconds until the next report."""
        self._changed.clear()
        try:
            shares, spent = await self.send()
            self._share(shares)
            if spent:
                self._raise_spent(spent)
        except Fault as error:
            self.said.failed(str(error), "shares of limits stay as they are")
            return self._backoff.failed()
        self.said.worked()
        self._backoff.worked()
        return REPORT_S

    async def send(self) -> tuple[dict[str, float], dict[str, float]]:
        """Send one report and return (shares of limits, amounts spent of budgets). Raises Fault."""
        body = orjson.dumps(self._report())
        kind = {"Content-Type": "application/json"}
        reply = await answer(self._client, "POST", REPORT, ANSWER_S, body=body, headers=kind)
        try:
            document = orjson.loads(reply.body)
            shares, spent = document["shares"], document.get("spent", {})
            return (
                {str(limit): min(1.0, max(0.0, float(share))) for limit, share in shares.items()},
                {str(budget): max(0.0, float(amount)) for budget, amount in spent.items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Fault("the control plane's answer has no shares of limits: its version differs") from error


async def answer(client: Server, method: str, path: str, timeout_s: float, **options: Any) -> Reply:
    """Return an answer with a status of success. Raises Fault, which says what to do."""
    try:
        reply = await client.request(method, path, timeout_s, **options)
    except (Unavailable, TimeoutError) as error:
        raise Fault(str(error)) from error
    if reply.status in (200, 204):
        return reply
    cure = {
        401: "; check the token of gateway.control_plane",
        403: "; its token needs the role gateway",
        404: "; is that address a control plane of this version?",
    }
    raise Fault(
        f"the control plane answers {reply.status} to {path}: {_detail(reply.body)}{cure.get(reply.status, '')}"
    )


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or "no reason")[:300]
    except (ValueError, AttributeError):
        return "no reason"
