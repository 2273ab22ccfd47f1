"""Silences and acknowledgements as people make, change and end them. Blocking; every method raises Unavailable."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlmodel import Session

from alerts.dispatch import Steadied
from alerts.holds import Acknowledgement, Holds, Silence, Silences
from alerts.interfaces import AlertInstance, AlertState, Clock
from alerts.routing.matchers import Matcher, Op
from collectors.durations import format_duration
from controlplane.errors import Conflict, Forbidden, MalformedRequest
from controlplane.fleet.alerting.pipeline import Pipeline, Standing, standings
from controlplane.fleet.assemble import alert_state
from controlplane.fleet.holding.bounds import (
    LONGEST_SNOOZE_S,
    Actor,
    check_may,
    check_times,
    checked_matchers,
)
from controlplane.fleet.holding.views import (
    AlertHold,
    CoveredGroupView,
    CoveredView,
    SilencePreview,
    SilenceView,
    acknowledgement_view,
    held_back_views,
    silence_view,
)
from controlplane.fleet.view import instant
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.holding.acknowledgements import AcknowledgementStore
from controlplane.store.holding.silences import Act, SilenceState, SilenceStore, StoredSilence, put_new

SHOWN = 100
"""Most alerts, and most groups, of a preview."""


class Wanted(NamedTuple):
    """A silence as it is asked for. Times are unix seconds."""

    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    comment: str
    created_by: str = ""
    """Name that a client of Alertmanager gives; "": that of the actor."""

    def request(self) -> str:
        """Return the text that an idempotency key is bound to. Times are left out: a repetition comes later."""
        length_s = round(self.ends_at - self.starts_at)
        return f"{','.join(str(one) for one in self.matchers)} for {length_s}s: {self.comment}"


class HoldingDesk:
    """Makes, changes, ends and shows silences and acknowledgements. Every act is in the audit trail."""

    def __init__(
        self,
        silences: SilenceStore,
        acknowledgements: AcknowledgementStore,
        alerts: SqlAlertLog,
        pipeline: Pipeline,
        clock: Clock,
    ) -> None:
        self._silences, self._acknowledgements = silences, acknowledgements
        self._alerts, self._pipeline, self._clock = alerts, pipeline, clock

    # -- silences ------------------------------------------------------------------------------------------------

    def stored(self, *, expired: bool = True) -> list[StoredSilence]:
        """Return the stored silences, by their ends; expired ones come last."""
        return self._silences.list(self._clock.now(), expired=expired)

    def listed(self, state: SilenceState | None = None) -> list[SilenceView]:
        """Return the silences of a state; None: those that are not over."""
        now = self._clock.now()
        found = self._silences.list(now, expired=state is SilenceState.EXPIRED)
        chosen = [one for one in found if state is None or one.state(now) is state]
        return self._views(chosen, now)

    def every(self) -> list[SilenceView]:
        """Return the silences of every state."""
        return self._views(self.stored(), self._clock.now())

    def stored_one(self, silence_id: str) -> StoredSilence:
        """Return one stored silence. Raises NotFound."""
        return self._silences.get(silence_id)

    def covering(self, labels: Mapping[str, str]) -> list[Silence]:
        """Return the silences that hold an alert with these labels back now."""
        now = self._clock.now()
        silences = (stored.silence for stored in self._silences.list(now, expired=False))
        return Silences(one for one in silences if one.is_active(now)).covering(labels)

    def show(self, silence_id: str) -> SilenceView:
        """Return one silence. Raises NotFound."""
        return self._view(self._silences.get(silence_id))

    def create(self, wanted: Wanted, actor: Actor, key: str | None = None) -> SilenceView:
        """Make a silence. A repeated key returns the same one.

        Raises MalformedRequest, Forbidden, Conflict (a key of another request, too many silences) and NotStorable.
        """
        if key is not None and (repeated := self._repeated(key, wanted)):
            return repeated
        now = self._clock.now()
        silence = _new(wanted, actor, now)
        act = Act(actor.name, "silence.create", _told(silence), now)
        try:
            self._silences.add(silence, actor.name, act, key=key, request=wanted.request())
        except Conflict:
            if key is not None and (repeated := self._repeated(key, wanted)):
                return repeated  # another process was faster with the same request
            raise
        return self.show(silence.id)

    def extend(self, silence_id: str, for_s: float, actor: Actor) -> SilenceView:
        """Let a silence end `for_s` seconds from now, or from its begin if it has not begun. Safe to repeat.

        Raises NotFound, Conflict for one that is over or ends later already, MalformedRequest and Forbidden.
        """
        now = self._clock.now()

        def extended(_: Session, before: StoredSilence) -> Silence:
            silence = before.silence
            if before.state(now) is SilenceState.EXPIRED:
                raise Conflict(f"silence {silence_id} ended at {instant(silence.ends_at)}: make a new one")
            ends_at = max(now, silence.starts_at) + for_s
            if ends_at < silence.ends_at - 1:
                raise Conflict(
                    f"silence {silence_id} ends at {instant(silence.ends_at)}, which is later; "
                    f"`cp silences expire {silence_id}` ends it now"
                )
            after = replace(silence, ends_at=ends_at, updated_at=now)
            check_times(after.starts_at, after.ends_at, now)
            check_may(actor, after)
            return after

        detail = f"it ends in {format_duration(max(1.0, float(round(for_s))))}"
        return self._view(self._silences.change(silence_id, Act(actor.name, "silence.extend", detail, now), extended))

    def expire(self, silence_id: str, actor: Actor, reason: str = "", *, again: bool = True) -> SilenceView:
        """End a silence now. Safe to repeat, unless `again` is False: then it raises Conflict for one that is over.

        Raises NotFound.
        """
        now = self._clock.now()

        def ended(_: Session, before: StoredSilence) -> Silence:
            if before.state(now) is SilenceState.EXPIRED and not again:
                raise Conflict(f"silence {silence_id} already expired")
            return _ended(before, now)

        act = Act(actor.name, "silence.expire", reason or "ended by hand", now)
        return self._view(self._silences.change(silence_id, act, ended))

    def put(self, silence_id: str, wanted: Wanted, actor: Actor) -> str:
        """Make or change a silence as Alertmanager does; return its id. Raises as `create` does, and NotFound.

        A change that history does not allow (other matchers, another begin) ends the silence and makes a new one.
        """
        if not silence_id:
            return self.create(wanted, actor).id
        now = self._clock.now()
        new = _new(wanted, actor, now, earliest=0.0)
        ids = [silence_id]

        def updated(session: Session, before: StoredSilence) -> Silence:
            if _may_update(before, new, now):
                return replace(new, id=silence_id)
            fresh = _new(wanted, actor, now)
            ids.append(fresh.id)
            put_new(session, fresh, actor.name, Act(actor.name, "silence.create", _told(fresh), now))
            return _ended(before, now)

        self._silences.change(silence_id, Act(actor.name, "silence.update", _told(new), now), updated)
        return ids[-1]

    def preview(self, matchers: tuple[Matcher, ...]) -> SilencePreview:
        """Return what a silence with these matchers would hold back now. Raises MalformedRequest."""
        checked_matchers(matchers)
        silence = Silence("preview", matchers, 0.0, 1.0, "", "", 0.0)
        covered = [one for one in self._alerts.active() if silence.covers(dict(one.labels))]
        return SilencePreview(
            matchers=tuple(str(one) for one in matchers),
            needs_admin=_needs_admin(silence),
            alerts=tuple(_covered(one) for one in covered[:SHOWN]),
            total=len(covered),
            groups=tuple(self._groups(silence)[:SHOWN]),
        )

    def matchers_for(self, alert: AlertInstance) -> str:
        """Return matchers that cover an alert and those that differ only in severity, as text."""
        pairs = [(name, value) for name, value in alert.labels if name != "severity"]
        return ", ".join(str(Matcher(name, Op.EQUAL, value)) for name, value in pairs)

    # -- acknowledgements ----------------------------------------------------------------------------------------

    def acknowledge(self, fingerprint: str, actor: Actor, comment: str = "", for_s: float | None = None) -> None:
        """Note that the actor takes care of a firing alert, until it resolves or for `for_s` seconds. Safe to repeat.

        Raises NotFound, Conflict for an alert that does not fire, MalformedRequest and NotStorable.
        """
        if for_s is not None and not 0 < for_s <= LONGEST_SNOOZE_S:
            raise MalformedRequest(f"a snooze lasts {format_duration(LONGEST_SNOOZE_S)} at most")
        found = self._alerts.get(fingerprint)
        if found.state is not AlertState.FIRING or found.fired_at is None:
            raise Conflict(f"alert {fingerprint} is {alert_state(found)}: only a firing alert can be acknowledged")
        now = self._clock.now()
        until = None if for_s is None else now + for_s
        one = Acknowledgement(fingerprint, found.fired_at, actor.name, now, until, comment)
        holds = self._acknowledgements.holds(now)
        standing = (holds.acknowledgements or {}).get(fingerprint)
        if standing is not None and replace(standing, at=now) == one:
            return
        what = "until it resolves" if for_s is None else f"for {format_duration(float(round(for_s)) or 1.0)}"
        action = "alert.acknowledge" if for_s is None else "alert.snooze"
        self._acknowledgements.put(one, action, f"{_name(found)} {what}" + (f": {comment}" if comment else ""))

    def still_fires(self, alert: AlertInstance) -> bool:
        """Return whether an alert that was read earlier fires, without a break since."""
        found = self._alerts.by_fingerprint(alert.fingerprint)
        return found is not None and found.state is AlertState.FIRING and found.fired_at == alert.fired_at

    def unacknowledge(self, fingerprint: str, actor: Actor, comment: str = "") -> None:
        """Take an acknowledgement or a snooze back. Safe to repeat. Raises NotFound for an unknown alert."""
        found = self._alerts.get(fingerprint)
        detail = _name(found) + (f": {comment}" if comment else "")
        self._acknowledgements.remove(fingerprint, actor.name, detail, self._clock.now())

    def firing(self, matching: Callable[[Mapping[str, str]], bool] = lambda _labels: True) -> list[Standing]:
        """Return the firing alerts whose labels are `matching`, with their receivers and what holds them back."""
        now = self._clock.now()
        alerts = [one for one in self._alerts.active(AlertState.FIRING) if matching(dict(one.labels))]
        found = self._steadied(alerts, now)
        return self._standings(found.picture.instances, found.picture.holds, now)

    def standings(self, alerts: Sequence[AlertInstance]) -> dict[str, AlertHold]:
        """Return what holds those of these alerts back that fire or flap, by fingerprint."""
        now = self._clock.now()
        found = self._steadied(alerts, now)
        holds = found.picture.holds
        firing = [one for one in found.picture.instances if one.state is AlertState.FIRING]
        return {
            one.instance.fingerprint: AlertHold(
                held_back_views(one.mutes),
                acknowledgement_view(holds.acknowledgement(one.instance, now)),
                flap.sentence if (flap := found.flaps.get(one.instance.labels)) else "",
            )
            for one in self._standings(firing, holds, now)
        }

    def _standings(self, alerts: Sequence[AlertInstance], holds: Holds, now: float) -> list[Standing]:
        stages = self._pipeline.stages()
        rules = stages.routing.inhibit_rules if alerts else ()
        sources = [{one.name: one.value for one in rule.source if one.names_a_value} for rule in rules]
        firing = self._alerts.firing_labels(sources) if sources else []
        flapping = self._steadied(self._alerts.returning(), now).flaps if sources else ()
        return standings(stages, alerts, (*firing, *flapping), holds, now)

    def _steadied(self, alerts: Sequence[AlertInstance], now: float) -> Steadied:
        return self._pipeline.steadied(alerts, self._acknowledgements.holds(now), now)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _repeated(self, key: str, wanted: Wanted) -> SilenceView | None:
        found = self._silences.by_key(key)
        if found is None:
            return None
        stored, request = found
        if request != wanted.request():
            raise Conflict(f"idempotency key {key!r} was used for another request ({request})")
        return self._view(stored)

    def _view(self, stored: StoredSilence) -> SilenceView:
        return self._views([stored], self._clock.now())[0]

    def _views(self, stored: Sequence[StoredSilence], now: float) -> list[SilenceView]:
        """Return the views of silences, each with the number of firing alerts that it matches."""
        relevant = [one.silence for one in stored if one.state(now) is not SilenceState.EXPIRED]
        counts = dict.fromkeys((one.silence.id for one in stored), 0)
        if relevant:
            index = Silences(relevant)
            for alert in self._alerts.active(AlertState.FIRING):
                for silence in index.covering(dict(alert.labels)):
                    counts[silence.id] += 1
        return [silence_view(one, counts[one.silence.id], now) for one in stored]

    def _groups(self, silence: Silence) -> list[CoveredGroupView]:
        """Return the open groups with firing alerts that a silence matches, the most concerned first."""
        stages, picture = self._pipeline.stages(), self._pipeline.read()
        alerts: dict[str, int] = {}
        muted: dict[str, int] = {}
        for one in picture.instances:
            if one.state is not AlertState.FIRING:
                continue
            covered = silence.covers(dict(one.labels))
            for outlet in stages.outlets(one.labels):
                key = outlet.key(one.labels)
                alerts[key] = alerts.get(key, 0) + 1
                muted[key] = muted.get(key, 0) + covered
        found = [
            CoveredGroupView(key=key, receiver=group.receiver, alerts=alerts[key], muted=muted[key])
            for key, group in picture.groups.items()
            if group.is_open and muted.get(key)
        ]
        return sorted(found, key=lambda group: (-group.muted, group.key))


def desk_on(db: Database, pipeline: Pipeline, clock: Clock) -> HoldingDesk:
    """Return the desk on a database."""
    return HoldingDesk(SilenceStore(db), AcknowledgementStore(db), SqlAlertLog(db), pipeline, clock)


def _new(wanted: Wanted, actor: Actor, now: float, earliest: float | None = None) -> Silence:
    """Return a checked silence with an id of its own. It begins at `earliest` (None: now) at the earliest."""
    silence = Silence(
        id=str(uuid.uuid4()),
        matchers=checked_matchers(wanted.matchers),
        starts_at=max(wanted.starts_at, now if earliest is None else earliest),
        ends_at=wanted.ends_at,
        created_by=wanted.created_by or actor.name,
        comment=wanted.comment,
        updated_at=now,
    )
    check_times(silence.starts_at, silence.ends_at, now)
    check_may(actor, silence)
    return silence


def _ended(before: StoredSilence, now: float) -> Silence:
    """Return a silence as it is when it ends now. One that has not begun covers no time at all."""
    silence = before.silence
    if before.state(now) is SilenceState.EXPIRED:
        return silence
    return replace(silence, starts_at=min(silence.starts_at, now), ends_at=now, updated_at=now)


def _may_update(before: StoredSilence, new: Silence, now: float) -> bool:
    """Return whether Alertmanager changes a silence in place, and does not make another one."""
    if before.silence.matchers != new.matchers:
        return False
    state = before.state(now)
    if state is SilenceState.ACTIVE:
        return int(before.silence.starts_at) == int(new.starts_at)
    return state is SilenceState.PENDING and new.starts_at >= now


def _needs_admin(silence: Silence) -> bool:
    try:
        check_may(Actor(""), silence)
    except Forbidden:
        return True
    return False


def _covered(alert: AlertInstance) -> CoveredView:
    labels = dict(alert.labels)
    return CoveredView(
        fingerprint=alert.fingerprint,
        name=labels.get("alertname", ""),
        state=alert_state(alert),
        severity=labels.get("severity", ""),
        labels=labels,
        summary=dict(alert.annotations).get("summary", ""),
    )


def _name(alert: AlertInstance) -> str:
    return dict(alert.labels).get("alertname", "the alert")


def _told(silence: Silence) -> str:
    matchers = ",".join(str(one) for one in silence.matchers)
    return f"{{{matchers}}} until {instant(silence.ends_at)}: {silence.comment or 'no comment'}"[:2000]
