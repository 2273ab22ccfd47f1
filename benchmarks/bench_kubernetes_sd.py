"""Time until a changed pod is in the list of targets, how long the event loop stands still, and memory: 10,000 pods.

    PYTHONPATH=. python benchmarks/bench_kubernetes_sd.py [CHANGES]

The pods are those of a stand-in of the API server, in a process of its own. Each change gives one of them another
address; it is told in a watch, and made into targets in a thread, as in `controlplane up`. The garbage collector is set
as `controlplane up` sets it. Lists are PAUSE_S apart, so the changes are, too; a change within a pause waits for its
end. The first list has the time that the stand-in needs for its pages, and that of importing the kubernetes package.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench_discovery import longest_stall

from collectors.discovery.asking import Asker
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.polling import Means
from collectors.relabel import Action, RelabelRule
from collectors.target import Auth, Target
from controlplane.app.interpreter import set_up_interpreter
from controlplane.app.targets.followers import followers
from controlplane.discovery.kubernetes.following import PAUSE_S
from tests.fakes.kubernetes import ApiServer
from tests.fakes.kubernetes.store import Key

PODS = 10_000
LABELS, ANNOTATIONS, VARIABLES = 8, 4, 30
"""Number of labels, annotations and environment variables of a pod: some 5 KiB of JSON."""


def put(api: ApiServer, number: int, turn: int) -> str:
    """Write a pod whose address is that of no other pod and no other turn. Return the address."""
    address = f"10.{turn}.{number // 250}.{number % 250}"
    name = f"vllm-{number}"
    metadata = {
        "name": name,
        "namespace": "llm",
        "uid": f"00000000-0000-0000-0000-{number:012}",
        "labels": {f"example.com/label-{each}": f"value-{each}-{number % 7}" for each in range(LABELS)},
        "annotations": {f"example.com/annotation-{each}": "some words " * 10 for each in range(ANNOTATIONS)},
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"vllm-{number % 50}", "controller": True}],
    }
    container = {
        "name": "vllm",
        "image": "registry.example/vllm:v0.11.0",
        "ports": [{"containerPort": 8000, "name": "http", "protocol": "TCP"}],
        "env": [{"name": f"SETTING_{each}", "value": f"a value of some length, number {each}"} for each in
                range(VARIABLES)],
    }  # fmt: skip
    status = {
        "phase": "Running",
        "podIP": address,
        "hostIP": f"10.255.0.{number % 250}",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "vllm", "containerID": f"containerd://{number:064x}"}],
    }
    spec = {"containers": [container], "nodeName": f"node-{number % 1250}"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
    api.store.put(Key("", "pods", "llm", name), pod)
    return f"http://{address}:8000/metrics"


def serve(pipe: Connection) -> None:
    """Serve the pods until the pipe closes. Each message is the number of a turn, in which one pod changes."""

    async def run() -> None:
        async with ApiServer(namespaces=("llm",)) as api:
            for number in range(PODS):
                put(api, number, 0)
            pipe.send((api.url, api.token()))
            while True:
                try:
                    turn = await asyncio.to_thread(pipe.recv)
                except EOFError:
                    return
                pipe.send(put(api, 7 * turn, turn))

    asyncio.run(run())


class Following:
    """The way from the cluster to targets, as in `controlplane up`."""

    def __init__(self, url: str, token: str) -> None:
        rule = RelabelRule(Action.REPLACE, ("__meta_kubernetes_pod_name",), target_label="pod")
        sd = KubernetesSd(Role.POD, api_server=url, auth=Auth(inline=token))
        self.discovery = Discovery([DiscoveryGroup("vllm", sd=(sd,), relabel=(rule,))])
        self.discovery.refresh()
        self._news = asyncio.Event()
        self.asker = Asker(self._news.set, followers(Means()))

    async def targets(self, lists: str = "") -> list[Target]:
        """Return all targets as soon as they are PODS and this URL is among them; "" is any."""
        while True:
            await self._news.wait()
            self._news.clear()
            found: list[Target] = await asyncio.to_thread(self.discovery.refresh, self.asker.list_of)
            if self.discovery.errors:
                raise RuntimeError(str(self.discovery.errors[0]))
            if len(found) == PODS and (not lists or any(target.url == lists for target in found)):
                return found


def memory_mib() -> float:
    """Return the memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def run(pipe: Connection, changes: int) -> None:
    """Print the times of the first list and of changes, and the memory that they took."""
    url, token = await asyncio.to_thread(pipe.recv)
    path, before = Following(url, token), memory_mib()

    async def first() -> None:
        await path.asker.apply(path.discovery.sources)
        await path.targets()

    took, stall = await longest_stall(first)
    tell("first list", took, stall, memory_mib() - before)
    for turn in range(1, changes + 1):
        await asyncio.sleep(4 * PAUSE_S)

        async def change(turn: int = turn) -> None:
            pipe.send(turn)
            await path.targets(await asyncio.to_thread(pipe.recv))

        took, stall = await longest_stall(change)
        tell("one pod changed", took, stall, memory_mib() - before)
    await path.asker.close()


def tell(what: str, took_ms: float, stall_ms: float, mib: float) -> None:
    """Print a line."""
    print(
        f"{PODS} pods, {what}: {took_ms / 1000:.2f} s, longest stall of the event loop {stall_ms:.0f} ms, "
        f"memory {mib:.0f} MiB more than before",
        flush=True,
    )


def main() -> None:
    """Print the times."""
    set_up_interpreter()
    context: Any = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    theirs.close()
    asyncio.run(run(ours, int(sys.argv[1]) if len(sys.argv) > 1 else 5))
    ours.close()
    server.join()


if __name__ == "__main__":
    main()
