"""Every driver over a target that serves v1, can serve v2, and has a v3 that cannot serve."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.demo.repository import write_repository
from controlplane.demo.triton import TritonServer
from controlplane.traffic.driver import BackendObservation, Driver, Placement
from controlplane.traffic.drivers import build_drivers
from tests.contract.drivers import cluster as kubernetes
from tests.contract.drivers.real_envoy import RealEnvoy
from tests.contract.drivers.real_haproxy import haproxy
from tests.contract.drivers.real_nginx import RealNginx
from tests.contract.drivers.streams import adapter, drawn, stream
from tests.contract.drivers.versions import Versions, clients
from tests.fakes.failing_version import write_failing_version
from tests.fakes.gateways import FakeGateways
from tests.fakes.triton import FakeTriton
from tests.fakes.vllm_adapters import FakeVllm
from tests.patience import HANG_S

Held = AbstractAsyncContextManager[tuple[Callable[[], None], Awaitable[str]]]
"""A request that is kept open: a function that releases it, and the version that answered it."""
SCRIPT = Path(__file__).parents[3] / "examples" / "exec-driver" / "switch.py"
"""The example of a program."""
NOWHERE = "http://127.0.0.1:1"
"""Port 1 answers nothing."""


@dataclass
class Case:
    """A driver over one backend."""

    again: Callable[[], Driver]
    """Makes a driver of the same target, as another process of the control plane would."""
    backend: str
    gone: Callable[[str], Driver]
    """Makes the driver on a target at another address."""
    section: ModelSection
    """The model's section of fleet.yaml."""
    nowhere: str = NOWHERE
    """An address without a target."""
    loads: bool = True
    """Whether the driver loads versions. The others move traffic between servers that somebody else started."""
    clients: Callable[[int], Awaitable[Counter[str]]] | None = None
    """Sends requests, and returns how many each version answered. None: the driver takes no weights."""
    hold: Callable[[str], Held] | None = None
    """Keeps one request to a version open through the target, until it is released."""
    ask: Callable[[int], Awaitable[str]] | None = None
    """Sends one client's request for so many tokens. Returns the version whose whole answer came, or raises Cut."""
    restart: Callable[[], Awaitable[None]] | None = None
    """Restarts the target."""
    names: Sequence[str] = ("v1", "v2", "v3")
    """The model's versions. The last one cannot serve, or can be made so at its server."""
    versions: Versions | None = None
    """The servers of the versions, where somebody else starts them."""
    spread: float = 0.0
    """Largest difference of a counted share from the ordered one, at 400 requests, 0 to 1."""
    cannot_start: str = "out of memory"
    """The engine's words about v3."""
    counts_open: bool = True
    """Whether the target knows the open requests of each version."""
    config: str = ""

    def __post_init__(self) -> None:
        self.driver = self.again()

    async def place(self, serve: str, *keep: str, share: float = 1.0) -> None:
        await self.driver.place(self.backend, Placement("chat", serve, keep, self.config, share))

    async def observe(self) -> BackendObservation:
        return (await self.driver.observe()).backend(self.backend)

    async def until(self, reached: Callable[[BackendObservation], bool]) -> BackendObservation:
        async with asyncio.timeout(HANG_S):
            while True:
                seen = await self.observe()
                if reached(seen):
                    return seen
                await asyncio.sleep(0.05)


def made(section: ModelSection, gateways: FakeGateways | None = None) -> Driver:
    """Return the driver that the registry makes for a section."""
    return build_drivers([section], gateways or FakeGateways())["chat"]


def on_triton(url: str, repository: Path | None = None, driver: str = "triton") -> ModelSection:
    backend = {"url": url} | ({"repository": str(repository)} if repository else {})
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}, "v3": {}},
            "traffic": {"driver": driver, "model": "model", "backends": [backend]},
        }
    )


def on_vllm(url: str) -> ModelSection:
    adapters = {"v1": "/adapters/v1", "v2": "/adapters/v2", "v3": "/adapters/v3"}
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}, "v3": {}},
            "traffic": {"driver": "vllm", "adapters": adapters, "backends": [{"url": url}]},
        }
    )


def _behind_nobody(url: str) -> Driver:
    gateways = FakeGateways()
    gateways.fault = f"database {url}: connection refused"
    return made(on_triton(url, driver="gateway"), gateways)


def _of_triton(url: str, repository: Path | None) -> Case:
    section = on_triton(url, repository)
    return Case(lambda: made(section), url, lambda other: made(on_triton(other)), section)


