"""Reading a status source once, and its samples as numbers."""

from __future__ import annotations

from typing import Any

from collectors.exposition.parser import parse
from collectors.status.sources import STATUS_SOURCES
from collectors.target import Auth, Source
from tests.patience import HANG_S

Numbers = dict[tuple[str, ...], float]
"""(name, label values in the order of the labels' names) to value."""


def source_of(engine: str, url: str, auth: Auth | None = None, max_body_bytes: int = 16 * 2**20) -> Source:
    """Return a new source. The caller closes it."""
    return STATUS_SOURCES[engine](url, auth, max_body_bytes=max_body_bytes)


async def read_once(engine: str, url: str, timeout_s: float = HANG_S, **options: Any) -> Numbers:
    """Return the samples of one read. Raises ScrapeError."""
    source = source_of(engine, url, **options)
    try:
        return numbers(await source.read(timeout_s))
    finally:
        await source.close()


def numbers(body: bytes) -> Numbers:
    """Return the samples of an exposition."""
    parsed = parse(body)
    assert not parsed.duplicates
    return {
        (s.name, *(value for _, value in s.labels)): float(x) for s, x in zip(parsed.series, parsed.values, strict=True)
    }
