"""Delivers to Slack: one message per group, updated in place, with each change as a reply in its thread.

A reply about something else than alerts, such as a rollout's end, is shown in the channel too: its thread has no
followers yet, and it comes once.

Slack has no idempotency key. Every message has its own id in its metadata. A repeat (after a crash, or a call whose
outcome is unknown) first looks for that id in the channel or thread, and posts only if it is not there.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from alerts.errors import DeliveryFailed
from alerts.interfaces import Button, Message, MessageRef
from alerts.notify.card import Card, render
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.slack_refusal import refusal_of
from alerts.notify.slack_text import cut, escape, one_line

EVENT_TYPE = "controlplane_alert"
"""Type of the metadata that holds a message's id."""
LOOK_BACK = 100
"""Number of messages in which a repeat looks for its id. A claim ends within a minute, so the id is near the end."""
CHANNEL_PAGES = 20
"""Number of pages, with 1000 channels each, in which a channel's name is looked up."""
_CHANNEL_ID = re.compile(r"^[CGD][A-Z0-9]{8,}$")
_PLACE = re.compile(r"[^/]+/[0-9.]+")
# Slack's limits on blocks, docs.slack.dev/reference/block-kit.
HEADER_LIMIT, SECTION_LIMIT, FIELD_LIMIT, CONTEXT_LIMIT, FALLBACK_LIMIT = 150, 3000, 2000, 2000, 3000
FIELDS_LIMIT, BUTTON_URL_LIMIT = 10, 3000
BUTTON_TEXT_LIMIT, CONFIRM_TITLE_LIMIT, CONFIRM_TEXT_LIMIT, CONFIRM_BUTTON_LIMIT = 75, 100, 300, 30
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
    "missing_scope": "the app lacks a scope: chat:write to post; channels:history and channels:read to find repeats",
    "channel_not_found": "the channel does not exist or the bot cannot see it: invite the bot",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived: name another",
}