def _of_gateway(url: str, repository: Path | None) -> Case:
    gateways, section = FakeGateways(), on_triton(url, repository, "gateway")
    return Case(lambda: made(section, gateways), "gateway", _behind_nobody, section)


@contextlib.asynccontextmanager
async def fake_triton(folder: Path, of: Callable[[str, Path | None], Case] = _of_triton) -> AsyncIterator[Case]:
    async with FakeTriton(on_disk=(1, 2, 3)) as fake:
        fake.fails[3] = "Internal: out of memory"
        yield of(fake.url, None)


@contextlib.asynccontextmanager
async def real_triton(folder: Path, of: Callable[[str, Path | None], Case] = _of_triton) -> AsyncIterator[Case]:
    write_repository(folder / "models")
    write_failing_version(folder / "models", 3, reason="out of memory")
    async with TritonServer(folder / "models", folder / "triton") as server:
        yield of(server.http_url, folder / "models")


@contextlib.asynccontextmanager
async def behind_haproxy(folder: Path) -> AsyncIterator[Case]:
    async with Versions() as versions:
        with haproxy(folder, {name: versions.address(name) for name in versions.servers}) as proxy:

            def section(address: str, config: str | None = None) -> ModelSection:
                return versions.section(driver="haproxy", instances=[{"socket": address, "config": config}])

            async def restart() -> None:
                await asyncio.to_thread(proxy.stop)
                await asyncio.to_thread(proxy.start)

            yield Case(
                lambda: made(section(str(proxy.socket), str(proxy.config))),
                "haproxy",
                lambda other: made(section(other)),
                section(str(proxy.socket), str(proxy.config)),
                nowhere="127.0.0.1:1",
                loads=False,
                versions=versions,
                ask=lambda tokens: stream(proxy.url, tokens),
                clients=lambda requests: clients(proxy.url, requests),
                hold=lambda version: versions.hold(proxy.url, version),
                restart=restart,
                spread=0.025,
            )


@contextlib.asynccontextmanager
async def behind_nginx(folder: Path, sticky: str | None = None, spread: float = 0.0) -> AsyncIterator[Case]:
    async with Versions() as versions:
        proxy = RealNginx(folder, versions.address("v1"), "chat" if sticky is None else "$chat_upstream", sticky)
        with proxy.running():

            def section(include: str) -> ModelSection:
                return versions.section(driver="nginx", include=include, sticky=sticky, **proxy.fields())

            yield Case(
                lambda: made(section(str(proxy.include))),
                "nginx",
                lambda other: made(section(other)),
                section(str(proxy.include)),
                nowhere=f"{folder}/none.conf",
                loads=False,
                versions=versions,
                ask=lambda tokens: stream(proxy.url, tokens),
                clients=lambda requests: clients(proxy.url, requests),
                hold=lambda version: versions.hold(proxy.url, version),
                restart=lambda: asyncio.to_thread(proxy.restart),
                spread=spread,
                counts_open=False,
            )


@contextlib.asynccontextmanager
async def behind_envoy(folder: Path) -> AsyncIterator[Case]:
    async with Versions() as versions:
        proxy = RealEnvoy(folder, {f"chat_{name}": versions.address(name) for name in versions.servers})
        with proxy.running():

            def section(admin: str) -> ModelSection:
                return versions.section(driver="envoy", instances=[{"admin": admin, "routes": str(proxy.routes)}])

            yield Case(
                lambda: made(section(proxy.admin)),
                "envoy",
                lambda other: made(section(other)),
                section(proxy.admin),
                loads=False,
                versions=versions,
                ask=lambda tokens: stream(proxy.url, tokens),
                clients=lambda requests: clients(proxy.url, requests),
                hold=lambda version: versions.hold(proxy.url, version),
                restart=lambda: asyncio.to_thread(proxy.restart),
                spread=0.1,  # it draws: 4 standard deviations of 50 % at 400 requests
            )


@contextlib.asynccontextmanager
async def by_script(folder: Path) -> AsyncIterator[Case]:
    async with Versions() as versions:
        file = folder / "chat.json"
        file.write_text('{"v1": 1.0}')

        def section(where: str) -> ModelSection:
            return versions.section(driver="exec", command=[sys.executable, "-S", str(SCRIPT), where], weights=True)

        yield Case(
            lambda: made(section(str(file))),
            "exec",
            lambda other: made(section(other)),
            section(str(file)),
            nowhere=f"{folder}/none/chat.json",
            loads=False,
            versions=versions,
            ask=lambda tokens: stream(versions.servers[drawn(file)].url, tokens),
            spread=0.1,  # it draws: 4 standard deviations of 50 % at 400 requests
        )


