"""The engines of jobs that others than fleet.yaml list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from collectors.discovery.group import DiscoveryGroup
from collectors.engines.kinds import ENGINES
from collectors.samples import Labels
from controlplane.config.scraping.targets import TargetGroup


def of_engines(groups: Iterable[DiscoveryGroup], section: TargetGroup, models: Labels) -> tuple[DiscoveryGroup, ...]:
    """Return groups with the engines that an entry of fleet.yaml has for their jobs.

    `models` are pairs of a model's name in its engine and its name in the fleet.
    """
    return tuple(_of_engine(group, section.engine_of(group.job), models) for group in groups)


def _of_engine(group: DiscoveryGroup, engine: str, models: Labels) -> DiscoveryGroup:
    return replace(group, engine=engine, models=models if ENGINES[engine].names_models else ())
