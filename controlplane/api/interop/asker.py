"""The client of a query. Its queries count to the share of its token and are cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from controlplane.api.auth import PrincipalDep
from controlplane.errors import QueryError

Answer = TypeVar("Answer")


class Asker:
    """The client of one request."""

    def __init__(self, request: Request, token_id: str) -> None:
        self._request = request
        self.id = token_id
        """Id of the token. All queries with one token count to one share."""

    async def wait_for(self, work: Awaitable[Answer]) -> Answer:
        """Return the result of `work`, or cancel `work` when the client disconnects.

        The request's body must have been read before. Raises QueryError(canceled) when the client has disconnected.
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
    """Retrieve the exception of finished work: asyncio logs an exception that is never retrieved."""
    if not done.cancelled():
        done.exception()


async def asker_of(request: Request, principal: PrincipalDep) -> Asker:
    """Return the client of the request."""
    return Asker(request, principal.token_id)


AskerDep = Annotated[Asker, Depends(asker_of)]
