"""The addresses of the world: one of loopback for each server, all with the same port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.e2e.bad_day import engines
from tests.e2e.bad_day.curves import Grid
from tests.e2e.bad_day.gpus import PER_NODE, dcgm, gpus_of, node_name
from tests.e2e.bad_day.pages import Page
from tests.e2e.bad_day.story import EIGHT, Story, stories

SAME = 4
"""Replicas of a version that have pages of their own. Further ones repeat these, to keep large worlds quick."""
GATEWAYS = ("edge-1", "edge-2")
TRITONS = 2
"""Tritons of a model, at most."""


@dataclass(frozen=True)
class Size:
    """How large the world is."""

    models: int = 8
    gpus: int = 32
    targets: int = 60
    alerts: int = 24
    """Synthetic alerts in the database, beside those of the rules."""

    def __post_init__(self) -> None:
        if self.models < len(EIGHT):
            raise ValueError(f"the story of the day is that of {len(EIGHT)} models, so it needs as many or more")
        if self.gpus < 1 or self.targets < 0 or self.alerts < 0:
            raise ValueError("expected one GPU or more, and no negative number of targets or alerts")

    @property
    def nodes(self) -> int:
        """Number of nodes of eight GPUs."""
        return -(-self.gpus // PER_NODE)


@dataclass(frozen=True)
class Server:
    """One address of loopback, and what answers there."""

    host: str
    kind: str
    """vllm, sglang, triton, dcgm, gateway, html, or blind: metrics of another engine than fleet.yaml says."""
    model: str = ""
    version: str = ""
    node: str = ""
    name: str = ""
    """Name of its pod."""
    page: Page | None = None
    extra: bool = False
    """Whether it is listed under `targets:` only, and is no backend."""


def servers(size: Size, grid: Grid) -> list[Server]:
    """Return all servers, in the order of the fleet."""
    told = stories(size.models)
    found = list(_backends(told, grid))
    pods = [server.name for server in found for _ in range(2 if server.model == "chat" else 1)]
    for node in range(size.nodes):
        page = dcgm(gpus_of(node, size.gpus, pods + pods * (size.gpus // max(1, len(pods)))), grid)
        found.append(Server(f"127.30.{node // 200}.{node % 200 + 1}", "dcgm", node=node_name(node), page=page))
    routed = tuple(story for story in told if story.gateway)
    for number, name in enumerate(GATEWAYS):
        page = engines.gateway(routed, 1.0 / len(GATEWAYS), grid, name)
        found.append(Server(f"127.40.0.{number + 1}", "gateway", name=name, page=page))
    guard = next(server for server in found if server.kind == "sglang")
    found += [Server("127.50.0.1", "html"), Server("127.50.0.2", "blind", page=guard.page)]
    return found + list(_more(told, size.targets - 2 * len(found), found))


def _backends(told: Sequence[Story], grid: Grid) -> Iterator[Server]:
    slot = 0
    for row, story in enumerate(told):
        pages: dict[tuple[str, int], Page] = {}
        for version, count in story.versions.items():
            for number in range(count):
                key = version, number % SAME
                name = f"{story.name}-{version}-{number}"
                if key not in pages:
                    pages[key] = _page(story, version, 1.0 / count, grid, name)
                host = f"127.20.{row + 1}.{slot % 250 + 1}"
                yield Server(host, story.engine, story.name, version, node_name(slot % 4), name, pages[key])
                slot += 1


def _page(story: Story, version: str, part: float, grid: Grid, name: str) -> Page:
    if story.engine == "triton":
        return engines.triton(story, part, grid, name)
    made = engines.vllm if story.engine == "vllm" else engines.sglang
    return made(story, version, part, grid, name)


def _more(told: Sequence[Story], count: int, found: Sequence[Server]) -> Iterator[Server]:
    """Yield `count` further replicas of watched models, which repeat the pages of others."""
    sources = [server for server in found if server.kind == "vllm" and server.model == "rerank"]
    for number in range(max(0, count)):
        like = sources[number % len(sources)]
        host = f"127.60.{number // 250}.{number % 250 + 1}"
        yield Server(host, "vllm", like.model, like.version, like.node, f"{like.name}-{number}", like.page, extra=True)
