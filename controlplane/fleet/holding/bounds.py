"""Bounds of silences, whoever asks for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alerts.errors import MatcherError
from alerts.holds import Silence
from alerts.routing.matchers import Matcher, Op, parse_matchers
from collectors.durations import format_duration
from controlplane.errors import Forbidden, MalformedRequest

MOST_MATCHERS, MOST_LENGTH = 20, 1024
"""Most matchers of a silence, and most characters of a label's name or value in them."""
MOST_COMMENT = 1000
"""Most characters of a comment."""
LONGEST_S = 366 * 86400.0
"""Longest silence, in seconds. What is to be silent for ever belongs into the rule or the route."""
LONGEST_OF_OPERATORS_S = 30 * 86400.0
"""Longest silence that an operator may make, in seconds. Longer ones need an admin."""
LONGEST_SNOOZE_S = 30 * 86400.0


class Actor(NamedTuple):
    """The person or the token that acts."""

    name: str
    is_admin: bool = False


def matchers_of(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """Return the matchers of texts such as `model="chat"`. Raises MalformedRequest."""
    try:
        return checked_matchers(tuple(one for text in texts for one in parse_matchers(text)))
    except MatcherError as error:
        raise MalformedRequest(f"matchers: {error}") from error


def checked_matchers(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    """Return the matchers of a silence. Raises MalformedRequest for none, too many, and for those that match all."""
    if not matchers:
        raise MalformedRequest('a silence needs a matcher, such as model="chat"')
    if len(matchers) > MOST_MATCHERS:
        raise MalformedRequest(f"a silence has {MOST_MATCHERS} matchers at most, and this one has {len(matchers)}")
    if any(len(text) > MOST_LENGTH for one in matchers for text in (one.name, one.value)):
        raise MalformedRequest(f"a matcher has {MOST_LENGTH} characters on each side at most")
    if all(one.matches({}) for one in matchers):
        # Alertmanager's rule: otherwise one slip of the pen silences everything.
        raise MalformedRequest("at least one matcher must not match the empty string: this silence would match all")
    return matchers


def check_times(starts_at: float, ends_at: float, now: float) -> None:
    """Raise MalformedRequest for a silence that ends before it begins, has ended, or is too long."""
    if ends_at <= starts_at:
        raise MalformedRequest("a silence must end after it begins")
    if ends_at <= now:
        raise MalformedRequest("the end of a silence cannot be in the past")
    if ends_at - starts_at > LONGEST_S or starts_at - now > LONGEST_S:
        raise MalformedRequest(f"a silence begins within {format_duration(LONGEST_S)} and lasts no longer than that")


def check_may(actor: Actor, silence: Silence) -> None:
    """Raise Forbidden where a silence needs an admin: it names no value, or it is longer than an operator's."""
    if actor.is_admin:
        return
    if not any(one.op is Op.EQUAL and one.value for one in silence.matchers):
        raise Forbidden(
            "a silence without an equality matcher, such as model=chat, may hold back alerts of the whole fleet: "
            "add one, or let an admin make it"
        )
    if silence.ends_at - silence.starts_at > LONGEST_OF_OPERATORS_S:
        raise Forbidden(
            f"a silence of more than {format_duration(LONGEST_OF_OPERATORS_S)} needs an admin; make a shorter one, "
            "which reminds before its end"
        )
