"""Socket Mode: clicks over a WebSocket that this process opens, for a control plane without a public address.

https://docs.slack.dev/apis/events-api/using-socket-mode. `apps.connections.open` returns an address for one connection.
On it Slack says hello, sends envelopes that must be acknowledged within 3 s, and announces that it will disconnect.
A new connection is then opened before the old one ends, so that no click is lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from alerts.errors import DeliveryFailed
from alerts.notify.slack.refusal import refusal_of
from controlplane.errors import MalformedRequest, Unavailable
from controlplane.gateway.backoff import Backoff
from controlplane.slack.errors import SocketFailed

HEARTBEAT_S = 10.0
"""Seconds between two pings. A connection without an answer to a ping for half of that is dead. Chosen."""
STEADY_S = 30.0
"""Seconds after which a connection counts as good: the next one is opened at once. Chosen."""
HELLO_S = 15.0
"""Longest wait for Slack's hello on a new connection, in seconds. Chosen."""
CLOSE_S = 1.0
"""Longest wait for the answer to a close, in seconds. Slack does not close the connection itself."""
LINGER_S = 30.0
"""Longest life of a connection after Slack announced its end: it announces it some 10 s before."""
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
"""Waits between two tries to connect, in seconds. Chosen: a click meanwhile shows an error to the person."""
MOST_ASKED_S = 600.0
"""Longest wait that Slack can ask for, in seconds."""
MOST_BYTES = 2**20
"""Largest message. A click repeats the message that it was on, which has a few KiB."""
_CURES = {
    "invalid_auth": "set a current app-level token (xapp-…)",
    "not_authed": "set the app-level token (xapp-…)",
    "not_allowed_token_type": "this is another kind of token: set the app-level token (xapp-…), not the bot's (xoxb-…)",
    "missing_scope": "give the app-level token the scope connections:write",
    "forbidden_team": "the token is of another workspace",
    "account_inactive": "reinstall the app",
    "token_revoked": "create another app-level token",
    "socket_mode_not_enabled": "turn Socket Mode on in the app's settings",
}
_ENDS = {
    "link_disabled": "turn Socket Mode on in the app's settings",
    "too_many_websockets": "the app has ten connections already, which is the limit: run fewer replicas with it",
}
"""Reasons of a disconnect after which another connection does not help, with their cures."""
log = logging.getLogger(__name__)

Handle = Callable[[object], Awaitable[None]]
"""Carries out the payload of an envelope. Returns within the 3 s of an acknowledgement."""


