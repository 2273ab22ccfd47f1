"""`relabel_configs:` and `metric_relabel_configs:` in Prometheus's form, with its defaults and its refusals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from collectors.errors import RelabelError
from collectors.relabel import MAX_MODULUS, Action, RelabelRule
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Model, whole_text

FIELDS = ("relabel_configs", "metric_relabel_configs")
TEXTS = ("source_labels", "separator", "target_label", "regex", "replacement")
"""Fields that Prometheus reads as text, whatever YAML takes their value for."""


_NOT_WRITTEN = {
    Action.KEEP_EQUAL: "regex",
    Action.DROP_EQUAL: "regex",
    Action.LABELDROP: "source_labels",
    Action.LABELKEEP: "source_labels",
}


def _written(value: Any) -> Any:
    """Return a scalar as the text that YAML has for it. A field without a value is empty, as in Prometheus."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return value


def _source_label(value: str) -> str:
    if not value:
        raise ValueError("expected a label's name, got an empty text")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Scalar = Annotated[str, BeforeValidator(_written), AfterValidator(whole_text)]


class RelabelSection(Model):
    """One rule. Which fields it may have depends on its action."""

    source_labels: Annotated[
        tuple[Annotated[Scalar, AfterValidator(_source_label)], ...],
        BeforeValidator(lambda value: () if value is None else value),
    ] = ()
    separator: Scalar = ";"
    target_label: Scalar = ""
    regex: Scalar = "(.*)"
    """Must match the whole value."""
    modulus: Annotated[int, Field(strict=True, ge=0, le=MAX_MODULUS)] = 0
    replacement: Scalar = "$1"
    action: Annotated[Action, BeforeValidator(_lower)] = Action.REPLACE

    @check
    def _only_used_fields_are_written(self) -> Iterator[Fault]:
        # Prometheus refuses these fields even when they say what holds without them.
        field = _NOT_WRITTEN.get(self.action, "")
        if field in self.model_fields_set and getattr(self, field) == type(self).model_fields[field].default:
            yield Fault((field,), f"action {self.action} does not use it; remove it")

    @check
    def _prometheus_accepts_it(self) -> Iterator[Fault]:
        try:
            self.rule()
        except RelabelError as error:
            yield Fault((error.field,), error.sentence)

    def rule(self) -> RelabelRule:
        """Return the rule. Raises RelabelError, which an accepted file excludes."""
        return RelabelRule(
            self.action,
            self.source_labels,
            self.separator,
            self.target_label,
            self.regex,
            self.replacement,
            self.modulus,
        )


def rules_of(sections: Iterable[RelabelSection]) -> tuple[RelabelRule, ...]:
    """Return the rules of accepted sections, in their order."""
    return tuple(section.rule() for section in sections)
