"""Places of messages in Slack: `channel/ts`, and `channel/thread/ts` for an escalation that is a reply. Pure.

A `ts` is a message's id in its channel.
"""

from __future__ import annotations

import re

from alerts.interfaces import MessageRef

_PLACE = re.compile(r"[^/]+/[0-9.]+(/[0-9.]+)?")


def is_place(ref: MessageRef) -> bool:
    """Return whether a place is one of Slack. Another kind of notifier may have had this name before."""
    return _PLACE.fullmatch(ref.place) is not None


def place_of(channel: str, ts: str, note: str = "") -> MessageRef:
    """Return the place of a message of a channel, by the channel's id."""
    return MessageRef(f"{channel}/{ts}", note)


def reply_place(thread: MessageRef, ts: str, note: str = "") -> MessageRef:
    """Return the place of a reply in the thread of a message."""
    return MessageRef(f"{channel_of(thread)}/{thread_of(thread)}/{ts}", note)


def channel_of(ref: MessageRef) -> str:
    """Return the id of a message's channel."""
    return ref.place.split("/")[0]


def thread_of(ref: MessageRef) -> str:
    """Return the `ts` of the thread that a message is in: its own one, when it is no reply."""
    return ref.place.split("/")[1]


def ts_of(ref: MessageRef) -> str:
    """Return a message's `ts`."""
    return ref.place.split("/")[-1]
