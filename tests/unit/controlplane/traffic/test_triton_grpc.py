"""Load orders over gRPC beside the other work of a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.patience import PROCESS_S

ROOT = Path(__file__).parents[4]
ORDERS_AND_CHILDREN = """
import asyncio, collections, json
from controlplane.errors import ControlPlaneError
from controlplane.traffic.triton.grpc_loader import GrpcLoader, missing_package

assert missing_package() == ""  # it imports grpc as the loader does
import grpc.aio

async def order(loader):
    try:
        await loader.load("model", {}, 30.0)
    except ControlPlaneError:
        pass  # the server has no such method

async def orders(loader, done):
    while not done.is_set():
        await order(loader)

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    loader, done, codes = GrpcLoader(f"127.0.0.1:{port}", str), asyncio.Event(), collections.Counter()
    ordering = [asyncio.create_task(orders(loader, done)) for _ in range(4)]
    for _ in range(60):  # with a preexec_fn Python calls fork(), and not vfork()
        child = await asyncio.create_subprocess_exec("true", preexec_fn=lambda: None)
        codes[await child.wait()] += 1
    done.set()
    await asyncio.gather(*ordering)
    await loader.close()
    await server.stop(0)
    print(json.dumps(codes))

asyncio.run(main())
"""


def test_children_that_start_while_orders_are_out_live() -> None:
    """gRPC's own handlers at fork() ended one in fifteen with SIGABRT."""
    done = subprocess.run(
        [sys.executable, "-c", ORDERS_AND_CHILDREN], cwd=ROOT, capture_output=True, text=True, timeout=PROCESS_S
    )
    assert json.loads(done.stdout) == {"0": 60}, done.stderr[-2000:]
