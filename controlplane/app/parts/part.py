"""The protocol of a control plane's parts, and their list: each part comes after those that it needs."""

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
    """A fleet.yaml that is to be applied."""

    loaded: LoadedFleet
    listen: str
    """Address for links to this process unless the file has `external_url`."""

    @property
    def fleet(self) -> Fleet:
        """The file's content."""
        return self.loaded.fleet

    @property
    def console_url(self) -> str:
        """Address of the console, without a slash at the end."""
        return (self.fleet.fleet.external_url or f"http://{self.listen}").rstrip("/")


class Part(ABC, Generic[Settings]):
    """One part of a running control plane.

    A configuration is applied in two steps. `settings` derives the part's settings and may refuse the configuration.
    Then `configure` applies them and may not refuse. All parts derive their settings before the first one applies them,
    so a fault in one part leaves all parts unchanged. Settings hold everything that the part needs, and compare by
    value: a part with equal settings is not configured again. A method that a part does not need does nothing.
    """

    name: str
    """One word. The sentences about the part's changes begin with it."""

    def settings(self, config: Configuration) -> Settings | None:
        """Return this part's settings for a configuration. Blocking. Changes nothing. Raises ConfigErrors."""
        return None

    async def configure(self, settings: Settings) -> Sequence[str]:
        """Apply changed settings, and keep the objects that they do not change. Return a sentence for each change."""
        return ()

    async def start(self) -> None:
        """Start; called after `configure`. Raises ConfigError when something that the settings name cannot be used."""

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loops of this part."""
        return ()

    def not_ready(self) -> Mapping[str, str]:
        """Return the things of this part that are not ready, each with its reason. Blocking."""
        return {}

    async def close(self) -> None:
        """Stop. Called after all loops have ended and after the parts that need this one are closed."""


class Parts:
    """The parts of one control plane. Each comes after those that it needs."""

    def __init__(self, parts: Sequence[Part[Any]]) -> None:
        """Raises ValueError when two parts have the same name."""
        self._parts = tuple(parts)
        if len({part.name for part in self._parts}) != len(self._parts):
            raise ValueError(f"two parts have one name: {', '.join(part.name for part in self._parts)}")
        self._running: dict[str, object] = {}

    async def configure(self, config: Configuration, pool: ThreadPool) -> list[str]:
        """Apply a configuration to every part whose settings changed. Return the changes as sentences.

        Settings are derived in the threads of `pool`. Raises ConfigErrors, and then no part has changed.

        When `configure` of a part fails, this part and those after it keep their old settings. The next call tries
        them again.
        """
        derived = await pool.run(lambda: [part.settings(config) for part in self._parts])
        taken: list[str] = []
        for part, settings in zip(self._parts, derived, strict=True):
            if settings != self._running.get(part.name):
                taken += [f"{part.name}: {sentence}" for sentence in await part.configure(settings)]
                self._running[part.name] = settings
                if settings is None:  # no settings: the next ones count as new
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
        """Return the things that are not ready, each with its reason. Blocking."""
        return {what: why for part in self._parts for what, why in part.not_ready().items()}

    async def close(self) -> None:
        """Close every part, the last one first: a part that acts stops before the parts that it reads."""
        for part in reversed(self._parts):
            await part.close()


def kept(made: Mapping[str, Made], before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, Made]:
    """Return the objects of `made`, by name, whose settings are the same in `after` as in `before`."""
    return {name: thing for name, thing in made.items() if name in after and after[name] == before[name]}


def difference(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return a sentence with the added, changed and removed names and the number of kept ones; [] without a change.

    `what` is a plural noun. Example: "notifiers: 1 added (ops), 2 kept".
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
