"""The JSON shapes of silences and acknowledgements. Times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alerts.dispatch import Mute
from alerts.holds import Acknowledgement
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.store.holding.silences import StoredSilence


class SilenceView(View):
    """One silence."""

    id: str
    state: str
    """pending (it has not begun), active or expired."""
    matchers: tuple[str, ...]
    """The matchers as Alertmanager writes them: `model="chat"`."""
    starts_at: str
    ends_at: str
    created_by: str
    owner: str
    """Name of the token or the person that made it."""
    comment: str
    created_at: str
    updated_at: str
    mutes: int
    """Number of firing alerts that match it now."""
    reminded_at: str | None
    """Time of the notice that it is to lapse."""


class CoveredView(View):
    """A firing or pending alert that a silence matches."""

    fingerprint: str
    name: str
    state: str
    severity: str
    labels: dict[str, str]
    summary: str


class CoveredGroupView(View):
    """An open group of notifications that a silence concerns."""

    key: str
    receiver: str
    alerts: int
    """Number of its firing alerts."""
    muted: int
    """Number of those that the silence matches."""


class SilencePreview(View):
    """The alerts and groups that a silence would hold back if it were active now."""

    matchers: tuple[str, ...]
    needs_admin: bool
    alerts: tuple[CoveredView, ...]
    """The first ones."""
    total: int
    """Number of all alerts that it matches."""
    groups: tuple[CoveredGroupView, ...]


class HeldBackView(View):
    """Why a firing alert is not in notifications now."""

    stage: str
    """silence, inhibition, acknowledgement, time interval or rota."""
    sentence: str
    by: tuple[str, ...]
    """Ids of silences, fingerprints of alerts, names of people or of time intervals."""


class AcknowledgementView(View):
    """The person who takes care of an alert."""

    by: str
    at: str
    until: str | None
    """End of a snooze; null: until the alert resolves."""
    comment: str


class AlertHold(NamedTuple):
    """The reasons that hold an alert back, the person who takes care of it, and how it flaps ("": it does not)."""

    held_back: tuple[HeldBackView, ...] = ()
    acknowledged: AcknowledgementView | None = None
    flapping: str = ""


NO_HOLD = AlertHold()


def silence_view(stored: StoredSilence, mutes: int, at: float) -> SilenceView:
    """Return the view of a silence at unix second `at`."""
    silence = stored.silence
    return SilenceView(
        id=silence.id,
        state=stored.state(at).value,
        matchers=tuple(str(one) for one in silence.matchers),
        starts_at=instant(silence.starts_at),
        ends_at=instant(silence.ends_at),
        created_by=silence.created_by,
        owner=stored.owner,
        comment=silence.comment,
        created_at=instant(stored.created_at),
        updated_at=instant(silence.updated_at),
        mutes=mutes,
        reminded_at=rfc3339(stored.reminded_at),
    )


def held_back_views(mutes: Sequence[Mute]) -> tuple[HeldBackView, ...]:
    """Return the views of the reasons that hold an alert back."""
    return tuple(HeldBackView(stage=mute.stage.value, sentence=mute.sentence, by=mute.by) for mute in mutes)


def acknowledgement_view(one: Acknowledgement | None) -> AcknowledgementView | None:
    """Return the view of an acknowledgement; None for none."""
    if one is None:
        return None
    return AcknowledgementView(by=one.by, at=instant(one.at), until=rfc3339(one.until), comment=one.comment)
