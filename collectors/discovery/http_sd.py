"""Lists of addresses that servers answer with (http_sd). Pure: asking them is `http_following.py`'s job."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from collectors.discovery.entries import Entry, checked_entries
from collectors.errors import DiscoveryError
from collectors.target import Auth

_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?', re.IGNORECASE)


@dataclass(frozen=True)
class HttpSd:
    """A URL that answers with a list of addresses. Implements collectors.discovery.group.SdConfig."""

    url: str
    refresh_interval_s: float = 60.0
    auth: Auth | None = None
    owner: tuple[str, ...] = ()
    """Author of the settings, where authors may not see each other's lists; () is the owner of this process."""

    @property
    def place(self) -> str:
        """The URL without user, password and query, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def identity(self) -> tuple[object, ...]:
        """The URL and the owner."""
        return "http_sd", self.url, self.owner


def entries_of(sd: HttpSd, body: bytes, content_type: str) -> tuple[Entry, ...]:
    """Return the content of an answer. Raises DiscoveryError for one that Prometheus would not take."""
    where = sd.place
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
    entries = checked_entries([] if content is None else content, where)
    return tuple(Entry(each.addresses, {**each.labels, "__meta_url": sd.url}) for each in entries)