class SlackNotifier:
    """Implements alerts.interfaces.Notifier on Slack's Web API.

    `token` is called at every send, so that rotation needs no restart. It may raise DeliveryFailed.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        token: Callable[[], str],
        *,
        base_url: str = "https://slack.com/api/",
        timeout_s: float = 8.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name, self._now = name, now
        self._channel, self._token = channel, token
        # Slack accepts a channel's name only for posting; a search for a message needs the channel's id.
        self._channel_id = channel if _CHANNEL_ID.match(channel) else ""
        self._base_url, self._timeout_s = base_url, timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Post the group's message, or update it and reply in its thread; return its place.

        An edit only updates. Where the group's message is gone, or was never posted, an edit does nothing.

        Raises DeliveryFailed: permanent for refusals (with the cure), with `retry_after` on 429.
        """
        client = self._client()
        card = render(message)
        if root is not None and not _PLACE.fullmatch(root.place):
            root = None  # a place of another kind of notifier, which had this name before
        if message.edit:
            return await self._edit(client, message, card, root)
        if root is None and message.repeat:
            root = await self._find(client, message, None)
            if root is not None:
                return root
        if root is not None:
            try:
                root = await self._update(client, message, card, root)
            except _RootGoneError:
                root = None
        return root if root is not None else await self._post(client, message, card)

    async def close(self) -> None:
        """Release connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> AsyncWebClient:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
        # No retry handlers: the outbox retries, and marks repeats. The logger starts at WARNING because the SDK's
        # debug lines hold request bodies.
        logger = logging.getLogger("alerts.notify.slack.sdk")
        logger.setLevel(logging.WARNING)
        return AsyncWebClient(
            token=self._token(), base_url=self._base_url, session=self._session, retry_handlers=[], logger=logger
        )

    async def _post(self, client: AsyncWebClient, message: Message, card: Card) -> MessageRef:
        answer, note = await self._put(client, "chat.postMessage", message, card, {"channel": self._channel})
        self._channel_id = str(answer.get("channel", self._channel_id))
        return _ref(self._channel_id, str(answer.get("ts", "")), note)

    async def _edit(
        self, client: AsyncWebClient, message: Message, card: Card, root: MessageRef | None
    ) -> MessageRef | None:
        if root is None:
            return None
        try:
            where = {"channel": _channel(root), "ts": _ts(root)}
            return replace(root, note=(await self._put(client, "chat.update", message, card, where))[1])
        except _RootGoneError:
            return None

    async def _update(self, client: AsyncWebClient, message: Message, card: Card, root: MessageRef) -> MessageRef:
        _, note = await self._put(client, "chat.update", message, card, {"channel": _channel(root), "ts": _ts(root)})
        if message.sequence == 1 or (message.repeat and await self._find(client, message, root)):
            return replace(root, note=note)
        reply = {
            "channel": _channel(root),
            "thread_ts": _ts(root),
            "text": escape(cut(card.text, FALLBACK_LIMIT)),
            "metadata": _metadata(message),
            "reply_broadcast": message.notice is not None,
        }
        await self._call(client, "chat.postMessage", reply)
        return replace(root, note=note)

    async def _put(
        self, client: AsyncWebClient, method: str, message: Message, card: Card, where: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Post or update; fall back to plain text when Slack refuses the form. Return (answer, why plain or "")."""

        async def plain(refused: FormRefused) -> dict[str, Any]:
            content = _plain(message, card, with_metadata="metadata" not in str(refused))
            return await self._call(client, method, content | where)

        async def rich() -> dict[str, Any]:
            return await self._call(client, method, _content(message, card) | where)

        return await sent_or_plain(self.name, message, rich, plain)

    async def _find(self, client: AsyncWebClient, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Return the place of the message with this id in the channel, or in the thread of `root`.

        Return None when it is not there or the search is refused. The caller then posts: twice is better than never.
        """
        params: dict[str, Any] = {"limit": LOOK_BACK, "include_all_metadata": True}
        try:
            params["channel"] = _channel(root) if root else await self._resolve_channel(client)
            if root:
                answer = await self._call(client, "conversations.replies", params | {"ts": _ts(root)}, get=True)
            else:
                answer = await self._call(client, "conversations.history", params, get=True)
        except DeliveryFailed as failure:
            if not failure.permanent:
                raise
            logging.getLogger(__name__).warning(
                "%s: cannot look for an earlier delivery: %s", self.name, failure, extra={"receiver": self.name}
            )
            return None
        for found in answer.get("messages", ()):
            payload = (found.get("metadata") or {}).get("event_payload") or {}
            # The update gives the root this id before the reply is posted, so the root does not prove a reply.
            is_root = root is not None and found.get("ts") == _ts(root)
            if payload.get("id") == message.id and not is_root:
                return _ref(params["channel"], str(found["ts"]))
        return None

    async def _resolve_channel(self, client: AsyncWebClient) -> str:
        """Return the channel's id, looked up by name the first time. Raises DeliveryFailed for an unknown name."""
        cursor = ""
        name = self._channel.removeprefix("#")
        for _page in range(CHANNEL_PAGES if not self._channel_id else 0):
            params = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": 1000}
            params |= {"cursor": cursor} if cursor else {}
            answer = await self._call(client, "conversations.list", params, get=True)
            self._channel_id = next((str(c["id"]) for c in answer.get("channels", ()) if c.get("name") == name), "")
            cursor = (answer.get("response_metadata") or {}).get("next_cursor", "")
            if self._channel_id or not cursor:
                break
        if not self._channel_id:
            raise DeliveryFailed(f"Slack channel {self._channel} was not found by name: set its id", permanent=True)
        return self._channel_id

    async def _call(
        self, client: AsyncWebClient, method: str, content: dict[str, Any], *, get: bool = False
    ) -> dict[str, Any]:
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

    def _refused(self, method: str, error: SlackApiError) -> DeliveryFailed:
        """Translate Slack's error. No message contains the token or the request."""
        status, code, data, is_limited, told, wait_s = refusal_of(error, self._now())
        if is_limited:
            asked = (
                f"asked to wait {wait_s:g}s" if wait_s is not None else f"without a valid Retry-After ({told[:40]!r})"
            )
            return DeliveryFailed(f"Slack {method}: rate limited, {asked}", retry_after=wait_s)
        if not code or code in _TRANSIENT or code in _TRANSIENT_MORE or (status or 200) >= 500:
            return DeliveryFailed(f"Slack {method}: HTTP {status}{f', {code}' if code else ', not a JSON answer'}")
        if code in _ROOT_GONE and method != "conversations.history":
            return _RootGoneError(f"Slack {method}: {code}", permanent=True)
        cure = f" ({_CURES[code]})" if code in _CURES else ""
        if code in _FORM | _FORM_MORE | _FORM_REST:
            return FormRefused(f"Slack {method} to {self._channel}: {code}{_why(data)}")
        return DeliveryFailed(f"Slack {method} to {self._channel}: {code}{cure}", permanent=True)


class _RootGoneError(DeliveryFailed):
    """The group's message can no longer be updated: it was deleted, or is too old."""


def slack_blocks(card: Card) -> list[dict[str, Any]]:
    """Draw a card as Block Kit, within Slack's limits."""
    sign = ":large_green_circle:" if card.status == "resolved" else _SIGNS.get(card.severity, ":large_blue_circle:")
    title = cut(f"{sign} {one_line(card.title)}", HEADER_LIMIT)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}}]
    fields = [_mrkdwn(f"*{escape(name)}*\n{escape(value)}", FIELD_LIMIT) for name, value in card.fields]
    if fields:
        blocks.append({"type": "section", "fields": fields[:FIELDS_LIMIT]})
    lines = [f"• {escape(line)}" for line in card.lines]
    lines += list(card.shown_lines[len(card.lines) :])
    if lines:
        blocks.append({"type": "section", "text": _mrkdwn("\n".join(lines), SECTION_LIMIT)})
    buttons = [_button(button) for button in card.buttons]
    buttons += [
        {"type": "button", "text": {"type": "plain_text", "text": link.text}, "url": link.url, "action_id": link.text}
        for link in card.links
        if len(link.url) <= BUTTON_URL_LIMIT
    ]
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    blocks.append({"type": "context", "elements": [_mrkdwn(escape(card.footer), CONTEXT_LIMIT)]})
    return blocks


