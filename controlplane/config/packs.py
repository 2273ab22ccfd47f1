"""`thresholds:` and `owners:` of fleet.yaml, which tune the built-in rule packs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.config.vocabulary import Duration, Model, Text, number_or_duration


def _no_template(value: str) -> str:
    if "{{" in value:
        raise ValueError("is plain text and no template; remove {{")
    return value


Owner = Annotated[Text, AfterValidator(_no_template)]


class ThresholdSection(Model):
    """Overrides a variable of a built-in rule pack."""

    value: Annotated[float | str | None, BeforeValidator(number_or_duration)] = None
    for_: Duration | None = Field(default=None, alias="for")
    window: Duration | None = None
