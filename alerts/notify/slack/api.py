"""Calls Slack's Web API for one notifier, within Slack's limits, and says what an error means."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from alerts.errors import DeliveryFailed
from alerts.notify.plain import FormRefused
from alerts.notify.slack.limits import SlackLimits
from alerts.notify.slack.refusal import refusal_of

# Errors about the message's form, not about its sender or channel: Slack may accept a plainer form.
_FORM = frozenset({"invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long", "no_text"})
_FORM_MORE = frozenset({"msg_too_long", "invalid_arguments", "invalid_metadata_format", "invalid_metadata_schema"})
_FORM_REST = frozenset({"metadata_too_large", "metadata_must_be_sent_from_app", "metadata_must_be_sent_as_json"})
# Errors of Slack's servers, for which a retry can help. Every other error is final.
_TRANSIENT = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"})
_TRANSIENT_MORE = frozenset({"request_timeout", "team_added_to_org", "accesslimited"})
_ROOT_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
_CURES = {
    "invalid_auth": "the token is not valid: set a current bot token",
    "not_authed": "no token was sent: set the bot token",
    "account_inactive": "the token's user or workspace is gone: reinstall the app",
    "token_revoked": "the token was revoked: reinstall the app",
    "token_expired": "the token has expired: set a current one",
    "missing_scope": "the app lacks a scope: chat:write to post; channels:history and channels:read to find repeats; "
    "files:write for charts",
    "channel_not_found": "the channel does not exist or the bot cannot see it: invite the bot",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived: name another",
}


class RootGone(DeliveryFailed):
    """The group's message can no longer be updated: it was deleted, or is too old."""


class ScopeMissing(DeliveryFailed):
    """The token lacks a scope."""


class SlackApi:
    """One notifier's way to Slack. `limits` holds the calls back that Slack would refuse."""

    def __init__(
        self,
        channel: str,
        token: Callable[[], str],
        base_url: str,
        timeout_s: float,
        now: Callable[[], float],
        limits: SlackLimits,
    ) -> None:
        """`channel` is named in errors. `timeout_s`: seconds for one call. `now`: unix seconds."""
        self._channel, self._token, self._base_url, self._timeout_s = channel, token, base_url, timeout_s
        self._now, self._limits = now, limits
        self._session: aiohttp.ClientSession | None = None

    def calls(self) -> SlackCalls:
        """Return the calls for one message. Raises DeliveryFailed when the token cannot be read."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
        # No retry handlers: the outbox retries, and marks repeats. The logger starts at WARNING because the SDK's
        # debug lines hold request bodies.
        logger = logging.getLogger("alerts.notify.slack.sdk")
        logger.setLevel(logging.WARNING)
        client = AsyncWebClient(
            token=self._token(), base_url=self._base_url, session=self._session, retry_handlers=[], logger=logger
        )
        return SlackCalls(self, client, self._session, self._limits.patience())

    async def close(self) -> None:
        """Release connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self, client: AsyncWebClient, method: str, content: dict[str, Any], *, get: bool
    ) -> dict[str, Any]:
        """Call a method now, and return the answer's document. Raises DeliveryFailed, as `SlackCalls.call` does."""
        try:
            if get:
                answer = await client.api_call(method, http_verb="GET", params=content)
            else:
                answer = await client.api_call(method, json=content)
        except SlackApiError as error:
            raise self._refused(method, error) from error
        except TimeoutError as error:
            raise DeliveryFailed(f"Slack {method}: no answer within {self._timeout_s:g} s") from error
        except (ValueError, AttributeError) as error:
            # The SDK trips over a body that is not JSON, or is sent as text/plain.
            raise DeliveryFailed(f"Slack {method}: the answer is not JSON") from error
        except (SlackClientError, aiohttp.ClientError, OSError) as error:
            raise DeliveryFailed(f"Slack {method}: {str(error) or type(error).__name__}") from error
        return answer.data if isinstance(answer.data, dict) else {}

    async def take(self, method: str, until: float) -> None:
        """Wait for the turn of a method. Raises DeliveryFailed when it is to come after `until`."""
        await self._limits.take(method, until)

    def _refused(self, method: str, error: SlackApiError) -> DeliveryFailed:
        """Translate Slack's error. No message contains the token or the request."""
        status, code, data, is_limited, told, wait_s = refusal_of(error, self._now())
        if is_limited:
            asked = (
                f"asked to wait {wait_s:g}s" if wait_s is not None else f"without a valid Retry-After ({told[:40]!r})"
            )
            self._limits.rest(method, wait_s or 0.0)
            return DeliveryFailed(f"Slack {method}: rate limited, {asked}", retry_after=wait_s)
        if not code or code in _TRANSIENT or code in _TRANSIENT_MORE or (status or 200) >= 500:
            return DeliveryFailed(f"Slack {method}: HTTP {status}{f', {code}' if code else ', not a JSON answer'}")
        if code in _ROOT_GONE and method != "conversations.history":
            return RootGone(f"Slack {method}: {code}", permanent=True)
        cure = f" ({_CURES[code]})" if code in _CURES else ""
        if code in _FORM | _FORM_MORE | _FORM_REST:
            return FormRefused(f"Slack {method} to {self._channel}: {code}{_why(data)}")
        kind = ScopeMissing if code == "missing_scope" else DeliveryFailed
        return kind(f"Slack {method} to {self._channel}: {code}{cure}", permanent=True)


class SlackCalls:
    """The calls for one message. Together they wait for their turns until `until` at most, in monotonic seconds."""

    def __init__(self, api: SlackApi, client: AsyncWebClient, session: aiohttp.ClientSession, until: float) -> None:
        self._api, self._client, self.session, self._until = api, client, session, until
        self._turns: Counter[str] = Counter()

    async def turn(self, method: str, *, at_once: bool = False) -> None:
        """Wait for the turn of the next call of a method, which then begins when it likes.

        Raises DeliveryFailed when the turn is to come too late; with `at_once`, when it is not now.
        """
        await self._api.take(method, -math.inf if at_once else self._until)
        self._turns[method] += 1

    async def call(self, method: str, content: dict[str, Any], *, get: bool = False) -> dict[str, Any]:
        """Call a method in its turn, with JSON or by GET; return the answer's document.

        Raises DeliveryFailed: permanent for refusals (with the cure), with `retry_after` when the turn comes too late
        or Slack asks to wait; RootGone; FormRefused for a form that Slack does not take.
        """
        if not self._turns[method]:
            await self.turn(method)
        self._turns[method] -= 1
        return await self._api.request(self._client, method, content, get=get)


def _why(data: Any) -> str:
    """Return Slack's details beside the error code, in parentheses: the block, and what is wrong with it."""
    told = data.get("errors") or (data.get("response_metadata") or {}).get("messages") or []
    return f" ({'; '.join(str(one) for one in told)[:300]})" if isinstance(told, list) and told else ""
