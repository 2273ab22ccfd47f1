"""The alerts of the day: the configured rules, evaluated over the samples at times of the past."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from alerts.evaluate import GroupEvaluator
from alerts.holds import Acknowledgement, Silence
from alerts.interfaces import AlertInstance, AlertState, Querier, Transition
from alerts.routing.matchers import Matcher, Op
from alerts.template import Surroundings
from collectors.samples import labels_of
from controlplane.app.rules import fleet_rules
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.holding.acknowledgements import AcknowledgementStore
from controlplane.store.holding.silences import Act, SilenceStore
from tests.e2e.bad_day.curves import HOUR_S
from tests.fakes.rollout_world import VirtualClock

OWN = "capacity"
"""Group of the world's own rules, which fire all over the day."""
OF_INCIDENTS = ("llm-recording", "llm-requests")
"""Groups of the packs that notice the incidents."""
RECENT_S = (-2400.0, -1200.0, -480.0, -150.0)
"""Seconds after now at which all groups are evaluated, so that alerts of now have begun some time ago."""


async def evaluate(db: Database, loaded: LoadedFleet, querier: Querier, store: SeriesStore, now: float) -> None:
    """Evaluate the rules at times of the day, oldest first."""
    clock, log = VirtualClock(), SqlAlertLog(db)
    groups = {
        group.name: GroupEvaluator(group, querier, log, store, clock, around=Surroundings(url=""))
        for group in fleet_rules(loaded)
    }
    clock.time = now
    for at, names in sorted(_times(now, list(groups)), key=lambda turn: turn[0]):
        for name in names:
            await groups[name].evaluate(at)


def _times(now: float, names: Sequence[str]) -> Iterator[tuple[float, Sequence[str]]]:
    for number in range(72, 2, -1):
        yield now - number * 0.333 * HOUR_S, (OWN,)
    for minutes in range(-255, -160, 12):
        yield now + minutes * 60.0, (OWN, *OF_INCIDENTS)
    for minutes in range(-425, -395, 6):
        yield now + minutes * 60.0, OF_INCIDENTS
    for minutes in range(-90, -1, 2):
        yield now + minutes * 60.0 - 20.0, (OWN,)
    for seconds in RECENT_S:
        yield now + seconds, names


def hold(db: Database, now: float) -> None:
    """Acknowledge some alerts, and store silences of every state."""
    active = SqlAlertLog(db).active()
    firing = [alert for alert in active if alert.state is AlertState.FIRING]
    store = AcknowledgementStore(db)
    for alert, by, comment in zip(
        [a for a in firing if dict(a.labels)["alertname"] in ("GPUTemperatureHigh", "LLMEngineDown", "GPUMemoryHigh")],
        ("ana", "ben", "cleo"),
        (
            "fan tray is ordered, ticket OPS-4711",
            "the node is being reinstalled",
            "known, it is the long-context batch",
        ),
        strict=False,
    ):
        _acknowledge(store, alert, by, comment, now)
    silences = SilenceStore(db)
    for number, (begins_h, ends_h, matchers, by, comment) in enumerate(_SILENCES):
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bad-day-{number}"))
        made = now + min(begins_h, 0.0) * HOUR_S - 120.0
        told = tuple(Matcher(name, op, value) for name, op, value in matchers)
        silence = Silence(identity, told, now + begins_h * HOUR_S, now + ends_h * HOUR_S, by, comment, made)
        silences.add(silence, by, Act(by, "silence.create", comment, made))


_SILENCES = (
    (-2.0, 6.0, (("alertname", Op.EQUAL, "RequestsPerSecondHigh"),), "ana", "load test of the autumn release"),
    (-0.5, 0.3, (("node", Op.EQUAL, "gpu-02"), ("severity", Op.MATCHES, "warning|info")), "ben", "fans are replaced"),
    (8.0, 12.0, (("model", Op.EQUAL, "embed"),), "cleo", "index rebuild tonight, latency will rise"),
    (
        -9.0,
        -7.5,
        (("model", Op.EQUAL, "code"), ("alertname", Op.MATCHES, "LLM.*")),
        "ana",
        "canary of v6 was watched by hand",
    ),
    (-22.0, -20.0, (("node", Op.EQUAL, "gpu-04"),), "ops-bot", "driver update"),
)


def _acknowledge(store: AcknowledgementStore, alert: AlertInstance, by: str, comment: str, now: float) -> None:
    assert alert.fired_at is not None  # it fires
    at = min(now - 30.0, alert.fired_at + 150.0)
    one = Acknowledgement(alert.fingerprint, alert.fired_at, by, at, None, comment)
    store.put(one, "alert.acknowledge", f"{dict(alert.labels)['alertname']}: {comment}")


def synthetic(db: Database, count: int, now: float) -> None:
    """Store `count` alerts that fired and were resolved within the day, for benchmarks of the pages."""
    transitions = []
    for number in range(count):
        labels = {"alertname": f"HostFault{number % 40}", "severity": ("info", "warning", "critical")[number % 3]}
        labels |= {"host": f"host-{number}", "rack": f"r{number % 120}", "team": "platform"}
        fired_at = now - 86000.0 * (1.0 - number / count)
        told = labels_of({"summary": f"host-{number} reports a fault"})
        alert = AlertInstance(
            *("rules.yml;hosts;HostFault", labels_of(labels), told, AlertState.FIRING, 1.0, fired_at - 60.0, fired_at)
        )
        over = AlertInstance(
            *(
                alert.rule,
                alert.labels,
                told,
                AlertState.INACTIVE,
                0.0,
                fired_at - 60.0,
                fired_at,
                None,
                fired_at + 600.0,
            )
        )
        transitions += [
            Transition(alert, AlertState.PENDING, AlertState.FIRING, fired_at, "it has held for 1m"),
            Transition(over, AlertState.FIRING, AlertState.INACTIVE, fired_at + 600.0, "the condition no longer holds"),
        ]
    log = SqlAlertLog(db)
    for start in range(0, len(transitions), 2000):
        log.record("rules.yml;hosts;HostFault", [], transitions[start : start + 2000])
