"""`thresholds:`, `no_data:` and `owners:` of fleet.yaml, which tune the built-in rule packs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from alerts.no_data import read_no_data
from controlplane.config.vocabulary import Duration, Model, Text, number_or_duration


def _no_template(value: str) -> str:
    if "{{" in value:
        raise ValueError("is plain text and no template; remove {{")
    return value


def _policy(value: str) -> str:
    return str(read_no_data(value))


Owner = Annotated[Text, AfterValidator(_no_template)]
"""Owner of the alerts of a built-in pack, by the pack's name; `default` is that of the other packs."""
NoDataPolicy = Annotated[Text, AfterValidator(_policy)]
"""Policy for missing data of a built-in pack's alert, by the alert's name: `fire after 10m`."""


class ThresholdSection(Model):
    """Overrides a variable of a built-in rule pack."""

    value: Annotated[float | str | None, BeforeValidator(number_or_duration)] = None
    for_: Duration | None = Field(default=None, alias="for")
    window: Duration | None = None
