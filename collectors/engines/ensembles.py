"""Steps of Triton's ensembles, from the configurations of its models.

A request to an ensemble is one to each of its steps too, and Triton counts it in all of them. Nothing in its metrics
tells an ensemble from other models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily


class Place(NamedTuple):
    """One version of a model on a Triton: names as Triton spells them."""

    model: str
    number: str


class Ensembles:
    """Remembers the steps of each ready model version, so that its configuration is asked once."""

    def __init__(self) -> None:
        self._steps: dict[Place, tuple[str, ...]] = {}

    def unknown(self, ready: Iterable[Place]) -> tuple[Place, ...]:
        """Return the ready versions whose configuration must be asked. Versions that are not ready are forgotten.

        A version that is loaded again may have other steps.
        """
        now = tuple(ready)
        self._steps = {place: steps for place, steps in self._steps.items() if place in now}
        return tuple(place for place in now if place not in self._steps)

    def learn(self, place: Place, config: Any) -> None:
        """Remember the steps in a configuration as Triton's API answers it. Any other answer has none."""
        self._steps[place] = tuple(_steps(config))

    def family(self) -> Metric | None:
        """Return `llm_ensemble_step` with a sample for each step of each ensemble; None without ensembles."""
        pairs = sorted({(step, place.model) for place, steps in self._steps.items() for step in steps})
        family = GaugeMetricFamily(
            "llm_ensemble_step",
            "1: requests to the ensemble reach this model too.",
            labels=["served_model", "ensemble"],
        )
        for pair in pairs:
            family.add_metric(pair, 1.0)
        return family if pairs else None


def _steps(config: Any) -> Iterator[str]:
    scheduling = config.get("ensemble_scheduling") if isinstance(config, Mapping) else None
    steps = scheduling.get("step") if isinstance(scheduling, Mapping) else None
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, Mapping) and isinstance(name := step.get("model_name"), str) and name:
            yield name
