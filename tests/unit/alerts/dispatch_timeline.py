"""A timeline of dispatch for tests: it keeps the groups between decisions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from alerts.dispatch import Deliveries, GroupState, Picture, Stages, decide
from alerts.holds import Holds
from alerts.interfaces import AlertInstance, AlertState, Message
from collectors.samples import labels_of


def alert(name: str, severity: str = "warning", **labels: str) -> AlertInstance:
    every = labels_of({"alertname": name, "severity": severity, **labels})
    return AlertInstance(f"f;g;{name}", every, (), AlertState.FIRING, 1.0, 0.0, fired_at=0.0)


def ended(instance: AlertInstance, at: float) -> AlertInstance:
    return replace(instance, state=AlertState.INACTIVE, resolved_at=at)


@dataclass
class Timeline:
    """A timeline that keeps the groups between decisions."""

    stages: Stages
    groups: dict[str, GroupState] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    holds: Holds = field(default_factory=Holds)
    deliveries: Deliveries = field(default_factory=Deliveries)

    def at(self, second: float, *alerts: AlertInstance) -> list[str]:
        """Return `notifier: alerts` of each message that notifies somebody."""
        return [_told(message) for message in self.messages(second, *alerts)]

    def messages(self, second: float, *alerts: AlertInstance) -> list[Message]:
        """Return each message that notifies somebody."""
        steps = decide(self.stages, Picture(alerts, self.groups, self.deliveries, self.holds), second)
        self.groups |= {step.state.key: step.state for step in steps}
        self.sentences += [step.sentence for step in steps]
        return [step.message for step in steps if step.message and not step.message.edit]


def _told(message: Message) -> str:
    firing, over = (" ".join(dict(i.labels)["alertname"] for i in some) for some in (message.firing, message.resolved))
    return f"{message.receiver}: " + (firing or "-") + (f" over {over}" if over else "")
