"""Conversion of observations to and from stored JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from alerts.stored import Document, checked, items, reading
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState, all_to

_COUNTS = ("requests", "open")


def observation_to_json(seen: TrafficObservation) -> dict[str, Any]:
    """Return the observation as plain JSON. Counts of requests are left out: they change at every observation."""
    backends = [
        {name: value for name, value in msgspec.to_builtins(backend).items() if name not in _COUNTS}
        for backend in seen.backends
    ]
    return {"model": seen.model, "backends": backends}


def observation_from_json(data: Any) -> TrafficObservation:
    """Return the observation from the JSON of `observation_to_json`. Raises alerts.errors.NotReadable."""
    with reading():
        return checked(
            TrafficObservation(
                data["model"],
                tuple(_backend(item) for item in items(data["backends"])),
            )
        )


def _backend(item: Document) -> BackendObservation:
    # Earlier releases stored one serving version and no weights.
    shares = {"weights": all_to(item["serving"])} if "serving" in item else {}
    rest = {key: value for key, value in item.items() if key != "serving"}
    versions = {version: VersionState(state) for version, state in item["versions"].items()}
    stays = items(item.get("stays", ()))
    return BackendObservation(**{**rest, **shares, "versions": versions, "stays": stays})
