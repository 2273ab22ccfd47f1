"""One read of a real engine as the control plane makes it: by HTTP, with the engine recognised, in canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import SUFFIXES, load_catalogue
from collectors.catalogue.recognition import recognition
from collectors.engines.kinds import AUTO
from collectors.exposition.parser import Parsed, parse
from collectors.samples import Series
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Auth, Target, TargetHealth
from controlplane.app.targets.plan import ScrapePlan
from controlplane.app.targets.sources import SourceFactory
from controlplane.clock.system import SystemClock
from controlplane.metrics.series.series_store import SeriesStore
from tests.fakes.canonical_rows import CanonicalRows
from tests.fakes.scrape_once import scrape_once
from tests.patience import HANG_S

CATALOGUE = load_catalogue()
FIXTURES = Path(__file__).parents[1] / "fixtures"
_MAX_BODY_BYTES = 16 * 2**20


class Reading(NamedTuple):
    """What one scrape saw."""

    health: TargetHealth
    values: Mapping[Series, float]
    """Canonical series; none when the target is down."""

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by these labels, which must tell its series apart."""
        found: dict[tuple[str, ...], float] = {}
        for series, value in self.values.items():
            if series.name == name:
                own = dict(series.labels)
                key = tuple(own.get(label, "") for label in labels)
                assert key not in found, f"{labels} do not tell the series of {name} apart: {series}"
                found[key] = value
        return found

    def one(self, name: str) -> float:
        """Return the value of the only series of a metric."""
        (value,) = self.by(name).values()
        return value

    @property
    def metrics(self) -> set[str]:
        """The canonical metrics that have a series."""
        return {family for series in self.values if (family := CATALOGUE.family(series.name))}


async def read(url: str, auth: Auth | None = None, engine: str = AUTO) -> Reading:
    """Scrape a page once. A scrape that fails is part of the result."""
    target = Target(engine, url, "engines", urlsplit(url).netloc, auth=auth, timeout_s=60.0)
    factory = SourceFactory(ScrapePlan(()), _MAX_BODY_BYTES, SeriesStore(retention_s=60.0))
    rows = CanonicalRows(CATALOGUE)
    manager = ScrapeManager(
        rows,
        factory.recipe,
        lambda found, parsed: canonical_layout(parsed.series, parsed.metadata, found, CATALOGUE),
        SystemClock(),
        find_lack=lambda found, layout: lack(layout, CATALOGUE, found.engine),
        recognise=lambda names, known: recognition(names, CATALOGUE, known),
    )
    health = await scrape_once(manager, target)
    await manager.close()
    return Reading(health, rows.canonical.get(target.key, {}))


async def fetched(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a page as it is on the wire."""
    async with httpx.AsyncClient(timeout=HANG_S, follow_redirects=True) as client:
        return (await client.get(url, headers=headers)).raise_for_status().content


def lost(page: bytes, capture: str, engine: str) -> dict[str, frozenset[str]]:
    """Return what the catalogue reads in an engine's capture and a page of today lacks: samples with their labels."""
    names = CATALOGUE.engines[engine].raw_names
    known, now = _labels(parse((FIXTURES / "captures" / capture).read_bytes())), _labels(parse(page))
    read = {name: labels for name, labels in known.items() if name in names or _family(name) in names}
    assert read, f"the catalogue reads nothing of {capture}"
    return {name: labels for name, labels in read.items() if not labels <= now.get(name, frozenset())}


def _labels(parsed: Parsed) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for series in parsed.series:
        found[series.name] = found.get(series.name, frozenset()) | {"", *(label for label, _ in series.labels)}
    return found


def _family(name: str) -> str:
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


def grown(
    before: Mapping[tuple[str, ...], float], after: Mapping[tuple[str, ...], float]
) -> dict[tuple[str, ...], float]:
    """Return by how much each value that changed is larger now."""
    return {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}


def outcomes(body: bytes) -> dict[tuple[str, str], float]:
    """Return the outcomes and reasons of a probe's requests, without those that it did not have."""
    parsed = parse(body)
    found: dict[tuple[str, str], float] = {}
    for series, value in zip(parsed.series, parsed.values.tolist(), strict=True):
        if series.name == "llm_requests_total" and value:
            labels = dict(series.labels)
            found[labels["outcome"], labels.get("reason", "")] = value
    return found
