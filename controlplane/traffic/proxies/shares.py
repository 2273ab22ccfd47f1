"""Shares as whole-numbered weights: the weights of a proxy's servers that come nearest to a share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.traffic.driver import EngineRefused

PRECISION = 0.0005
"""Largest difference between an ordered share and the set one: rollouts count shares as equal within it."""


@dataclass(frozen=True)
class Weighted:
    """The weight of each server of a version, by version. Versions without requests have 0."""

    weights: Mapping[str, int]

    def shares(self, servers: Mapping[str, int]) -> dict[str, float]:
        """Return the share of each version that has `servers` servers."""
        return shares_of({version: weight * servers[version] for version, weight in self.weights.items()})


def whole_weights(shares: Mapping[str, float], servers: Mapping[str, int], most: int, whole: int = 100) -> Weighted:
    """Return weights from 0 to `most` for the servers of each version. Servers of one version get the same weight.

    `shares` adds up to 1 and names one or two versions; `servers` has the number of servers of each version. A version
    with all requests gets the weight `whole`. Raises EngineRefused when no weights come near enough.
    """
    found = dict.fromkeys(servers, 0)
    given = {version: share for version, share in shares.items() if share > 0.0}
    if len(given) == 1:
        return Weighted({**found, next(iter(given)): whole})
    (less, share), (more, _) = sorted(given.items(), key=lambda item: item[1])
    best, error = (1, most), 2.0
    for low in range(1, most + 1):
        exact = low * servers[less] * (1.0 - share) / (share * servers[more])
        high = min(most, max(1, round(exact)))
        got = low * servers[less] / (low * servers[less] + high * servers[more])
        if abs(got - share) < error - 1e-12:
            best, error = (low, high), abs(got - share)
    if error > PRECISION:
        least = least_share(servers[less], servers[more], most)
        raise EngineRefused(
            f"{less} cannot get {100 * share:g}% of the requests: weights go from 0 to {most}, and its smallest share "
            f"is {100 * least:.2g}%; choose a larger share"
        )
    return Weighted({**found, less: best[0], more: best[1]})


def least_share(mine: int, others: int, most: int) -> float:
    """Return the smallest share above 0 of a version with `mine` servers beside `others` servers."""
    return mine / (mine + most * others)


def shares_of(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each weight above 0. Empty: no weight is above 0."""
    total = sum(weights.values())
    return {version: weight / total for version, weight in weights.items() if weight > 0} if total else {}


def near(found: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    """Return whether shares differ by less than PRECISION, and the same versions have none: no request is still one."""
    return all(
        abs(found.get(v, 0.0) - wanted.get(v, 0.0)) < PRECISION and (found.get(v, 0.0) > 0) == (wanted.get(v, 0.0) > 0)
        for v in {*found, *wanted}
    )


def whole_numbers(weights: Mapping[str, float], whole: int) -> dict[str, int]:
    """Return shares as whole numbers with the sum `whole`."""
    found = {name: round(share * whole) for name, share in weights.items()}
    largest = max(found, key=lambda name: found[name])
    found[largest] += whole - sum(found.values())
    return found


def readable_numbers(shares: Mapping[str, float]) -> dict[str, int]:
    """Return shares as percent where they are whole ones, else as whole numbers with the sum 10,000."""
    percent = all(abs(100 * share - round(100 * share)) < 1e-6 for share in shares.values())
    return whole_numbers(shares, 100 if percent else 10_000)
