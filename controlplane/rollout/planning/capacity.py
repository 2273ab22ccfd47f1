"""The capacity gate: whether a candidate fits beside the stable version in the memory of the GPUs. Pure.

A number that is not known is said, and never guessed: the gate then refuses nothing unless the checklist asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from controlplane.config.models import ModelSection

MIB = 2**20
GIB = 2**30


class Fit(StrEnum):
    """The answer of the gate."""

    BESIDE = "beside"
    """Both versions fit, or the candidate has servers of its own."""
    DRAIN = "drain"
    """The stable version must be unloaded first, which interrupts the service."""
    NEVER = "never"
    """The candidate does not fit even alone."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Gpu:
    """The memory of one GPU, in bytes."""

    name: str
    total: float
    used: float
    """Used memory, the driver's reserve included."""

    @property
    def free(self) -> float:
        """Free memory."""
        return max(0.0, self.total - self.used)


@dataclass(frozen=True)
class ServerMemory:
    """The GPUs of one server, as the collectors last saw them."""

    url: str
    gpus: tuple[Gpu, ...] = ()
    """Empty: not known."""
    alone: bool = False
    """Whether the server's GPUs hold only the stable version of this model, as far as fleet.yaml says."""
    unknown: str = ""
    """Why the memory is not known; "" when it is."""


@dataclass(frozen=True)
class Capacity:
    """Whether a candidate fits, in a sentence."""

    fit: Fit
    sentence: str
    downtime_s: float | None = None
    """Predicted interruption of a drain and a switch, in seconds. None: not known."""
    known: tuple[str, ...] = field(default=())
    """Sentences about what the answer rests on."""


@dataclass(frozen=True)
class _Need:
    bytes: float
    of: str


def capacity(
    section: ModelSection, stable: str, version: str, seen: Sequence[ServerMemory], loads_s: Sequence[float]
) -> Capacity:
    """Return whether `version` fits beside `stable`.

    `seen` holds the servers that serve every version. `loads_s` are the durations of earlier loads of this model, in
    seconds.
    """
    if section.versions[version].backends:
        return Capacity(Fit.BESIDE, f"{version} has servers of its own, which hold its memory already")
    if not seen:
        return Capacity(Fit.UNKNOWN, f"whether {version} fits is unknown: no server of {section.name} is known")
    each = [_on_one(section, stable, version, server) for server in seen]
    worst = max(each, key=lambda found: _ORDER[found.fit])
    if worst.fit is not Fit.DRAIN:
        return worst
    downtime_s, words = _downtime(loads_s)
    sentence = f"{worst.sentence}; to unload {stable} first interrupts the service {words}"
    return Capacity(Fit.DRAIN, sentence, downtime_s, worst.known)


_ORDER = {Fit.BESIDE: 0, Fit.UNKNOWN: 1, Fit.DRAIN: 2, Fit.NEVER: 3}


def _on_one(section: ModelSection, stable: str, version: str, server: ServerMemory) -> Capacity:
    if not server.gpus:
        why = server.unknown or "no collector reports its GPUs"
        return Capacity(Fit.UNKNOWN, f"whether {version} fits on {server.url} is unknown: {why}")
    need = _need(section, stable, version, server)
    if need is None:
        return Capacity(
            Fit.UNKNOWN,
            f"whether {version} fits on {server.url} is unknown: its size is not known; declare it as "
            f"versions.{version}.memory in fleet.yaml",
        )
    share = need.bytes / len(server.gpus)
    tight = min(server.gpus, key=lambda gpu: gpu.free)
    asks = f"{version} needs {size(share)} on each GPU of {server.url} ({need.of})"
    if share <= tight.free:
        return Capacity(
            Fit.BESIDE, f"{asks}, and GPU {tight.name} has {size(tight.free)} free: it fits beside {stable}"
        )
    small = min(server.gpus, key=lambda gpu: gpu.total)
    if share > small.total:
        return Capacity(Fit.NEVER, f"{asks}, and GPU {small.name} has only {size(small.total)} in all")
    return Capacity(
        Fit.DRAIN, f"{asks}, and GPU {tight.name} has {size(tight.free)} free: it does not fit beside {stable}"
    )


def _need(section: ModelSection, stable: str, version: str, server: ServerMemory) -> _Need | None:
    wanted = section.versions[version]
    if wanted.memory is not None:
        cache = f" and {size(wanted.kv_cache)} of KV cache" if wanted.kv_cache else ""
        return _Need(wanted.memory + (wanted.kv_cache or 0), f"{size(wanted.memory)} of weights{cache} by fleet.yaml")
    if server.alone:
        used = sum(gpu.used for gpu in server.gpus)
        return _Need(used, f"as much as {stable} takes there now") if used else None
    return None


def _downtime(loads_s: Sequence[float]) -> tuple[float | None, str]:
    """Return the predicted interruption, and its words."""
    if not loads_s:
        return None, "for as long as the load takes; no earlier load of this model was recorded"
    usual, longest = median(loads_s), max(loads_s)
    number = f"{len(loads_s)} earlier load{'s' if len(loads_s) > 1 else ''}"
    return usual, f"for about {usual:.0f} s (median of {number}; the longest took {longest:.0f} s)"


def size(value: float) -> str:
    """Return a size for people: 42949672960 → "40 GiB"."""
    return f"{value / GIB:.3g} GiB" if value >= GIB else f"{value / MIB:.0f} MiB"
