"""Label selectors as the API has them: matchLabels and matchExpressions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from collectors.discovery.monitors.selector_operator import Operator
from controlplane.discovery.monitors.fields import Fields


class Requirement(NamedTuple):
    """Requirement of one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, object]) -> bool:
        """Return whether an object with these labels is selected."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


Requirements = tuple[Requirement, ...]
"""A selector: all of them must hold. Without any, everything is selected."""


def selects(selector: Requirements, labels: object) -> bool:
    """Return whether a selector selects an object with these labels."""
    return all(each.holds(labels if isinstance(labels, dict) else {}) for each in selector)


def read_selector(selector: Fields) -> Requirements:
    """Return a selector: the labels by their names, then the expressions. Raises FieldError."""
    labels = selector.fields("matchLabels")
    exact = [Requirement(name, Operator.IN, (labels.text(name),)) for name in sorted(labels.names())]
    return (*exact, *_expressions(selector))


def _expressions(selector: Fields) -> Iterator[Requirement]:
    for one in selector.items("matchExpressions"):
        key, name, values = one.text("key"), one.text("operator"), one.texts("values")
        if not key:
            raise one.error("key", "is required")
        if name not in list(Operator):
            raise one.error("operator", f"expected one of {', '.join(Operator)}, got {name!r}")
        operator = Operator(name)
        if bool(values) is not operator.has_values:
            raise one.error("values", f"operator {operator} {'takes none' if values else 'needs some'}")
        yield Requirement(key, operator, values)
