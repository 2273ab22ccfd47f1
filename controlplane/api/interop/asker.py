"""Whoever asks a query: counted to the share of the token, and given up when the client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from controlplane.api.auth import PrincipalDep
from controlplane.errors import QueryError

Answer = TypeVar("Answer")


class Asker:
    """One request's side of a query."""

    def __init__(self, request: Request, token_id: str) -> None:
        self._request = request
        self.id = token_id
        """Whose share it counts to: all sessions and programs with one token share one."""

    async def wait_for(self, work: Awaitable[Answer]) -> Answer:
        """Return what `work` returns; cancel it when the client disconnects. The request's body must have been read.

        Raises QueryError(canceled), which nobody will read, once the client is gone.
        """
        working = asyncio.ensure_future(work)
        working.add_done_callback(_look_at)
        leaving = asyncio.create_task(self._gone(), name="watch for a client that leaves")
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise QueryError("canceled", "the client closed the connection")
        finally:
            working.cancel()
            leaving.cancel()

    async def _gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass


def _look_at(done: asyncio.Future[Answer]) -> None:
    """Take note of an exception that perhaps nobody waits for any more."""
    if not done.cancelled():
        done.exception()


async def asker_of(request: Request, principal: PrincipalDep) -> Asker:
    """Return who asks."""
    return Asker(request, principal.token_id)


AskerDep = Annotated[Asker, Depends(asker_of)]
