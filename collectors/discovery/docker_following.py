"""Asks Docker's API for its containers and networks, over a socket or TCP."""

from __future__ import annotations

import asyncio
import grp
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.docker_sd import DockerSd, entries_of
from collectors.discovery.polling import Means, poll
from collectors.errors import DiscoveryError, ScrapeError
from collectors.http.answer import BoundedBody, other_status
from collectors.http.fetch import HTTP_ERRORS, translated
from collectors.http.http_client import request_options

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of an answer: some 10,000 containers. Chosen: that of http_sd."""
MAX_WAIT_S = 30.0
"""Maximum seconds for both answers, where the interval is not shorter. Chosen: that of http_sd."""


def docker_follower(sd: DockerSd, means: Means) -> Follower:
    """Return what asks a daemon at its interval."""

    async def follow(heard: Hears) -> None:
        async def ask(heard: Hears) -> None:
            wait_s = min(sd.refresh_interval_s, MAX_WAIT_S)
            try:
                async with asyncio.timeout(wait_s):
                    containers, networks = await _answers(sd)
            except TimeoutError:
                raise DiscoveryError(f"{sd.place}: no answer within {wait_s:g} s") from None
            except ScrapeError as error:
                raise DiscoveryError(f"{sd.place}: {error}") from error
            except HTTP_ERRORS as error:
                cure = await means.in_thread(_cure, sd.socket, getattr(error, "os_error", error))
                raise DiscoveryError(f"{sd.place}: {cure or translated(error)}") from error
            entries = await means.in_thread(entries_of, sd, containers, networks)
            heard.took(entries, same_as=entries)

        await poll(ask, heard, sd.refresh_interval_s, means)

    return follow


async def _answers(sd: DockerSd) -> tuple[list[Any], list[Any]]:
    """Return the containers and the networks. Raises ScrapeError, and aiohttp's errors."""
    if sd.socket:
        base, connector = "http://docker", aiohttp.UnixConnector(sd.socket)
    else:
        # As in Docker's own clients, tcp:// is HTTP without TLS.
        base = ("http" + sd.host.removeprefix("tcp")) if sd.host.startswith("tcp://") else sd.host.rstrip("/")
        connector = aiohttp.TCPConnector()  # type: ignore[assignment]
    options = await request_options(base, replace(sd.auth, proxy=None) if sd.auth and sd.socket else sd.auth)
    options["headers"]["Accept-Encoding"] = "gzip"
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        filters = json.dumps({name: list(values) for name, values in sd.filters})
        query = {"filters": filters} if sd.filters else {}
        containers = await _list(session, f"{base}/containers/json", query, options)
        return containers, await _list(session, f"{base}/networks", {}, options)


async def _list(session: aiohttp.ClientSession, url: str, query: dict[str, str], options: dict[str, Any]) -> list[Any]:
    what = url.rpartition("/")[2].replace("json", "containers")
    async with session.get(url, params=query, **options) as response:
        try:
            if response.status != 200:
                raise ScrapeError(f"{what}: {other_status(response.status, '')}")
            body = BoundedBody(MAX_BODY_BYTES, response.headers.get("Content-Encoding", ""))
            async for chunk in response.content.iter_any():
                body.feed(chunk)
        finally:
            response.close()  # the rest of a body must not be drained: it may never end
    try:
        found = json.loads(body.finish())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ScrapeError(f"{what}: answered something else than a list in JSON; is this Docker's API?")
    return found


def _cure(socket: str, error: object) -> str:
    """Return what to do about a socket that cannot be used; "" for other errors. Blocking."""
    match error:
        case PermissionError() if socket:
            try:
                gid = Path(socket).stat().st_gid
                group = grp.getgrgid(gid).gr_name
            except (OSError, KeyError):
                return "no permission for the socket; let the control plane's user enter its folder"
            return f"no permission for the socket; add the control plane's user to the group {group}, and restart it"
        case FileNotFoundError() if socket:
            return "there is no such socket; start Docker, or mount the socket into the control plane's container"
    return ""
