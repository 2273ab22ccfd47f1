"""The servers of a model's versions: their readiness, and their answers to questions by their own addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from controlplane.config.models import ModelSection
from controlplane.traffic.driver import Answer, Question, VersionState
from controlplane.traffic.engines.engine import Engine, State, any_ready, ask, engine_of, state_of


class VersionServers:
    """The servers that serve one version each. A version is ready while one of its servers is."""

    def __init__(self, section: ModelSection, session: aiohttp.ClientSession, timeout_s: float) -> None:
        """`session` comes from engine_server.open_session(). `timeout_s` is the deadline of a call that names none."""
        self._engines: dict[str, list[Engine]] = {
            name: [engine_of(section, name, backend, session, timeout_s) for backend in version.backends]
            for name, version in section.versions.items()
        }

    async def states(self) -> dict[str, State]:
        """Return the state of every version that has servers of its own."""
        owned = {name: engines for name, engines in self._engines.items() if engines}
        found = await asyncio.gather(*(self._states(engines) for engines in owned.values()))
        return {name: any_ready(states) for name, states in zip(owned, found, strict=True)}

    async def not_ready(self, version: str) -> list[str]:
        """Return a sentence for each server of the version that is not ready."""
        engines = self._engines.get(version, [])
        return [
            f"{version} is not ready on {engine.url}: {reason or state.value}"
            for engine, (state, reason) in zip(engines, await self._states(engines), strict=True)
            if state is not VersionState.READY
        ]

    async def ask(self, version: str, question: Question) -> list[Answer]:
        """Ask every server of the version at once. Raises NotSent when one could not be asked."""
        answers = await asyncio.gather(
            *(ask(engine, question) for engine in self._engines.get(version, [])), return_exceptions=True
        )
        return whole(answers)

    async def _states(self, engines: Sequence[Engine]) -> list[State]:
        return list(await asyncio.gather(*map(state_of, engines)))


def whole(answers: Sequence[Answer | BaseException]) -> list[Answer]:
    """Return the answers. Raises the first error among them."""
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if isinstance(answer, Answer)]


def worst(answers: Sequence[Answer]) -> Answer:
    """Return the answer of several servers as one: all faults, the longest time, and each server's reply."""
    faults = [answer.fault for answer in answers if answer.fault]
    replies = tuple(reply for answer in answers for reply in answer.replies)
    return Answer("; ".join(faults), max((answer.seconds for answer in answers), default=0.0), replies)
