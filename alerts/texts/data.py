"""The data of Alertmanager's templates, from a message.

Source: template/template.go of Alertmanager. Names and values of labels and annotations are Foreign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from alerts.errors import TemplateError
from alerts.gotemplate.values import Foreign, GoValue, Own, Time
from alerts.interfaces import Message
from alerts.notify.payload import webhook_payload

_QUOTED = re.compile(r"[\\.+*?()|\[\]{}^$]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pair(Own):
    """A name and its value."""

    Name: str
    Value: str
    go_type: ClassVar[str] = "template.Pair"
    go_fields: ClassVar[tuple[str, ...]] = ("Name", "Value")


class Pairs(tuple[Pair, ...], Own):
    """Names with values, in order."""

    go_type = "template.Pairs"
    go_methods: ClassVar[Mapping[str, Any]] = {
        "Names": (lambda pairs: tuple(pair.Name for pair in pairs), 0),
        "Values": (lambda pairs: tuple(pair.Value for pair in pairs), 0),
    }

    def go_string(self) -> str:
        """Return `a=b, c=d`."""
        return ", ".join(f"{pair.Name}={pair.Value}" for pair in self)


class KV(dict[str, str], Own):
    """Labels or annotations."""

    go_type = "template.KV"

    @property
    def pairs(self) -> Pairs:
        """The pairs by name, `alertname` first."""
        names = sorted(self, key=lambda name: (name != "alertname", name))
        return Pairs(Pair(Foreign(name), self[name]) for name in names)

    def without(self, names: GoValue) -> KV:
        """Return the pairs whose names are not among `names`. Raises TemplateError unless that is a list."""
        if not isinstance(names, tuple):
            raise TemplateError("Remove takes a list of names")
        return KV({name: value for name, value in self.items() if name not in names})

    def go_string(self) -> str:
        """Return `a=b, c=d`."""
        return self.pairs.go_string()


KV.go_methods = {
    "SortedPairs": (lambda kv: kv.pairs, 0),
    "Names": (lambda kv: tuple(pair.Name for pair in kv.pairs), 0),
    "Values": (lambda kv: tuple(pair.Value for pair in kv.pairs), 0),
    "Remove": (KV.without, 1),
}


@dataclass(frozen=True)
class Alert(Own):
    """An alert of a message."""

    Status: str
    Labels: KV
    Annotations: KV
    StartsAt: Time
    EndsAt: Time
    GeneratorURL: str
    Fingerprint: str
    go_type: ClassVar[str] = "template.Alert"
    go_fields: ClassVar[tuple[str, ...]] = (
        "Status",
        "Labels",
        "Annotations",
        "StartsAt",
        "EndsAt",
        "GeneratorURL",
        "Fingerprint",
    )


class Alerts(tuple[Alert, ...], Own):
    """The alerts of a message."""

    go_type = "template.Alerts"
    go_methods: ClassVar[Mapping[str, Any]] = {
        "Firing": (lambda alerts: Alerts(alert for alert in alerts if alert.Status == "firing"), 0),
        "Resolved": (lambda alerts: Alerts(alert for alert in alerts if alert.Status == "resolved"), 0),
    }


@dataclass(frozen=True)
class Data(Own):
    """The data of a message."""

    Receiver: str
    Status: str
    Alerts: Alerts
    GroupLabels: KV
    CommonLabels: KV
    CommonAnnotations: KV
    ExternalURL: str
    go_type: ClassVar[str] = "*template.Data"
    go_fields: ClassVar[tuple[str, ...]] = (
        "Receiver",
        "Status",
        "Alerts",
        "GroupLabels",
        "CommonLabels",
        "CommonAnnotations",
        "ExternalURL",
    )


def data_of(message: Message, receiver: str) -> Data:
    """Return the data of a message with alerts, for the receiver of that name."""
    told = webhook_payload(message, receiver, message.console_url)
    return Data(
        # Alertmanager quotes the name for a regular expression in the address of its page.
        _QUOTED.sub(r"\\\g<0>", receiver),
        told["status"],
        Alerts(_alert(one) for one in told["alerts"]),
        _kv(told["groupLabels"]),
        _kv(told["commonLabels"]),
        _kv(told["commonAnnotations"]),
        message.console_url,
    )


def _alert(told: Mapping[str, Any]) -> Alert:
    return Alert(
        told["status"],
        _kv(told["labels"]),
        _kv(told["annotations"]),
        _time(told["startsAt"]),
        _time(told["endsAt"]),
        Foreign(told["generatorURL"]),
        told["fingerprint"],
    )


def _kv(pairs: Mapping[str, str]) -> KV:
    return KV({name: Foreign(value) for name, value in pairs.items()})


def _time(text: str) -> Time:
    moment = datetime.fromisoformat(text)
    microseconds = (moment - _EPOCH).days * 86_400_000_000 + ((moment - _EPOCH).seconds * 1_000_000)
    return Time((microseconds + (moment - _EPOCH).microseconds) * 1000)
