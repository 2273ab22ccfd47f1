"""Asks the servers of http_sd for their lists."""

from __future__ import annotations

import hashlib

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.http_sd import HttpSd, entries_of
from collectors.discovery.polling import Means, poll
from collectors.errors import DiscoveryError, ScrapeError
from collectors.http.fetch import HttpSource

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of an answer: some 80,000 targets. Chosen: four times that of a file."""
MAX_WAIT_S = 30.0
"""Maximum seconds for an answer, where the interval is not shorter. Chosen: Prometheus waits for the whole interval."""


def http_follower(sd: HttpSd, means: Means) -> Follower:
    """Return what asks a server at its interval."""

    async def follow(heard: Hears) -> None:
        source = _source_of(sd)

        async def ask(heard: Hears) -> None:
            try:
                body = await source.read(min(sd.refresh_interval_s, MAX_WAIT_S))
            except ScrapeError as error:
                raise DiscoveryError(f"{sd.place}: {error}") from error
            entries = await means.in_thread(entries_of, sd, body, source.content_type)
            heard.took(entries, hashlib.blake2b(body, digest_size=16).digest())

        try:
            await poll(ask, heard, sd.refresh_interval_s, means)
        finally:
            await source.close()

    return follow


def _source_of(sd: HttpSd) -> HttpSource:
    headers = {
        "Accept": "application/json",
        "X-Prometheus-Refresh-Interval-Seconds": f"{sd.refresh_interval_s:g}",
    }
    return HttpSource(sd.url, sd.auth, max_body_bytes=MAX_BODY_BYTES, headers=headers)
