"""The gateways of the world: they report every second, and apply at once what the control plane wants."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import httpx

from tests.e2e.bad_day.places import GATEWAYS
from tests.e2e.bad_day.story import EIGHT

EVERY_S = 1.0
RPS = {story.name: story.peak_rps * 0.6 for story in EIGHT if story.gateway}


async def report(client: httpx.AsyncClient) -> None:
    """Report for every gateway until cancelled. `client` has the token of a gateway."""
    began = time.time()
    revision, desired = "", {}
    since: dict[tuple[str, int], float] = {}
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.get("/cp/v1/gateways/desired", params={"name": GATEWAYS[0], "revision": revision})
            if answer.status_code == 200:
                desired = answer.json()
                revision = desired["revision"]
            for name in GATEWAYS:
                sent = _report(name, revision, desired, began, since)
                (await client.post("/cp/v1/gateways/report", json=sent)).raise_for_status()
        await asyncio.sleep(EVERY_S)


def _report(
    name: str, revision: str, desired: dict[str, Any], began: float, since: dict[tuple[str, int], float]
) -> dict[str, Any]:
    models = {}
    for model in desired.get("models", ()):
        generation = model.get("generation", 0)
        seconds = time.time() - since.setdefault((model["name"], generation), time.time() - 60.0)
        total = RPS.get(model["name"], 1.0) * seconds / len(GATEWAYS)
        shares = {version["name"]: version.get("weight", 0) / 1000 for version in model["versions"]}
        models[model["name"]] = {
            "generation": generation,
            "requests": {version: round(total * share) for version, share in shares.items() if share},
            "open": {version: round(6 * share) for version, share in shares.items() if share},
        }
    return {
        "format": 1,
        "name": name,
        "incarnation": f"{name}-{began:.0f}",
        "version": "0.1.0",
        "listen": f"10.3.0.{11 + GATEWAYS.index(name)}:8400",
        "workers": 8,
        "ready": True,
        "revision": revision,
        "models": models,
        "open_streams": 41,
    }
