"""Slack's signature of an HTTP request: `v0=` and the HMAC-SHA256 of `v0:TIMESTAMP:BODY` by the signing secret.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from controlplane.errors import Unauthenticated

WINDOW_S = 300.0
"""Largest difference between a request's timestamp and now, in seconds: Slack's own advice."""
MOST = 10_000
"""Signatures in memory. Chosen: more clicks than people make within twice the window."""
_TIMESTAMP, _SIGNATURE = re.compile(r"[0-9]{1,12}"), re.compile(r"v0=[0-9a-f]{64}")


class Stamp(NamedTuple):
    """The headers of a request by Slack, well-formed and of this time. Only the body can prove them."""

    timestamp: str
    signature: str


class Signatures:
    """Checks requests. A signature is accepted once: whoever recorded a request cannot send it again."""

    def __init__(self, secret: Callable[[], str]) -> None:
        """`secret` is called at every request, so that a new secret needs no restart. It may raise DeliveryFailed."""
        self._secret = secret
        self._seen: OrderedDict[str, float] = OrderedDict()

    def stamp(self, headers: Mapping[str, str], now: float) -> Stamp:
        """Return the signature's headers. No body is needed. Raises Unauthenticated."""
        timestamp = headers.get("x-slack-request-timestamp", "")
        signature = headers.get("x-slack-signature", "")
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(signature):
            raise Unauthenticated("the request has no signature of Slack; Slack's own requests have one")
        if abs(now - int(timestamp)) > WINDOW_S:
            raise Unauthenticated(
                f"the request's timestamp differs by more than {WINDOW_S:g} s from this machine's clock; if it is "
                "Slack's request, set the clock"
            )
        return Stamp(timestamp, signature)

    def check(self, stamp: Stamp, body: bytes, now: float) -> None:
        """Accept the body of a request. Raises Unauthenticated for a wrong signature and for a repeated request.

        Raises DeliveryFailed when the secret cannot be read.
        """
        signed = b"v0:" + stamp.timestamp.encode() + b":" + body
        expected = "v0=" + hmac.new(self._secret().encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, stamp.signature):
            raise Unauthenticated("the signature is wrong; compare the signing secret with that of the Slack app")
        if stamp.signature in self._seen:
            raise Unauthenticated("the request was received before; a repeated request changes nothing")
        # A request is refused by its timestamp when its signature is forgotten: WINDOW_S ahead to WINDOW_S behind.
        while self._seen and (len(self._seen) >= MOST or now - self._first() > 2 * WINDOW_S):
            self._seen.popitem(last=False)
        self._seen[stamp.signature] = now

    def _first(self) -> float:
        return next(iter(self._seen.values()))
