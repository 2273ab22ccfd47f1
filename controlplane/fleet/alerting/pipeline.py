"""Where firing alerts are between their rule and a person: receivers, and reasons that hold them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alerts.dispatch import Mute, Muting, Picture, Stages
from alerts.holds import Holds
from alerts.interfaces import AlertInstance


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


def standings(stages: Stages, firing: Sequence[AlertInstance], holds: Holds, at: float) -> list[Standing]:
    """Return the standing of each alert at unix second `at`. `firing` must be all that fire: they hold others back."""
    muting = Muting(stages.routing, firing, holds, at)
    return [_standing(stages, muting, one) for one in firing]


def _standing(stages: Stages, muting: Muting, instance: AlertInstance) -> Standing:
    labels = dict(instance.labels)
    nodes = stages.nodes(labels)
    closed = [mute for node in nodes if (mute := muting.of_route(node))]
    # A time interval holds an alert back only when no other route of it sends.
    by_time = closed if nodes and len(closed) == len(nodes) else []
    receivers = tuple(dict.fromkeys(node.receiver for node in nodes))
    return Standing(instance, receivers, (*muting.reasons(instance, labels), *by_time))
