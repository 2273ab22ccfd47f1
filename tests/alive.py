"""Server processes that a test relies on: one that ends by itself fails the test at once, not after its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from controlplane.demo.process import Child
from controlplane.demo.triton import TritonServer


@asynccontextmanager
async def alive(*children: Child) -> AsyncIterator[None]:
    """Run the body only for as long as every child runs.

    Raises ChildDied, which names the signal or exit status and the log's last lines, as soon as one has ended; the body
    is cancelled. End a child on purpose after the body.
    """
    body = asyncio.current_task()
    assert body is not None
    ends = [asyncio.create_task(child.wait()) for child in children]
    told = over = False

    def tell(_: asyncio.Future[Any]) -> None:
        nonlocal told
        if not (told or over):
            told = body.cancel()

    for end in ends:
        end.add_done_callback(tell)
    cause: BaseException | None = None
    try:
        yield
    except BaseException as error:
        cause = error
        raise
    finally:
        over = True
        died = [child for child in children if child.returncode is not None]
        for end in ends:
            end.cancel()
        if told:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # a cancellation that the body did not meet must not hit what comes after
            body.uncancel()
        if died:
            # What the body met, a refused connection for instance, is a consequence.
            raise died[0].death() from cause


@asynccontextmanager
async def real_triton(repository: Path, work_dir: Path, *, may_end: bool = False) -> AsyncIterator[TritonServer]:
    """Run a real Triton server that must not end before the body does, unless the body is about its end."""
    async with TritonServer(repository, work_dir) as server:
        assert server.child is not None
        async with alive(*([] if may_end else [server.child])):
            yield server
