"""Recognition of the program that exposes metrics, by their names. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from collectors.catalogue.model import SUFFIXES, Catalogue, Engine
from collectors.engines.kinds import AUTO, CUSTOM, ENGINES
from collectors.target import Recognition

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
    "controlplane_": "a control plane such as this one",
}
"""Exporters that are neighbours of an engine, by the prefix of their names."""


_FEWEST_BARE = 3
"""Fewest names without an engine's prefix that tell of it. Chosen: any program may have one `request_success_total`."""


class Recognised(NamedTuple):
    """The program that exposes metrics."""

    engine: str = ""
    """Its engine kind; "" for none of the catalogue's."""
    exporter: str = ""
    """Its name, where it is no engine."""
    others: tuple[str, ...] = ()
    """Further engines with names that its sources do not read, in the order of the catalogue."""
    example: str = ""
    """One of its metrics, where it is neither an engine nor a known exporter. "": it has those of its process only."""

    @property
    def looks(self) -> str:
        """The exporter or the example; "" for an engine."""
        return self.exporter or self.example


def recognised(names: Collection[str], catalogue: Catalogue) -> Recognised:
    """Return whose metrics these are: the engine whose sources read most of the names, or a known exporter.

    Names that every process exposes do not count. An engine that hosts others is the one where it has names of its own:
    Triton with its vLLM backend exposes metrics of both, and is Triton.
    """
    telling = _telling(names)
    read = {kind: _read(engine, telling) for kind, engine in catalogue.engines.items()}
    found = {kind: own for kind, own in read.items() if own}
    hosted = {
        guest
        for kind, own in found.items()
        for guest in catalogue.engines[kind].hosts
        if own - found.get(guest, frozenset())
    }
    if kind := max((kind for kind in found if kind not in hosted), key=lambda one: len(found[one]), default=""):
        others = tuple(other for other, own in found.items() if other != kind and own - found[kind])
        return Recognised(engine=kind, others=others)
    exporters = {text: sum(name.startswith(prefix) for name in telling) for prefix, text in _EXPORTERS.items()}
    exporter = max(exporters, key=lambda one: exporters[one])
    return Recognised(exporter=exporter) if exporters[exporter] else Recognised(example=min(telling, default="")[:80])


def recognition(names: Collection[str], catalogue: Catalogue, known: str = AUTO) -> Recognition:
    """Return the engine of a target whose engine is `auto`, from the raw names of its page.

    `known` is what it was recognised as before. An engine stays what it was until its page is that of another engine: a
    server that lost its metrics is broken, and must not leave the alerts on servers.
    """
    found = recognised(names, catalogue)
    if found.engine in ENGINES:
        return Recognition(found.engine, _beside(found))
    looks = found.looks
    if known in ENGINES and known not in (AUTO, CUSTOM):
        now = f"answers with metrics {_of(found)}{looks}" if looks else "exposes none of its metrics"
        return Recognition(
            known, f"was recognised as {known}, and now {now}: correct the address, or name the engine under engine:"
        )
    if not looks:
        return Recognition(
            known, "exposes no metrics of an engine yet, and is recognised once it does; check path: if it never does"
        )
    told = f"has metrics {_of(found)}{looks}, and of no known engine: raw metrics only"
    return Recognition(
        CUSTOM, told if found.exporter else f"{told}. `controlplane catalogue try` says more of its page"
    )


def _beside(found: Recognised) -> str:
    if not found.others:
        return ""
    others = " and ".join(found.others)
    return f"is read as {found.engine}; of the metrics of {others} beside, only those that {found.engine} maps count"


def _of(found: Recognised) -> str:
    return "of " if found.exporter else "such as "


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


def _read(engine: Engine, names: Collection[str]) -> frozenset[str]:
    """Return the names that an engine's sources read, and its signs."""
    own = frozenset(name for name in names if name in engine.signs or _reads(engine, name))
    return own if len(own) >= _FEWEST_BARE or not all(map(engine.is_bare, own)) else frozenset()


def _reads(engine: Engine, name: str) -> bool:
    known = engine.raw_names
    own = engine.name_of(name)
    return own in known or any(own.removesuffix(end) in known for end in SUFFIXES if own.endswith(end))
