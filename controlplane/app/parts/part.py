"""What a control plane is made of: parts with one protocol, in the order in which they need each other."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet
from controlplane.pools import ThreadPool
from controlplane.schedule import Loop, LoopFactory

Settings = TypeVar("Settings")
Made = TypeVar("Made")

MOST_NAMED = 4


class Configuration(NamedTuple):
    """A fleet.yaml that is to be taken over."""

    loaded: LoadedFleet
    listen: str
    """Where people reach this process unless the file names an `external_url`."""

    @property
    def fleet(self) -> Fleet:
        """The file's content."""
        return self.loaded.fleet

    @property
    def console_url(self) -> str:
        """Where people reach the console, without a slash at the end."""
        return (self.fleet.fleet.external_url or f"http://{self.listen}").rstrip("/")


class Part(ABC, Generic[Settings]):
    """One part of a running control plane.

    A configuration reaches a part in two steps. `settings` derives what the part is told, and may refuse it. Then
    `configure` takes it over, and may not. All parts derive before the first one takes over, so a fault in one leaves
    all as they were. A part whose settings equal those that it runs with is not configured again: settings hold
    everything that the part is told, and compare by value. A method that a part does not need does nothing.
    """

    name: str
    """One word: sentences on what it took begin with it."""

    def settings(self, config: Configuration) -> Settings | None:
        """Return what this part is told by a configuration. Blocking. Changes nothing. Raises ConfigErrors."""
        return None

    async def configure(self, settings: Settings) -> Sequence[str]:
        """Take over settings that changed, and keep what did not change in them; return what was taken, in words."""
        return ()

    async def start(self) -> None:
        """Begin; `configure` came before. Raises ConfigError where what the settings name cannot be used."""

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return what this part does again and again."""
        return ()

    def not_ready(self) -> Mapping[str, str]:
        """Return what of this part is not ready, and why. Blocking."""
        return {}

    async def close(self) -> None:
        """Stop. No loop runs any more, and parts that need this one are closed already."""


class Parts:
    """The parts of one control plane, each after those that it needs."""

    def __init__(self, parts: Sequence[Part[Any]]) -> None:
        """Raises ValueError where two parts have one name."""
        self._parts = tuple(parts)
        if len({part.name for part in self._parts}) != len(self._parts):
            raise ValueError(f"two parts have one name: {', '.join(part.name for part in self._parts)}")
        self._running: dict[str, object] = {}

    async def configure(self, config: Configuration, pool: ThreadPool) -> list[str]:
        """Let every part take over what changed for it; return what was taken, in words. Raises ConfigErrors.

        `pool` has the threads in which settings are derived.

        Where a part fails for a reason of its own, it and those after it run with what they had; the next call tries
        them again.
        """
        derived = await pool.run(lambda: [part.settings(config) for part in self._parts])
        taken: list[str] = []
        for part, settings in zip(self._parts, derived, strict=True):
            if settings != self._running.get(part.name):
                taken += [f"{part.name}: {sentence}" for sentence in await part.configure(settings)]
                self._running[part.name] = settings
                if settings is None:  # as at a start without them
                    del self._running[part.name]
        return taken

    async def start(self) -> None:
        """Start every part. Raises ConfigError."""
        for part in self._parts:
            await part.start()

    def loops(self, make: LoopFactory) -> list[Loop]:
        """Return the loops of every part."""
        return [loop for part in self._parts for loop in part.loops(make)]

    def not_ready(self) -> dict[str, str]:
        """Return what is not ready, and why. Blocking."""
        return {what: why for part in self._parts for what, why in part.not_ready().items()}

    async def close(self) -> None:
        """Close every part, the last one first: who acts stops before what it observes with."""
        for part in reversed(self._parts):
            await part.close()


def kept(made: Mapping[str, Made], before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, Made]:
    """Return those of the things that were made, by name, whose settings are the same `after` as `before`."""
    return {name: thing for name, thing in made.items() if name in after and after[name] == before[name]}


def difference(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return a sentence on what was added, changed and removed by name, and how much was kept; none without a change.

    `what` is a plural: "notifiers: 1 added (ops), 2 kept".
    """
    changes = {
        "added": [name for name in after if name not in before],
        "changed": [name for name in after if name in before and after[name] != before[name]],
        "removed": [name for name in before if name not in after],
    }
    told = [f"{len(names)} {how} ({_named(names)})" for how, names in changes.items() if names]
    if not told:
        return []
    kept = len(after) - len(changes["added"]) - len(changes["changed"])
    return [f"{what}: {', '.join([*told, f'{kept} kept'])}"]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
