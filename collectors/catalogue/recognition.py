"""Recognition of the program that exposes metrics, by their names. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from collectors.catalogue.model import SUFFIXES, Catalogue, Engine

_OF_EVERY_PROCESS = ("process_", "python_", "go_", "promhttp_", "http_", "scrape_")
"""Prefixes of what client libraries expose of any program."""
_EXPORTERS = {
    "node_": "node_exporter",
    "container_": "cAdvisor",
    "kube_": "kube-state-metrics",
    "nvidia_smi_": "nvidia_gpu_exporter",
    "prometheus_": "Prometheus",
    "alertmanager_": "Alertmanager",
    "grafana_": "Grafana",
    "envoy_": "Envoy",
    "haproxy_": "HAProxy",
    "nginx_": "nginx",
}
"""Exporters that are neighbours of an engine, by the prefix of their names."""


class Recognised(NamedTuple):
    """The program that exposes metrics."""

    engine: str = ""
    """Its engine kind; "" for none of the catalogue's."""
    exporter: str = ""
    """Its name, where it is no engine."""


def recognised(names: Collection[str], catalogue: Catalogue) -> Recognised:
    """Return whose metrics these are: the engine whose sources read most of the names, or a known exporter.

    Names that every process exposes do not count. Triton with its vLLM backend exposes metrics of both, and is Triton,
    because Triton's sources read all that vLLM's do there.
    """
    telling = _telling(names)
    counts = {kind: sum(_reads(engine, name) for name in telling) for kind, engine in catalogue.engines.items()}
    kind = max(counts, key=lambda one: counts[one], default="")
    if kind and counts[kind]:
        return Recognised(engine=kind)
    exporters = {text: sum(name.startswith(prefix) for name in telling) for prefix, text in _EXPORTERS.items()}
    exporter = max(exporters, key=lambda one: exporters[one])
    return Recognised(exporter=exporter) if exporters[exporter] else Recognised()


def instead(names: Collection[str], catalogue: Catalogue, engine: str) -> str:
    """Return what a target exposes that has no expected metric of its engine, and what to check. One sentence."""
    if not names:
        return f"answers with an empty body, without the metrics of {engine}: check engine: and path:"
    found = recognised(names, catalogue)
    if found.engine and found.engine != engine:
        return f"answers with metrics of {found.engine}, not of {engine}: correct engine: or the address"
    if found.exporter:
        return f"answers with metrics of {found.exporter}, not of {engine}: correct the address"
    if found.engine:
        return f"answers with few metrics of {engine}, and none that is expected: its version may be too old or too new"
    telling = _telling(names)
    if not telling:
        return (
            f"answers with metrics of its process only: check whether {engine}'s statistics are off, engine: and path:"
        )
    return f"answers with metrics such as {min(telling)[:80]}, and none of {engine}: check engine: and path:"


def _telling(names: Collection[str]) -> list[str]:
    return [name for name in names if not name.startswith(_OF_EVERY_PROCESS)]


def _reads(engine: Engine, name: str) -> bool:
    known = engine.raw_names
    own = engine.name_of(name)
    return own in known or any(own.removesuffix(end) in known for end in SUFFIXES if own.endswith(end))
