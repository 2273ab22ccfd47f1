"""A program of the operator as a proxy of versions: each verb is one run of it, without a shell.

The program gets PATH and the environment variables that fleet.yaml lists. Its process group is killed when its time is
over, so that no child of it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.config.traffic.script import ScriptTraffic
from controlplane.errors import Unavailable
from controlplane.traffic.child import run
from controlplane.traffic.driver import Capabilities, EngineRefused, NotSent
from controlplane.traffic.proxies.routing import Check, InstanceSeen
from controlplane.traffic.script.messages import Reply, call, reply
from controlplane.traffic.words import told

NAME = "exec"
REFUSED = 3
"""Exit status by which a program refuses an order. Any other failure says that the result is unknown."""
_WHOLE_ONLY = "the program moves only all requests at once; set weights: true where it can split them"


class Script:
    """The operator's program."""

    name = NAME

    def __init__(self, section: ModelSection) -> None:
        assert isinstance(section.traffic, ScriptTraffic)  # the registry chooses by it
        self._traffic, self._model = section.traffic, section.name
        self._versions = {name: [b.url for b in version.backends] for name, version in section.versions.items()}
        self._program = section.traffic.command[0]
        notes = () if section.traffic.weights else (_WHOLE_ONLY,)
        self.capabilities = Capabilities(weights=section.traffic.weights, prewarm=True, notes=notes)

    async def look(self) -> Sequence[InstanceSeen]:
        """Run the verb observe."""
        try:
            seen = await self._call("observe", self._traffic.timeout)
        except (Unavailable, EngineRefused) as error:
            return (InstanceSeen(self._program, None, str(error)),)
        return (InstanceSeen(self._program, seen.weights, "", seen.pending, seen.requests, seen.open, seen.life),)

    async def check(self, version: str) -> Check:
        """Run the verb prepare."""
        try:
            said = await self._call("prepare", self._traffic.timeout, version=version)
        except (Unavailable, EngineRefused) as error:
            return Check((str(error),))
        return Check(said.reasons, said.notes)

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Run the verb place. Raises EngineRefused, NotSent and Unavailable."""
        if missing := [version for version in weights if version not in self._versions]:
            raise EngineRefused(f"{missing[0]} is no version in fleet.yaml")
        if len(weights) > 1 and not self._traffic.weights:
            raise EngineRefused(_WHOLE_ONLY)
        await self._call("place", self._traffic.load_timeout, weights=dict(weights))

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Run the verb commit."""
        said = await self._call("commit", self._traffic.timeout, weights=dict(weights))
        return said.notes or (f"{self._program} committed the weights",)

    async def close(self) -> None:
        """Do nothing: no program stays."""

    async def _call(self, verb: str, timeout_s: float, **fields: Any) -> Reply:
        names = dict.fromkeys(("PATH", *self._traffic.environment))
        environment = {name: os.environ[name] for name in names if name in os.environ}
        given = call(verb, self._model, self._versions, **fields)
        done = await run(self._traffic.command, timeout_s=timeout_s, given=given, environment=environment)
        if not done.started:
            raise NotSent(f"{done.fault}; command: must name a program that this account may run")
        words = told(done.error) or "it wrote nothing to standard error"
        if done.code == REFUSED:
            raise EngineRefused(f"{self._program} refused {verb}: {words}")
        if done.code != 0:
            how = done.fault or f"{self._program} ended with status {done.code} at {verb}: {words}"
            raise Unavailable(how)
        try:
            return reply(verb, done.output, self._versions)
        except Unavailable as error:
            raise Unavailable(f"{self._program}: {error}") from error
