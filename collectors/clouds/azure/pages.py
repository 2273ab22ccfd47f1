"""Pages of Azure's management API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yarl import URL

from collectors.errors import ExpositionError

MAX_PAGES = 200
"""Pages of one answer. A page of costs holds 1000 rows, which are days times meters."""


def next_page(page: Mapping[str, Any], url: URL, what: str) -> URL | None:
    """Return the address of the page after the one of `url`; None: it is the last. `what` was asked.

    Raises ExpositionError for a page on another host and for the same page, and ValueError for what is no address.
    """
    more = page.get("nextLink") or ""
    if not more:
        return None
    found = URL(str(more))
    if found.origin() != url.origin():
        raise ExpositionError(f"{what}: the next page is on another host", 0)
    if found == url:
        raise ExpositionError(f"{what}: the pages do not end", 0)
    return found
