"""The flapping stage: an alert that fires and resolves again and again is told once, and its outcome when it settles.

An alert flaps from its n-th change within a window on. A change is a begin or an end of firing. It has settled when it
has not changed for a time; changes before such a pause do not count any more. Between its episodes a flapping alert is
passed on as firing, so no later stage sees its changes: it is in its groups' messages, it inhibits, and its
acknowledgement holds.

This is Nagios's flap detection with its two thresholds, so that an alert near one of them does not itself flap between
"flaps" and "does not" (https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/3/en/flapping.html). Nagios
counts changes among the last 21 checks. Alerts here have no common interval of checks, and those of other senders have
none at all, so changes are counted in time, as Moogsoft's xinyState does (docs.moogsoft.com). Its lower threshold, less
than one change in 20 checks, is here a time without a change. ADR 0026 has the reasons. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from alerts.changes import all_changes
from alerts.dispatch.groups import GroupState, Picture, ToldFlap
from alerts.holds import Acknowledgement
from alerts.interfaces import AlertInstance, AlertState, Flap
from alerts.routing.flapping import Flapping
from collectors.samples import Labels

MINUTE_S = 60.0
FEWEST_MINUTES = 2
"""Fewest minutes that a message names: it says "minutes" in every language."""


class Steadied(NamedTuple):
    """A picture in which flapping alerts fire, and these alerts."""

    picture: Picture
    flaps: Mapping[Labels, Flap] = MappingProxyType({})
    settles_at: float = math.inf
    """The first unix second at which one of them has settled, if it does not change before."""


def steadied(picture: Picture, settings: Flapping | None, at: float, told: Collection[str] = ()) -> Steadied:
    """Return the picture at unix second `at` with its flapping alerts as firing. `settings` None: no alert flaps.

    `told` are fingerprints of alerts that groups outside of the picture have called flapping.
    """
    if settings is None or not any(instance.changes for instance in picture.instances):
        return Steadied(picture)
    known = {flap.fingerprint for group in picture.groups.values() if group.is_open for flap in group.flaps}
    known.update(told)
    instances = list(picture.instances)
    acknowledgements = dict(picture.holds.acknowledgements or {})
    flaps: dict[Labels, Flap] = {}
    settles_at = math.inf
    for place, instance in enumerate(instances):
        flap = flap_of(instance, settings, at, told=instance.fingerprint in known) if instance.changes else None
        if flap is None:
            continue
        instances[place] = fires = _firing(instance)
        flaps[instance.labels] = flap
        settles_at = min(settles_at, flap.changed_at + settings.settled_after_s)
        if one := acknowledgements.get(flap.fingerprint):
            acknowledgements[flap.fingerprint] = _carried(one, instance, fires)
    holds = replace(picture.holds, acknowledgements=acknowledgements)
    return Steadied(picture._replace(instances=instances, holds=holds) if flaps else picture, flaps, settles_at)


def flap_of(instance: AlertInstance, settings: Flapping, at: float, *, told: bool) -> Flap | None:
    """Return how an alert flaps at unix second `at`; None: it does not. `told`: it did when it was last told of."""
    found: list[float] = []
    later = at
    for time in reversed(all_changes(instance)):
        if later - time >= settings.settled_after_s or at - time >= settings.window_s:
            break
        found.append(time)
        later = time
    if not found or (len(found) < settings.changes and not told):
        return None
    minutes = max(FEWEST_MINUTES, math.ceil((at - found[-1]) / MINUTE_S))
    return Flap(instance.fingerprint, len(found), minutes * MINUTE_S, found[0])


def told_flaps(flaps: Iterable[Flap], at: float) -> tuple[ToldFlap, ...]:
    """Return what a group keeps of the flapping alerts that its message of unix second `at` tells of."""
    return tuple(ToldFlap(flap.fingerprint, flap.changes, at) for flap in flaps if flap.changes)


def settled(
    group: GroupState, flaps: Mapping[Labels, Flap], firing: Mapping[Labels, AlertInstance]
) -> list[AlertInstance]:
    """Return the alerts that the group's last message called flapping, and that just fire by now."""
    gone = {flap.fingerprint for flap in group.flaps} - {flap.fingerprint for flap in flaps.values()}
    return [instance for instance in firing.values() if instance.fingerprint in gone] if gone else []


def began(group: GroupState, flaps: Mapping[Labels, Flap], firing: Mapping[Labels, AlertInstance]) -> list[Flap]:
    """Return the flapping alerts that the group's last message does not call flapping yet."""
    known = {flap.fingerprint for flap in group.flaps}
    return [flap for labels, flap in flaps.items() if labels in firing and flap.fingerprint not in known]


def recounted_at(group: GroupState, flaps: Mapping[Labels, Flap], interval_s: float) -> float:
    """Return the unix second from which the group's message may be edited to show new changes; inf: it shows them."""
    told = {flap.fingerprint: flap.told_at for flap in group.flaps}
    if all(told.get(flap.fingerprint, math.inf) >= flap.changed_at for flap in flaps.values()):
        return math.inf
    return max(flap.told_at for flap in group.flaps) + max(interval_s, MINUTE_S)


def _firing(instance: AlertInstance) -> AlertInstance:
    """Return a flapping alert as it fires in its last episode."""
    if instance.state is AlertState.FIRING:
        return instance
    if instance.state is AlertState.PENDING:
        return replace(instance, state=AlertState.FIRING, fired_at=instance.changes[-2])
    return replace(instance, state=AlertState.FIRING, resolved_at=None, away=())


def _carried(one: Acknowledgement, instance: AlertInstance, fires: AlertInstance) -> Acknowledgement:
    """Return an acknowledgement of an earlier episode as one of the last: they are one while the alert flaps."""
    if fires.fired_at is None or one.fired_at not in all_changes(instance):
        return one
    return replace(one, fired_at=fires.fired_at)
