"""One server of one version: readiness and answers, whatever the server's API is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from collectors.engines.kinds import BACKENDS, Api
from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import Backend
from controlplane.errors import Unavailable
from controlplane.traffic.driver import Answer, NotSent, Question, ServerReply, VersionState
from controlplane.traffic.engines.openai import OpenAiApi
from controlplane.traffic.engines.triton import TritonEngine

State = tuple[VersionState, str]
"""The state of a version, and the reason where it is not ready."""


class Engine(Protocol):
    """One server of one version."""

    @property
    def url(self) -> str:
        """The server's address."""
        ...

    async def state(self) -> State:
        """Return the version's state there and the reason. Raises Unavailable."""
        ...

    async def ask(self, question: Question) -> ServerReply:
        """Return the reply with its fault. Raises NotSent, and Unavailable without a reply."""
        ...


def engine_of(
    section: ModelSection, version: str, backend: Backend, session: aiohttp.ClientSession, timeout_s: float
) -> Engine:
    """Return the server of a version. `timeout_s` is the deadline of a call that names none."""
    assert backend.engine is not None  # the configuration requires its name
    served = section.served_model(version)
    if BACKENDS[backend.engine].api is Api.TRITON:
        return TritonEngine(backend.url, version, served, session, timeout_s, auth_of(backend))
    return _OpenAiEngine(backend.url, served, OpenAiApi(backend.url, session, timeout_s, auth_of(backend)))


@dataclass(frozen=True)
class _OpenAiEngine:
    url: str
    served: str
    api: OpenAiApi

    async def state(self) -> State:
        return await self.api.state(self.served)

    async def ask(self, question: Question) -> ServerReply:
        return await self.api.ask(self.served, question)


async def state_of(engine: Engine) -> State:
    """Return the version's state on a server, UNKNOWN where the server does not answer."""
    try:
        return await engine.state()
    except Unavailable as error:
        return VersionState.UNKNOWN, str(error)


async def ask(engine: Engine, question: Question) -> Answer:
    """Ask one server. Raises NotSent when the question could not be sent."""
    started = time.monotonic()
    try:
        reply = await engine.ask(question)
    except NotSent:
        raise
    except Unavailable as error:
        return Answer(str(error), time.monotonic() - started)
    return Answer(f"{engine.url} {reply.fault}" if reply.fault else "", reply.seconds, (reply,))


def any_ready(states: Sequence[State]) -> State:
    """Return the state of a version over servers of its own: a ready one serves, and the proxy avoids the others."""
    return min(states, key=lambda found: _BEST_FIRST.index(found[0]))


def all_ready(states: Sequence[State]) -> State:
    """Return the state of a version over servers that all load it: the first that is not ready counts."""
    return max(states, key=lambda found: _BEST_FIRST.index(found[0]))


_BEST_FIRST = (
    VersionState.READY,
    VersionState.UNKNOWN,
    VersionState.UNAVAILABLE,
    VersionState.UNLOADING,
    VersionState.LOADING,
)
"""States in the order in which they count. A load that is under way counts first: an order must wait for it."""
