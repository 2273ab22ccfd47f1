"""One scrape, at a time that the test chooses, without the scrape loop."""

from __future__ import annotations

from collectors.scrape import ScrapeManager, _Scraper
from collectors.target import Target, TargetHealth


async def scrape_once(manager: ScrapeManager, target: Target, at: float | None = None) -> TargetHealth:
    """Scrape a target as the loop does, for the scheduled time `at` (default: now). A failure is part of the result."""
    if target.key not in manager._scrapers:
        manager._scrapers[target.key] = _Scraper(manager._setup(target), manager, live=False)
    scraper = manager._scrapers[target.key]
    await scraper.scrape(manager.now() if at is None else at)
    return scraper.health
