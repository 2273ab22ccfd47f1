"""The product's clients that are no scrapes, each asking an address once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from alerts.notify.http import HttpPoster
from collectors.target import Auth
from controlplane.remote_client import RemoteClient
from tests.patience import HANG_S

Asks = Callable[[str, Auth], Awaitable[int]]
"""Returns the status of an answer."""


async def remote(url: str, auth: Auth) -> int:
    client = RemoteClient(url, auth, max_reply_bytes=1 << 10)
    try:
        return (await client.request("GET", "", HANG_S)).status
    finally:
        await client.close()


async def posted(url: str, auth: Auth) -> int:
    poster = HttpPoster("n", auth)
    try:
        return (await poster.post(url, b"{}")).status
    finally:
        await poster.close()
