"""Requests to a real engine: their statuses, whole streams, and clients that hang up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.fakes import raw_http
from tests.patience import PROCESS_S

Headers = Mapping[str, str]


async def post(url: str, body: Any, headers: Headers | None = None) -> int:
    """Return the status of the answer to a POST, read whole. `bytes` are sent as they are, and all else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(timeout=PROCESS_S) as client:
        sent = {"content-type": "application/json", **(headers or {})}
        return (await client.post(url, content=content, headers=sent)).status_code


async def hang_up(url: str, body: Any, headers: Headers | None = None, *, after: bytes = b"") -> None:
    """Send a POST, and close the connection once the answer holds `after`; at once by default."""
    parts = urlsplit(url)
    lines = [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **(headers or {})}.items()]
    async with await raw_http.RawClient.connect(parts.port or 80) as client:
        await client.send(raw_http.post(body, parts.path, *lines))
        if after:
            await client.until(after)
