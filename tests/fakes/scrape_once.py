"""One scrape, at a time that the test chooses, without the scrape loop."""

from __future__ import annotations

from collectors.scraping.report import report_key
from collectors.scraping.scrape import ScrapeManager, _Scraper
from collectors.target import Target, TargetHealth


async def scrape_once(manager: ScrapeManager, target: Target, at: float | None = None) -> TargetHealth:
    """Scrape a target as the loop does, for the scheduled time `at` (default: now). A failure is part of the result."""
    if target.key not in manager._scrapers:
        manager._scrapers[target.key] = _Scraper(manager._setup(target), manager, live=False)
    scraper = manager._scrapers[target.key]
    await scraper.scrape(manager.now() if at is None else at)
    return scraper.health


def add(manager: ScrapeManager, target: Target) -> None:
    """Add a target that has not been scraped yet."""
    manager._scrapers[target.key] = _Scraper(manager._setup(target), manager, live=False)


async def remove(manager: ScrapeManager, target: Target) -> None:
    """Remove one target, as a changed configuration does: its series end."""
    await manager._stop(manager._scrapers[target.key])
    for source in (target.key, report_key(target)):
        manager.sink.end(source, round(manager.now() * 1000))
