"""Answers to clicks: a message that only the person sees who clicked. Sent to the address that came with the click."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp

from alerts.notify.slack.text import cut, escape
from collectors.http.retry_after import retry_after_s

TRIES = 4
"""Tries of an answer. Slack accepts five answers to a click within 30 minutes."""
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 8.0
MOST_TEXT = 3000
_HOSTS = (".slack.com", ".slack-gov.com")
log = logging.getLogger(__name__)


class Answers:
    """Sends answers. What cannot be sent is logged: the act is done, and the message in the channel shows it."""

    def __init__(
        self, base_url: str, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """`base_url` is the address of Slack's Web API: its host, and Slack's own hosts, may get answers."""
        self._origin = urlsplit(base_url)[:2]
        self._now, self._sleep = now, sleep
        self._session: aiohttp.ClientSession | None = None

    async def say(self, url: str, text: str) -> None:
        """Show plain text, one or more lines, to the person who clicked."""
        if not self._allowed(url):
            log.warning("slack: an answer could not be sent: the click came without an address of Slack for it")
            return
        shown = cut("\n".join(escape(line) for line in text.split("\n")), MOST_TEXT)
        content = {"response_type": "ephemeral", "replace_original": False, "text": shown}
        wait_s = FIRST_WAIT_S
        for left in reversed(range(TRIES)):
            failure, asked_s = await self._post(url, content)
            if not failure:
                return
            if asked_s is None and failure.startswith("HTTP 4"):
                break
            if left:
                await self._sleep(min(wait_s if asked_s is None else max(asked_s, 0.0), MOST_WAIT_S))
                wait_s *= 4
        log.warning("slack: an answer could not be sent: %s", failure)

    async def close(self) -> None:
        """Release connections."""
        if self._session is not None:
            await self._session.close()

    def _allowed(self, url: str) -> bool:
        """Return whether an address is Slack's: it comes with a request, and must not lead anywhere else."""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            return False
        return parts[:2] == self._origin or (parts.scheme == "https" and host.endswith(_HOSTS))

    async def _post(self, url: str, content: dict[str, object]) -> tuple[str, float | None]:
        """Return ("", None) when Slack took the answer, else (why not, the wait that Slack asked for)."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=True)
        try:
            async with self._session.post(url, json=content, allow_redirects=False) as answer:
                if answer.status == 200:
                    return "", None
                asked = answer.headers.get("Retry-After", "") if answer.status == 429 else ""
                wait_s = retry_after_s(asked, self._now()) if asked else None
                return f"HTTP {answer.status}", FIRST_WAIT_S if answer.status == 429 and wait_s is None else wait_s
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s", None
        except (aiohttp.ClientError, OSError) as error:
            return type(error).__name__, None  # its text may have the address, which is a secret for 30 minutes
