"""Server processes that a test needs. When one ends by itself, the test fails at once and not at its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from controlplane.demo.process import Child
from controlplane.demo.triton import TritonServer


@asynccontextmanager
async def alive(*children: Child) -> AsyncIterator[None]:
    """Run the body while every child runs.

    As soon as a child has ended, the body is cancelled and ChildDied is raised. It names the signal or exit status and
    the last lines of the log. End a child on purpose only after the body.
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
                await asyncio.sleep(0)  # a pending cancellation must not reach the code after the body
            body.uncancel()
        if died:
            # The error of the body, such as a refused connection, is only a consequence.
            raise died[0].death() from cause


@asynccontextmanager
async def real_triton(
    repository: Path, work_dir: Path, *, may_end: bool = False, models: Sequence[str] = ("model",)
) -> AsyncIterator[TritonServer]:
    """Run a real Triton server with these models loaded. Unless `may_end`, it must not end before the body."""
    async with TritonServer(repository, work_dir, models) as server:
        assert server.child is not None
        async with alive(*([] if may_end else [server.child])):
            yield server