def _button(button: Button) -> dict[str, Any]:
    text = _plain_text(button.text, BUTTON_TEXT_LIMIT)
    drawn: dict[str, Any] = {"type": "button", "text": text, "action_id": button.action, "value": button.value}
    if button.style:
        drawn["style"] = button.style
    if button.confirm:
        drawn["confirm"] = {
            "title": _plain_text(button.text, CONFIRM_TITLE_LIMIT),
            "text": _plain_text(button.confirm, CONFIRM_TEXT_LIMIT),
            "confirm": _plain_text(button.text, CONFIRM_BUTTON_LIMIT),
            "deny": {"type": "plain_text", "text": "Cancel"},
        } | ({"style": button.style} if button.style else {})
    return drawn


def _plain_text(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(one_line(text), limit)}


_SIGNS = {"critical": ":red_circle:", "warning": ":large_yellow_circle:"}


def _content(message: Message, card: Card) -> dict[str, Any]:
    return {
        "text": escape(cut(card.text, FALLBACK_LIMIT)),
        "blocks": slack_blocks(card),
        "metadata": _metadata(message),
        "unfurl_links": False,
    }


def _plain(message: Message, card: Card, *, with_metadata: bool) -> dict[str, Any]:
    """Return the message as plain text. The empty `blocks` remove those of an earlier version of the message."""
    text = cut("\n".join(escape(line) for line in card.paragraphs), FALLBACK_LIMIT)
    content = {"text": text, "blocks": [], "unfurl_links": False}
    return content | ({"metadata": _metadata(message)} if with_metadata else {})


def _why(data: Any) -> str:
    """Return Slack's details beside the error code, in parentheses: the block, and what is wrong with it."""
    told = data.get("errors") or (data.get("response_metadata") or {}).get("messages") or []
    return f" ({'; '.join(str(one) for one in told)[:300]})" if isinstance(told, list) and told else ""


def _metadata(message: Message) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"id": message.id}}


def _mrkdwn(text: str, limit: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": cut(text, limit)}


def _ref(channel: str, ts: str, note: str = "") -> MessageRef:
    """Return a message's place: the channel's id and the message's `ts`, which is its id in Slack."""
    return MessageRef(f"{channel}/{ts}", note)


def _channel(ref: MessageRef) -> str:
    return ref.place.rpartition("/")[0]


def _ts(ref: MessageRef) -> str:
    return ref.place.rpartition("/")[2]
