"""The demo's credentials at its control plane: the gateway's token, and an API key for its load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from controlplane.demo.state import write_private
from controlplane.errors import Unavailable

TENANT = "demo"


async def access(url: str, token: str, gateway_token: Path, api_key: Path) -> str:
    """Write the gateway's token and the load's API key to files, unless they are there. Return the key.

    A kept data folder keeps both: its database has their digests. Raises Unavailable when the control plane makes none.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
        if not _kept(gateway_token):
            made = await _create(session, "/cp/v1/tokens", {"name": "gateway", "role": "gateway"})
            write_private(gateway_token, made["token"])
        if not _kept(api_key):
            wanted = {"name": "load", "tenant": TENANT, "role": "tester"}
            made = await _create(session, "/cp/v1/keys", wanted)
            write_private(api_key, made["key"])
    return _kept(api_key)


def _kept(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.exists() else ""


async def _create(session: aiohttp.ClientSession, path: str, wanted: dict[str, str]) -> dict[str, Any]:
    try:
        async with session.post(path, json=wanted) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unavailable(f"the control plane did not make credentials ({path}): {error}") from error
    if response.status != 201:
        raise Unavailable(f"the control plane did not make credentials ({path}): {answer.get('detail', answer)}")
    return answer
