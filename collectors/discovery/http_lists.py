"""Lists of addresses that servers answer with (http_sd). Pure: asking the servers is `http_asking.py`'s job."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from collectors.discovery.entries import Entry, SdList, checked_entries, made
from collectors.discovery.group import DiscoveryGroup, HttpSd
from collectors.errors import DiscoveryError

_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?', re.IGNORECASE)


@dataclass(frozen=True)
class HttpList:
    """State of a server: its last good answer, and the fault of its last one."""

    version: int = 0
    """Number of the last good answer that differs from the one before; 0: there is none."""
    entries: tuple[Entry, ...] = ()
    """Content of that answer."""
    error: DiscoveryError | None = None
    """Why the last question has no good answer."""


def entries_of(sd: HttpSd, body: bytes, content_type: str) -> tuple[Entry, ...]:
    """Return the content of an answer. Raises DiscoveryError for one that Prometheus would not take."""
    where = place_of(sd)
    if not _JSON.fullmatch(content_type.strip()):
        raise DiscoveryError(f"{where}: expected the Content-Type application/json, got {content_type[:60]!r}")
    try:
        content = json.loads(body.decode())
    except UnicodeDecodeError:
        raise DiscoveryError(f"{where}: the answer is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DiscoveryError(f"{where}: line {error.lineno} of the answer is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise DiscoveryError(f"{where}: the answer cannot be parsed ({type(error).__name__})") from error
    # Prometheus takes null for a list without entries.
    return checked_entries([] if content is None else content, where)


def place_of(sd: HttpSd) -> str:
    """Return the server for messages: its URL without user, password and query, which may be secret."""
    parts = urlsplit(sd.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def taken(sd: HttpSd, group: DiscoveryGroup, last: SdList | None, found: HttpList) -> SdList:
    """Return the list of a group after the server's answers, or the last good one with an error."""
    if not found.version or (last and last.stamp == found.version):
        return last or SdList()
    try:
        return made(found.entries, group, place_of(sd), {"__meta_url": sd.url}, found.version)
    except DiscoveryError as error:
        good = last or SdList()
        return SdList(found.version, good.targets, error, good.entries, good.faults)