Weights = Callable[[kubernetes.TestCluster], dict[str, int]]


@contextlib.asynccontextmanager
async def in_cluster(
    folder: Path,
    objects: Sequence[dict[str, Any]],
    fields: Mapping[str, Any],
    weights: Weights,
    names: Sequence[str] = ("v1", "v2", "v3"),
) -> AsyncIterator[Case]:
    async with Versions(names) as versions:
        cluster = kubernetes.TestCluster(versions)
        async with cluster.running():
            for one in objects:
                cluster.put(one)
            for version in versions.servers:
                cluster.endpoints(f"chat-{version}", version)

            def section(kubeconfig: str) -> ModelSection:
                return versions.section(
                    driver="kubernetes", namespace=kubernetes.NAMESPACE, kubeconfig=kubeconfig, **fields
                )

            here = section(str(cluster.kubeconfig(folder)))
            ask, many = kubernetes.asks(cluster, weights)
            nowhere = str(cluster.kubeconfig(folder, NOWHERE))
            yield Case(
                lambda: made(here),
                "kubernetes",
                lambda other: made(section(nowhere)),
                here,
                nowhere=NOWHERE,
                loads=False,
                names=names,
                versions=versions,
                ask=ask,
                clients=many if "service" not in fields else None,
                hold=lambda version: versions.hold(versions.servers[version].url, version),
                restart=cluster.restart,
                spread=0.1,  # it draws: 4 standard deviations of 50 % at 400 requests
            )


_ALL_TO_V1 = {"v1": 100, "v2": 0, "v3": 0}


def by_route(folder: Path) -> AbstractAsyncContextManager[Case]:
    fields = {"http_route": {"name": "chat"}}
    return in_cluster(folder, [kubernetes.route(_ALL_TO_V1)], fields, kubernetes.by_route)


def by_group(folder: Path) -> AbstractAsyncContextManager[Case]:
    members = [kubernetes.member(version, weight) for version, weight in _ALL_TO_V1.items()]
    fields = {"llm_inference_services": {version: f"chat-{version}" for version in _ALL_TO_V1}}
    return in_cluster(folder, members, fields, kubernetes.by_group)


def by_selector(folder: Path) -> AbstractAsyncContextManager[Case]:
    fields = {"service": {"name": "chat"}}
    return in_cluster(folder, [kubernetes.selected("v1")], fields, kubernetes.by_selector)


def by_canary(folder: Path) -> AbstractAsyncContextManager[Case]:
    models = {version: f"hf://org/{version}" for version in ("v1", "v2")}
    fields = {"inference_service": {"name": "chat", "models": models}}
    return in_cluster(folder, [kubernetes.canary("v2")], fields, kubernetes.by_canary, tuple(models))


@contextlib.asynccontextmanager
async def on_fake_vllm(folder: Path) -> AsyncIterator[Case]:
    async with FakeVllm({"chat": "/adapters/v1"}) as fake:
        yield Case(
            lambda: made(on_vllm(fake.url)),
            fake.url,
            lambda other: made(on_vllm(other)),
            on_vllm(fake.url),
            ask=lambda tokens: adapter(fake.url),
            cannot_start="No adapter found for /adapters/v3",
        )


Target = Callable[[Path], AbstractAsyncContextManager[Case]]
DRIVERS: Mapping[str, Target] = MappingProxyType(
    {
        "triton on a fake": fake_triton,
        "triton": real_triton,
        "gateway before a fake triton": lambda folder: fake_triton(folder, _of_gateway),
        "gateway before a triton": lambda folder: real_triton(folder, _of_gateway),
        "haproxy": behind_haproxy,
        "envoy": behind_envoy,
        "exec": by_script,
        "vllm on a fake": on_fake_vllm,
        "kubernetes, route": by_route,
        "kubernetes, group": by_group,
        "kubernetes, canary": by_canary,
        "kubernetes, selector": by_selector,
        "nginx": behind_nginx,
        # Draws by a hash: 4 standard deviations of 50 % at 400 requests.
        "nginx, sticky": lambda folder: behind_nginx(folder, "$request_id", 0.1),
    }
)
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "triton": "triton",
        "gateway before a triton": "triton",
        "haproxy": "haproxy",
        "envoy": "envoy",
        "nginx": "nginx",
        "nginx, sticky": "nginx",
    }
)
"""The real component of each target that has one."""
WEIGHTED = (
    "haproxy",
    "envoy",
    "nginx",
    "nginx, sticky",
    "kubernetes, route",
    "kubernetes, group",
    "kubernetes, canary",
)
"""Targets whose driver takes weights, and that clients can be counted at."""
