"""Bodies and parameters of the routes about silences and acknowledgements."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from controlplane.access.roles import Principal, Role
from controlplane.config.durations import instant_seconds
from controlplane.config.vocabulary import Duration
from controlplane.errors import MalformedRequest
from controlplane.fleet.holding.bounds import LONGEST_S, LONGEST_SNOOZE_S, MOST_COMMENT, Actor, matchers_of
from controlplane.fleet.holding.desk import Wanted

LINE = r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$"
Comment = Annotated[str, Field(min_length=1, max_length=MOST_COMMENT, pattern=LINE)]
"""One line that says why."""
Note = Annotated[str, Field(max_length=MOST_COMMENT, pattern=r"^[^\x00-\x1f]*$")]
_TEXT = r"^[^\x00]*$"
Matchers = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=4096, pattern=_TEXT)]], Field(min_length=1, max_length=20)
]
"""Each is one or more matchers, such as `model="chat"`."""
LENGTH = {"type": "string", "format": "prometheus-lifetime", "description": "A Prometheus duration, such as 2h."}
Length = Annotated[Duration, Field(gt=0, le=LONGEST_S), WithJsonSchema(LENGTH)]
Snooze = Annotated[Duration, Field(gt=0, le=LONGEST_SNOOZE_S), WithJsonSchema(LENGTH)]
SilenceId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]


def _instant(value: str) -> str:
    if value[:1].isdigit() and value[-1:].isalpha() and not value.endswith(("Z", "z")):
        raise ValueError("expected a time such as 2026-11-28T22:00:00Z, or unix seconds")
    instant_seconds(value, 0.0)
    return value


INSTANT = {
    "type": "string",
    "format": "instant-or-ago",
    "description": "RFC 3339, or unix seconds.",
}
Instant = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_instant), WithJsonSchema(INSTANT)]


class SilenceRequest(BaseModel):
    """A new silence. It ends at `ends_at`, or `for` after its begin; exactly one of both is needed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    matchers: Matchers
    comment: Comment
    length: Annotated[Length | None, Field(alias="for")] = None
    ends_at: Instant | None = None
    starts_at: Instant | None = None
    """null: now."""
    starts_in: Length | None = None
    """Begin, as a duration from now. Not together with `starts_at`."""

    def wanted(self, now: float) -> Wanted:
        """Return the silence that is asked for. Raises MalformedRequest."""
        if (self.length is None) == (self.ends_at is None):
            raise MalformedRequest("say either `for`, how long, or `ends_at`, until when")
        if self.starts_at is not None and self.starts_in is not None:
            raise MalformedRequest("say either `starts_at` or `starts_in`")
        starts_at = now + (self.starts_in or 0.0)
        if self.starts_at is not None:
            starts_at = max(now, instant_seconds(self.starts_at, now))
        ends_at = starts_at + (self.length or 0.0)
        if self.ends_at is not None:
            ends_at = instant_seconds(self.ends_at, now)
        return Wanted(matchers_of(self.matchers), starts_at, ends_at, self.comment.strip())


class PreviewRequest(BaseModel):
    """The matchers of a silence that nobody has made."""

    model_config = ConfigDict(extra="forbid")

    matchers: Matchers


class ExtendRequest(BaseModel):
    """How long a silence lasts from now."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    length: Annotated[Length, Field(alias="for")]


class ReasonRequest(BaseModel):
    """Words for the audit trail."""

    model_config = ConfigDict(extra="forbid")

    comment: Note = ""


class SnoozeRequest(BaseModel):
    """How long an alert is left in peace, and why."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    length: Annotated[Snooze, Field(alias="for")]
    comment: Note = ""


def actor_of(principal: Principal) -> Actor:
    """Return the caller as the desk knows people."""
    return Actor(principal.name, principal.role.includes(Role.ADMIN))
