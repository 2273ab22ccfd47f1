"""Families of gauges that status sources write."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

STATE_HELP = "1 for the state that the engine's model index reports, 0 for the others."


def gauge(
    name: str, help_text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float | None]]
) -> GaugeMetricFamily:
    """Return a family with one sample a row (label values, value). Rows with the value None are left out."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def states(found: dict[str, str], vocabulary: tuple[str, ...]) -> GaugeMetricFamily:
    """Return `llm_model_state` of models, by name: a sample for each state of the vocabulary and for one beyond it."""
    rows = (
        ((model, each), float(each == state))
        for model, state in found.items()
        for each in dict.fromkeys((*vocabulary, state))
    )
    return gauge("llm_model_state", STATE_HELP, ("served_model", "state"), rows)
