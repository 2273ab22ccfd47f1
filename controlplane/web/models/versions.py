"""The order of a model's versions. A version's place gives its colour, in every chart, chip and bar."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.config.model import Fleet


def ordered(fleet: Fleet, model: str, also: Iterable[str | None] = ()) -> tuple[str, ...]:
    """Return a model's versions in the order of fleet.yaml, and then those of `also` that it does not name."""
    named = next((tuple(section.versions) for section in fleet.models if section.name == model), ())
    return tuple(dict.fromkeys([*named, *filter(None, also)]))
