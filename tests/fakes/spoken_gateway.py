"""The data path of one worker with the real dialects, for tests with the clients that people use."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controlplane.gateway.desired.document import BackendSpec, Desired, ModelSpec, VersionSpec
from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.exchange.server import GatewayServer
from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import TimerWheel
from tests.fakes import gateway_stages as stages
from tests.patience import until


@dataclass(frozen=True)
class SpokenGateway:
    """A running gateway."""

    url: str
    limits: stages.Limits
    recorder: stages.Recorder

    async def record(self, number: int = 1) -> UsageRecord:
        """Return the last record, once there are `number`."""
        await until(lambda: len(self.recorder.records) >= number)
        assert len(self.recorder.records) == number
        return self.recorder.records[-1]


def model(name: str, url: str, served: str = "served", path_version: str = "", engine: str = "vllm") -> ModelSpec:
    """Return a model with one version on one engine."""
    backend = BackendSpec(url, engine, served, path_version)
    return ModelSpec(name, 1, (VersionSpec("v1", 1000, (backend,)),), retries=0)


@asynccontextmanager
async def spoken_gateway(*models: ModelSpec) -> AsyncIterator[SpokenGateway]:
    """Serve models on a free port of loopback until the block ends."""
    limits, recorder = stages.Limits(), stages.Recorder()
    wheel = TimerWheel(asyncio.get_running_loop())
    server = GatewayServer(
        AllDialects(), limits, stages.Chooser(models), recorder, WireSettings(), wheel, created=1_700_000_000
    )
    server.apply(Desired("1", models))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    try:
        yield SpokenGateway(f"http://127.0.0.1:{listening.getsockname()[1]}", limits, recorder)
    finally:
        await server.close()
        listening.close()
        wheel.close()
