"""Slack's limits on calls, and who shares them: posts are counted by channel, other methods by app and workspace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import NamedTuple

from alerts.notify.pace import Bucket, Shared

POST, UPDATE = "chat.postMessage", "chat.update"
POSTS, UPDATES = (1.0, 3), (1.2, 10)
"""Seconds between two posts to the channel, and two updates, with the number that may come at once. Slack takes about
one post a second in a channel with short bursts, and 50 updates a minute of an app (tier 3). The bursts are chosen."""
PATIENCE_S = 10.0
"""Seconds that the calls of a message wait for their turns together. Chosen: a sender gives a message 15 seconds, of
which chart and calls need some, and two notifiers that share a bucket, with four messages each, wait 9.6 seconds."""
REST_S = 600.0
"""Longest wait that Slack can ask for, in seconds. Chosen: the same as for the messages of the queue."""


class SlackAccount(NamedTuple):
    """An app in a workspace, as far as the configuration tells: notifiers with equal ones have one token."""

    base_url: str
    token: Hashable
    """The place of the token, such as the name of an environment variable. It must not show a secret."""


class SlackLimits:
    """The limits of one notifier's calls. A method without a limit here never waits."""

    def __init__(
        self,
        channel: str,
        account: SlackAccount | None,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`account`: None for a notifier that shares nothing."""
        self._channel, self._account, self._monotonic = channel, account, monotonic
        self._makes: dict[str, Callable[[], Bucket]] = {
            POST: partial(Bucket, f"Slack {POST} to {channel}", *POSTS, monotonic, sleep),
            UPDATE: partial(Bucket, f"Slack {UPDATE}", *UPDATES, monotonic, sleep),
        }
        self._buckets = {method: make() for method, make in self._makes.items()}

    def share(self, shared: Shared) -> None:
        """Use the buckets of all notifiers with this account: that of the channel, and that of updates."""
        if self._account is not None:
            # A channel's name is the same with and without #. That an id means the same channel is not known here.
            keys = {POST: (POST, self._account, self._channel.removeprefix("#")), UPDATE: (UPDATE, self._account)}
            self._buckets = {method: shared(keys[method], make) for method, make in self._makes.items()}

    def patience(self) -> float:
        """Return the moment until which the calls of a message that begins now may wait, in monotonic seconds."""
        return self._monotonic() + PATIENCE_S

    async def take(self, method: str, until: float) -> None:
        """Wait for the turn of a method. Raises DeliveryFailed, with the seconds to wait, when it comes later."""
        if (bucket := self._buckets.get(method)) is not None:
            await bucket.take(until - self._monotonic())

    def rest(self, method: str, seconds: float) -> None:
        """Let nobody who shares the limit of a method call it for so long: Slack has asked to wait."""
        if (bucket := self._buckets.get(method)) is not None:
            bucket.rest(min(seconds, REST_S))
