"""Asks a Consul agent for services and their instances.

Consul can hold a question open until something changes. With a question for each service that takes as many connections
as there are services, so each is asked at the interval instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.consul_sd import ConsulSd, entries_of
from collectors.discovery.polling import Means, poll
from collectors.discovery.values import list_at, map_at, text_at
from collectors.errors import DiscoveryError, ScrapeError
from collectors.http.fetch import HTTP_ERRORS, translated
from collectors.http.server_api import ServerApi

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of an answer. Chosen: that of http_sd."""
MAX_WAIT_S = 30.0
"""Maximum seconds for all answers, where the interval is not shorter. Chosen: that of http_sd."""
AT_ONCE = 4
"""Services that are asked for at the same time. Chosen: an agent is shared by a whole host."""


def consul_follower(sd: ConsulSd, means: Means) -> Follower:
    """Return what asks an agent at its interval."""

    async def follow(heard: Hears) -> None:
        api = ServerApi(sd.url, sd.auth, MAX_BODY_BYTES)

        async def ask(heard: Hears) -> None:
            wait_s = min(sd.refresh_interval_s, MAX_WAIT_S)
            try:
                async with asyncio.timeout(wait_s):
                    datacenter = sd.datacenter or await _datacenter(api)
                    found = await _instances(sd, api, await _services(sd, api))
            except TimeoutError:
                raise DiscoveryError(f"{sd.place}: {api.asking}: no answer within {wait_s:g} s") from None
            except ScrapeError as error:
                raise DiscoveryError(f"{sd.place}: {error}{_cure(error)}") from error
            except HTTP_ERRORS as error:
                raise DiscoveryError(f"{sd.place}: {translated(error)}") from error
            entries = await means.in_thread(entries_of, sd, datacenter, found)
            heard.took(entries, same_as=entries)

        try:
            await poll(ask, heard, sd.refresh_interval_s, means)
        finally:
            await api.close()

    return follow


async def _datacenter(api: ServerApi) -> str:
    return text_at(map_at(await api.get("/v1/agent/self"), "Config"), "Datacenter")


async def _services(sd: ConsulSd, api: ServerApi) -> list[str]:
    """Return the names of the wanted services, sorted."""
    if sd.names_all:
        return sorted(set(sd.services))
    query = [*_scope(sd), *([("filter", sd.filter)] if sd.filter else [])]
    catalogue = map_at((await api.ask("GET", "/v1/catalog/services", query)).json())
    return sorted(name for name in catalogue if sd.takes(name, list_at(catalogue, name)))


async def _instances(sd: ConsulSd, api: ServerApi, services: Sequence[str]) -> dict[str, list[Any]]:
    """Return the instances of each service."""
    free = asyncio.Semaphore(AT_ONCE)
    query = [*_scope(sd), *(("tag", tag) for tag in sd.tags)]

    async def of(service: str) -> list[Any]:
        async with free:
            path = f"/v1/health/service/{quote(service, safe='')}"
            answer = (await api.ask("GET", path, query)).json()
        if not isinstance(answer, list):
            raise ScrapeError(f"{path} answered something else than a list; is this Consul's API?")
        return answer

    tasks = [asyncio.ensure_future(of(service)) for service in services]
    try:
        return dict(zip(services, await asyncio.gather(*tasks), strict=True))
    finally:
        for task in tasks:
            task.cancel()


def _scope(sd: ConsulSd) -> list[tuple[str, str]]:
    """Return the parameters of the URL that every question has."""
    named = {"ns": sd.namespace, "partition": sd.partition, "dc": sd.datacenter}
    stale = [("stale", "")] if sd.allow_stale else []
    metadata = [("node-meta", f"{name}:{value}") for name, value in sd.node_meta]
    return [*((name, value) for name, value in named.items() if value), *stale, *metadata]


def _cure(error: ScrapeError) -> str:
    refused = any(f"answered {status}" in str(error) for status in (401, 403))
    return "; give the agent's token by authorization:, with the rights service:read and node:read" if refused else ""
