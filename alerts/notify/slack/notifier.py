"""Delivers to Slack: one message per group, updated in place, with each change as a reply in its thread.

A reply about something else than alerts, such as a rollout's end, is shown in the channel too: its thread has no
followers yet, and it comes once. So is a step of an escalation that leads to the channel of the group's own message: it
is a reply in that message's thread, not a message of its own.

Slack has no idempotency key. Every message has its own id in its metadata. A repeat (after a crash, or a call whose
outcome is unknown) first looks for that id in the channel or thread, and posts only if it is not there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from alerts.charts import ChartSource
from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.notify.card import Card, render
from alerts.notify.pace import Shared
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.slack.api import RootGone, ScopeMissing, SlackApi, SlackCalls
from alerts.notify.slack.blocks import slack_message, slack_plain, slack_text, with_chart
from alerts.notify.slack.chart import CHART_S, Drawing, SlackCharts, drawn
from alerts.notify.slack.limits import POST, UPDATE, SlackAccount, SlackLimits
from alerts.notify.slack.look import sender
from alerts.notify.slack.place import channel_of, is_place, place_of, reply_place, thread_of, ts_of
from alerts.notify.slack.text import mentioned

EVENT_TYPE = "controlplane_alert"
"""Type of the metadata that holds a message's id."""
LOOK_BACK = 100
"""Number of messages in which a repeat looks for its id. A claim ends within a minute, so the id is near the end."""
CHANNEL_PAGES = 20
"""Number of pages, with 1000 channels each, in which a channel's name is looked up."""
UNNAMED = "sent without username and icon: the app lacks the scope chat:write.customize"
_CHANNEL_ID = re.compile(r"^[CGD][A-Z0-9]{8,}$")


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
        people: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chart: bool = True,
        account: SlackAccount | None = None,
    ) -> None:
        """`chart`: show a chart in messages about alerts, once `use_charts` was called.

        `account`: notifiers with an equal one share Slack's limits, once `use_buckets` was called.
        `people`: ids in Slack of those who may be on call, by name. No other text of a message can mention.
        """
        self.name, self._people, self._channel = name, dict(people or {}), channel
        # Slack accepts a channel's name only for posting; a search for a message needs the channel's id.
        self._channel_id = channel if _CHANNEL_ID.match(channel) else ""
        self._charts, self._shows_charts = SlackCharts(name, monotonic), chart
        self._limits = SlackLimits(channel, account, monotonic, sleep)
        self._api = SlackApi(channel, token, base_url, timeout_s, now, self._limits)

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Post the group's message, or update it and reply in its thread; return its place.

        An edit only updates. An overtaken message only replies: the newer one updates the group's message.
        Where the group's message is gone, or was never posted, an edit does nothing.

        Raises DeliveryFailed: permanent for refusals (with the cure), with `retry_after` on 429, and
        where the messages before it use Slack's limits for longer than PATIENCE_S.
        """
        calls = self._api.calls()
        card = replace(render(message), mentions=self._mentions(message))
        if root is not None and not is_place(root):
            root = None  # a place of another kind of notifier, which had this name before
        if message.edit:
            return await self._edit(calls, message, card, root)
        if root is None and (thread := await self._thread_above(calls, message)):
            try:
                return await self._escalate(calls, message, card, thread)
            except RootGone:
                pass  # the message above was deleted: the escalation becomes a message of its own
        if root is None and message.repeat:
            root = await self._find(calls, message, None)
            if root is not None:
                return root
        if root is not None:
            try:
                root = await self._update(calls, message, card, root)
            except RootGone:
                root = None
        return root if root is not None else await self._post(calls, message, card)

    def use_charts(self, source: ChartSource) -> None:
        """Take the charts of the next messages from a source."""
        if self._shows_charts:
            self._charts.source = source

    def use_buckets(self, shared: Shared) -> None:
        """Share Slack's limits with the notifiers that post by the same app, or into the same channel."""
        self._limits.share(shared)

    def _mentions(self, message: Message) -> tuple[str, ...]:
        """Return the ids of the people on call, while something fires."""
        names = message.on_call.people if message.on_call and message.firing else ()
        return tuple(self._people[name] for name in names if name in self._people)

    async def close(self) -> None:
        """Release connections."""
        await self._api.close()

    async def _post(self, calls: SlackCalls, message: Message, card: Card) -> MessageRef:
        answer, note = await self._put(calls, POST, message, card, {"channel": self._channel})
        self._channel_id = str(answer.get("channel", self._channel_id))
        return place_of(self._channel_id, str(answer.get("ts", "")), note)

    async def _thread_above(self, calls: SlackCalls, message: Message) -> MessageRef | None:
        """Return the message in this channel that an escalation goes on from; None when there is none."""
        places = [ref for ref in message.above if is_place(ref)]
        if not places:
            return None
        try:
            own = await self._resolve_channel(calls)
        except DeliveryFailed as failure:
            if not failure.permanent:
                raise
            return None  # its id cannot be looked up, so the escalation becomes a message of its own
        return next((ref for ref in places if channel_of(ref) == own), None)

    async def _escalate(self, calls: SlackCalls, message: Message, card: Card, thread: MessageRef) -> MessageRef:
        """Reply in a thread, visible in the channel too. Return the reply's place."""
        if message.repeat and (found := await self._find(calls, message, thread)):
            return reply_place(thread, ts_of(found))
        where = {"channel": channel_of(thread), "thread_ts": thread_of(thread), "reply_broadcast": True}
        answer, note = await self._put(calls, POST, message, card, where)
        return reply_place(thread, str(answer.get("ts", "")), note)

    async def _edit(
        self, calls: SlackCalls, message: Message, card: Card, root: MessageRef | None
    ) -> MessageRef | None:
        if root is None:
            return None
        try:
            where = {"channel": channel_of(root), "ts": ts_of(root)}
            return replace(root, note=(await self._put(calls, UPDATE, message, card, where))[1])
        except RootGone:
            return None

    async def _update(self, calls: SlackCalls, message: Message, card: Card, root: MessageRef) -> MessageRef:
        note = ""
        if not message.overtaken:
            where = {"channel": channel_of(root), "ts": ts_of(root)}
            _, note = await self._put(calls, UPDATE, message, card, where)
        if message.sequence == 1 or (message.repeat and await self._find(calls, message, root)):
            return replace(root, note=note)
        in_thread = thread_of(root) != ts_of(root)
        if in_thread and message.escalated is None:
            return replace(root, note=note)  # the end: the message above says it in the same thread
        reply = {
            "channel": channel_of(root),
            "thread_ts": thread_of(root),
            "text": _short(card),
            "metadata": _metadata(message),
            "reply_broadcast": message.notice is not None or in_thread,
        }
        await _call_as(sender(card), calls, POST, reply)
        return replace(root, note=note)

    async def _put(
        self, calls: SlackCalls, method: str, message: Message, card: Card, where: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Post or update with a chart; fall back to none, and to plain text, when Slack refuses the form.

        A post does not wait for a slow chart: it gets it by an edit. Return the answer and a note of what is missing,
        or "".
        """
        async with self._charts.drawing(message, calls) as drawing:
            # Before the chart begins: a message that goes back to the queue uploads nothing.
            await calls.turn(method)
            is_late = not await drawn(drawing, is_urgent=method == POST)
            chart, missing = (None, "") if is_late else drawing.result()
            content = _content(message, card)
            own = sender(card) if method == POST else {}  # an update keeps the sender
            if chart is not None:
                try:
                    return await _call_as(own, calls, method, with_chart(content, chart) | where)
                except FormRefused as refused:
                    missing = self._charts.failed(str(refused))

            async def plain(refused: FormRefused) -> tuple[dict[str, Any], str]:
                content = _plain(message, card, with_metadata="metadata" not in str(refused))
                return await _call_as(own, calls, method, content | where)

            async def rich() -> tuple[dict[str, Any], str]:
                return await _call_as(own, calls, method, content | where)

            (answer, unnamed), why_plain = await sent_or_plain(self.name, message, rich, plain)
            if is_late and not why_plain:
                missing = await self._add_chart(calls, drawing, content, answer)
            return answer, "; ".join(filter(None, (why_plain or missing, unnamed)))

    async def _add_chart(
        self, calls: SlackCalls, drawing: Drawing, content: dict[str, Any], posted: dict[str, Any]
    ) -> str:
        """Edit a message that was posted before its chart was there. Return a note of why it has none, or "".

        The message has arrived, so nothing here makes its delivery fail. Other edits come first: this one never waits
        for its turn.
        """
        try:
            async with asyncio.timeout(CHART_S):
                chart, missing = await drawing
                if chart is None:
                    return missing
                await calls.turn(UPDATE, at_once=True)
                where = {"channel": posted.get("channel", ""), "ts": posted.get("ts", "")}
                await calls.call(UPDATE, with_chart(content, chart) | where)
                return ""
        except TimeoutError:
            return self._charts.failed(f"adding it took longer than {CHART_S:g} s")
        except DeliveryFailed as failure:
            return self._charts.failed(str(failure))

    async def _find(self, calls: SlackCalls, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Return the place of the message with this id in the channel, or in the thread of `root`.

        Return None when it is not there or the search is refused. The caller then posts: twice is better than never.
        """
        params: dict[str, Any] = {"limit": LOOK_BACK, "include_all_metadata": True}
        try:
            params["channel"] = channel_of(root) if root else await self._resolve_channel(calls)
            if root:
                answer = await calls.call("conversations.replies", params | {"ts": thread_of(root)}, get=True)
            else:
                answer = await calls.call("conversations.history", params, get=True)
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
            is_root = root is not None and found.get("ts") == ts_of(root)
            if payload.get("id") == message.id and not is_root:
                return place_of(params["channel"], str(found["ts"]))
        return None

    async def _resolve_channel(self, calls: SlackCalls) -> str:
        """Return the channel's id, looked up by name the first time. Raises DeliveryFailed for an unknown name."""
        cursor = ""
        name = self._channel.removeprefix("#")
        for _page in range(CHANNEL_PAGES if not self._channel_id else 0):
            params = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": 1000}
            params |= {"cursor": cursor} if cursor else {}
            answer = await calls.call("conversations.list", params, get=True)
            self._channel_id = next((str(c["id"]) for c in answer.get("channels", ()) if c.get("name") == name), "")
            cursor = (answer.get("response_metadata") or {}).get("next_cursor", "")
            if self._channel_id or not cursor:
                break
        if not self._channel_id:
            raise DeliveryFailed(f"Slack channel {self._channel} was not found by name: set its id", permanent=True)
        return self._channel_id


async def _call_as(
    own: Mapping[str, str], calls: SlackCalls, method: str, content: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Call as a sender of the receiver's own, or as the app where Slack does not allow that. Return a note, too."""
    try:
        return await calls.call(method, {**content, **own}), ""
    except ScopeMissing:
        if not own:
            raise
    return await calls.call(method, content), UNNAMED


def _content(message: Message, card: Card) -> dict[str, Any]:
    return {**slack_message(card), "metadata": _metadata(message), "unfurl_links": False}


def _short(card: Card) -> str:
    return mentioned(card, slack_text(card))


def _plain(message: Message, card: Card, *, with_metadata: bool) -> dict[str, Any]:
    """Return the message as plain text. The empty lists remove what an earlier version of the message has."""
    content = {"text": mentioned(card, slack_plain(card)), "blocks": [], "attachments": [], "unfurl_links": False}
    return content | ({"metadata": _metadata(message)} if with_metadata else {})


def _metadata(message: Message) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"id": message.id}}
