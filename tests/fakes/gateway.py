"""The data path of one worker with stand-ins of the other stages, a clock that is turned by hand, and real sockets."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any

import pytest

from controlplane.gateway.desired.document import BackendSpec, Desired, ModelSpec, VersionSpec
from controlplane.gateway.exchange.server import GatewayServer
from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.wire.settings import WireSettings
from tests.fakes import gateway_stages as stages
from tests.fakes.engine import DONE
from tests.fakes.hand_clock import HandClock, wheel_of
from tests.fakes.raw_http import Broken, RawClient, post
from tests.patience import until

CHAT: dict[str, Any] = {"model": "chat"}
STREAM: dict[str, Any] = {"model": "chat", "stream": True}
BUSY = b'{"error":{"message":"busy"}}'
"""An engine's answer."""


def closed_port() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def broken_stream(client: RawClient, request: bytes = b"") -> bytes:
    """Ask for a stream that must break off; return what came of it."""
    await client.send(request or post(STREAM))
    with pytest.raises(Broken) as broken:
        await client.answer()
    assert DONE not in broken.value.body
    return broken.value.body


def backend(url: str, **more: Any) -> BackendSpec:
    """Return a backend."""
    return BackendSpec(url=url, engine="vllm", served_model="chat", **more)


def model(*backends: BackendSpec, name: str = "chat", **more: Any) -> ModelSpec:
    """Return a model of one version."""
    return ModelSpec(name=name, generation=1, versions=(VersionSpec("v1", 1000, backends),), **more)


class Gateway:
    """A running data path."""

    def __init__(self, *models: ModelSpec, **settings: Any) -> None:
        self.clock = HandClock()
        self.wheel = wheel_of(self.clock)
        self.dialects = stages.Dialects()
        self.limits = stages.Limits()
        self.chooser = stages.Chooser(models)
        self.recorder = stages.Recorder()
        self.counters = stages.Counters()
        self.desired = Desired("1", models)
        self._settings = WireSettings(**settings)
        self._socket = socket.create_server(("127.0.0.1", 0))

    async def __aenter__(self) -> Gateway:
        self.server = GatewayServer(
            self.dialects,
            self.limits,
            self.chooser,
            self.recorder,
            self._settings,
            self.wheel,
            created=1_700_000_000,
            counters=self.counters,
        )
        self.server.apply(self.desired)
        await self.server.start(self._socket)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.server.close()
        self._socket.close()
        self.wheel.close()

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def socket(self) -> socket.socket:
        return self._socket

    async def connect(self, **options: Any) -> RawClient:
        return await RawClient.connect(self.port, **options)

    async def record(self, number: int = 1) -> UsageRecord:
        """Return the last record, once there are `number`. Checks that the stages of each request were released."""
        await until(lambda: len(self.recorder.records) >= number)
        assert len(self.recorder.records) == number
        assert self.recorder.open == 0
        assert all(len(choice.released) == 1 for choice in self.chooser.choices)
        assert all(len(reservation.ends) == 1 for reservation in self.limits.reservations)
        assert self.server.buffered == 0
        assert self.server.open_requests == 0
        return self.recorder.records[-1]

    async def settled(self) -> None:
        """Let everything that is under way on the loop happen."""
        for _ in range(20):
            await asyncio.sleep(0)