class SocketMode:
    """Keeps one connection to Slack. `run` lasts until it is cancelled."""

    def __init__(
        self,
        token: Callable[[], str],
        handle: Handle,
        base_url: str,
        *,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        linger_s: float = LINGER_S,
    ) -> None:
        """`token` returns the app-level token at each new connection. It may raise DeliveryFailed."""
        self._token, self._handle, self._base_url = token, handle, base_url
        self._wall, self._sleep, self._linger_s = wall, sleep, linger_s
        self._elapsed = elapsed
        self._backoff = Backoff(FIRST_WAIT_S, MOST_WAIT_S)
        self._envelopes: set[asyncio.Task[None]] = set()
        self._said = ""
        self.connections = 0
        """Open connections on which Slack said hello."""

    async def run(self) -> None:
        """Connect, and connect again whenever the connection ends or Slack announces its end."""
        open_ones: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession() as session:
            try:
                while True:
                    replaced, began = asyncio.Event(), self._elapsed()
                    task = asyncio.create_task(self._connection(session, replaced))
                    open_ones.add(task)
                    asked = asyncio.create_task(replaced.wait())
                    try:
                        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        asked.cancel()
                    waits = [0.0]
                    if self._elapsed() - began >= STEADY_S:
                        self._backoff.worked()
                    else:
                        waits.append(self._backoff.failed())
                    ended = {each for each in open_ones if each.done()}
                    open_ones -= ended
                    waits += [self._wait_after(each) for each in ended]
                    await self._sleep(max(waits))
            finally:
                tasks = (*open_ones, *self._envelopes)
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _wait_after(self, ended: asyncio.Task[None]) -> float:
        """Return the seconds to wait that the end of a connection demands, and log its error.

        Raises the error if it is a fault of this program.
        """
        failure = ended.exception()
        if failure is None:
            return 0.0
        if not isinstance(failure, SocketFailed):
            raise failure
        level = logging.DEBUG if str(failure) == self._said else logging.ERROR
        self._said = str(failure)
        log.log(level, "slack: clicks cannot be received: %s", failure)
        if failure.permanent:
            return MOST_WAIT_S
        return min(failure.retry_after or 0.0, MOST_ASKED_S)

    async def _connection(self, session: aiohttp.ClientSession, replaced: asyncio.Event) -> None:
        """Serve one connection until it ends. Set `replaced` when another one is to be opened. Raises SocketFailed."""
        address, proxy = await self._open(session)
        try:
            closing = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
            async with session.ws_connect(
                address, heartbeat=HEARTBEAT_S, max_msg_size=MOST_BYTES, timeout=closing, proxy=proxy
            ) as socket:
                await self._serve(socket, replaced)
        except TimeoutError as error:
            raise SocketFailed("Slack's WebSocket did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            # The error's text may hold the address, which lets anybody connect in the place of this process.
            status = getattr(error, "status", "")
            raise SocketFailed(f"Slack's WebSocket: {type(error).__name__} {status}".rstrip()) from None

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, replaced: asyncio.Event) -> None:
        greeted = False
        try:
            async with asyncio.timeout(HELLO_S) as limit:
                async for message in socket:
                    content = _content(message)
                    match content.get("type"):
                        case "hello" if not greeted:
                            greeted = True
                            limit.reschedule(None)
                            self._greeted()
                        case "disconnect":
                            if content.get("reason") in _ENDS:
                                raise SocketFailed(f"Slack: {_ENDS[content['reason']]}", permanent=True)
                            replaced.set()
                            limit.reschedule(asyncio.get_running_loop().time() + self._linger_s)
                        case _ if isinstance(content.get("envelope_id"), str):
                            self._begin(socket, content)
        except TimeoutError:
            if not greeted:
                raise
        finally:
            self.connections -= greeted

    def _greeted(self) -> None:
        self._said = ""
        self.connections += 1
        log.info("slack: connected; clicks on buttons are received")

    def _begin(self, socket: aiohttp.ClientWebSocketResponse, envelope: Mapping[str, Any]) -> None:
        task = asyncio.create_task(self._envelope(socket, envelope))
        self._envelopes.add(task)
        task.add_done_callback(self._envelopes.discard)

    async def _envelope(self, socket: aiohttp.ClientWebSocketResponse, envelope: Mapping[str, Any]) -> None:
        """Carry out one envelope, and acknowledge it. Without that Slack shows an error, or sends it again."""
        if envelope.get("type") == "interactive":
            try:
                await self._handle(envelope.get("payload"))
            except MalformedRequest as error:
                log.warning("slack: a click cannot be read: %s", error)
            except Unavailable as error:
                log.warning("slack: a click was not accepted: %s", error)
                return
        try:
            await socket.send_json({"envelope_id": envelope["envelope_id"]})
        except (ConnectionError, RuntimeError, aiohttp.ClientError) as error:
            log.info("slack: a click could not be acknowledged: %s", type(error).__name__)

    async def _open(self, session: aiohttp.ClientSession) -> tuple[str, str | None]:
        """Return the address of a new connection, and the environment's proxy or None. Raises SocketFailed."""
        logger = logging.getLogger("controlplane.slack.sdk")
        logger.setLevel(logging.WARNING)  # below that the SDK logs bodies, and the answer has the address
        try:
            token = self._token()
            client = AsyncWebClient(base_url=self._base_url, session=session, retry_handlers=[], logger=logger)
            answer = await client.apps_connections_open(app_token=token)
            address = answer.get("url")
        except DeliveryFailed as error:
            raise SocketFailed(str(error), permanent=True) from error
        except SlackApiError as error:
            raise self._refused(error) from error
        except TimeoutError as error:
            raise SocketFailed("Slack apps.connections.open: no answer in time") from error
        except (ValueError, AttributeError) as error:
            # The SDK trips over a body that is not JSON, or is sent as text/plain.
            raise SocketFailed("Slack apps.connections.open: the answer is not JSON") from error
        except (SlackClientError, aiohttp.ClientError, OSError) as error:
            raise SocketFailed(f"Slack apps.connections.open: {type(error).__name__}") from error
        plain = self._base_url.startswith("http://")
        if not isinstance(address, str) or not address.startswith(("wss://", "ws://") if plain else "wss://"):
            raise SocketFailed("Slack apps.connections.open: the answer has no address of a WebSocket")
        return address, client.proxy

    def _refused(self, error: SlackApiError) -> SocketFailed:
        refusal = refusal_of(error, self._wall())
        status, code = refusal.status, refusal.code
        if refusal.is_limited:
            return SocketFailed("Slack apps.connections.open: rate limited", retry_after=refusal.wait_s)
        if code in _CURES:
            return SocketFailed(f"Slack apps.connections.open: {code} ({_CURES[code]})", permanent=True)
        facts = [f"HTTP {status}"] if status else []
        return SocketFailed(f"Slack apps.connections.open: {', '.join([*facts, code or 'the answer is not JSON'])}")


def _content(message: aiohttp.WSMessage) -> Mapping[str, Any]:
    """Return the JSON object of a message; {} for anything else."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        content = json.loads(message.data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
