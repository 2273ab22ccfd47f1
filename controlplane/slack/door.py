"""The HTTP way of clicks: requests of Slack to this control plane's public address."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from alerts.errors import DeliveryFailed
from controlplane.clock.every import Every
from controlplane.errors import Unauthenticated, Unavailable
from controlplane.slack.click import payload_of
from controlplane.slack.interactions import Interactions
from controlplane.slack.signature import Signatures, Stamp

MOST_BYTES = 256 * 2**10
"""Largest body of a request: 256 KiB. A click repeats the message that it was on, which has a few KiB."""
TOLD_S = 60.0
"""Least seconds between two log lines about refused requests: strangers decide how many there are. Chosen."""
log = logging.getLogger(__name__)


class SlackDoor:
    """Checks requests of Slack, and hands their clicks on."""

    def __init__(self, signatures: Signatures, interactions: Interactions) -> None:
        self._signatures, self._interactions = signatures, interactions
        self._tell = Every(TOLD_S)

    def stamp(self, headers: Mapping[str, str], now: float) -> Stamp:
        """Return the signature of a request whose body is not read yet. Raises Unauthenticated."""
        try:
            return self._signatures.stamp(headers, now)
        except Unauthenticated as error:
            self._say(error, now)
            raise

    async def take(self, stamp: Stamp, body: bytes, now: float) -> None:
        """Carry out a request.

        Raises Unauthenticated for one that is not Slack's or was received before, MalformedRequest, and Unavailable
        when the signing secret cannot be read or too many clicks are in work.
        """
        try:
            self._signatures.check(stamp, body, now)
        except DeliveryFailed as error:
            # The error names the secret's place, which is not for strangers.
            self._say(error, now)
            raise Unavailable("Slack's requests cannot be checked now; the control plane's log says why") from error
        except Unauthenticated as error:
            self._say(error, now)
            raise
        await self._interactions.handle(payload_of(body))

    def _say(self, error: Exception, now: float) -> None:
        if self._tell.take(now):
            log.warning("slack: a request to the address for clicks was refused: %s", error)
