"""Where firing alerts are between their rule and a person: receivers, and reasons that hold them back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from alerts.dispatch import Mute, Muting, Picture, Stages, Steadied, steadied
from alerts.holds import Holds
from alerts.interfaces import AlertInstance
from collectors.samples import Labels


@dataclass(frozen=True)
class Standing:
    """A firing alert, its receivers, and all reasons that hold it back now."""

    instance: AlertInstance
    receivers: tuple[str, ...]
    """Names of receivers, as the routes name them."""
    mutes: tuple[Mute, ...]


@dataclass(frozen=True)
class Pipeline:
    """The routing of the running configuration, and the stored state of alerts and groups."""

    stages: Callable[[], Stages]
    read: Callable[[], Picture]
    """Reads alerts, groups, deliveries, silences and acknowledgements. Blocking. Raises Unavailable."""
    told_flapping: Callable[[], Collection[str]] = tuple
    """Reads the fingerprints of the alerts that messages call flapping. Blocking. Raises Unavailable."""

    def steadied(self, alerts: Sequence[AlertInstance], holds: Holds, at: float) -> Steadied:
        """Return alerts with the flapping ones as firing, and how these flap, at unix second `at`. Blocking."""
        known = self.told_flapping() if any(alert.changes for alert in alerts) else ()
        return steadied(Picture(alerts, holds=holds), self.stages().routing.flapping, at, known)


def standings(
    stages: Stages, alerts: Sequence[AlertInstance], firing: Iterable[Labels], holds: Holds, at: float
) -> list[Standing]:
    """Return the standing of firing alerts at unix second `at`.

    `firing`: labels of every firing alert, since each may hold others back. Not used without inhibitions.
    """
    muting = Muting(stages.routing, firing, holds, at)
    return [_standing(stages, muting, one) for one in alerts]


def _standing(stages: Stages, muting: Muting, instance: AlertInstance) -> Standing:
    labels = dict(instance.labels)
    nodes = stages.nodes(labels)
    closed = [mute for node in nodes if (mute := muting.of_route(node))]
    # A time interval holds an alert back only when no other route of it sends.
    by_time = closed if nodes and len(closed) == len(nodes) else []
    receivers = tuple(dict.fromkeys(node.receiver for node in nodes))
    return Standing(instance, receivers, (*muting.reasons(instance, labels), *by_time))
