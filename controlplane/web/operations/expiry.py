"""The state of a token or a key, by the times of its end."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from controlplane.web.languages import noted

SOON_S = 14 * 86_400.0
"""Time before an end from which on it is soon. Chosen: two weeks are enough to hand out a new token or key."""
STATES = (noted("live", "credential"), noted("expires soon"), noted("expired"), noted("revoked"))


class Credential(Protocol):
    """Token or key: it opens something until it ends. Times are RFC 3339; None: it does not."""

    @property
    def live(self) -> bool:
        """Whether it opens something now."""
        ...

    @property
    def expires_at(self) -> str | None:
        """When it ends."""
        ...

    @property
    def revoked_at(self) -> str | None:
        """When somebody ended it."""
        ...


def state_of(one: Credential, now: float) -> str:
    """Return the state in one word, one of STATES. `now` is unix seconds."""
    if one.revoked_at:
        return "revoked"
    if not one.live:
        return "expired"
    if one.expires_at and datetime.fromisoformat(one.expires_at).timestamp() - now < SOON_S:
        return "expires soon"
    return "live"
