"""The API server of a cluster: calls with a deadline and a bound. Objects stay JSON, so that no field is dropped."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from collectors.http.fetch import translated
from controlplane.errors import Unavailable
from controlplane.traffic.driver import NotSent
from controlplane.traffic.kubernetes.account import Account
from controlplane.traffic.kubernetes.login import Login
from controlplane.traffic.kubernetes.refusals import error_of
from controlplane.traffic.kubernetes.resource import Json, Resource
from controlplane.traffic.words import told

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

MAX_BODY_BYTES = 8 * 2**20
"""Maximum size of an answer. Chosen: etcd stores objects up to 1.5 MiB, and a list of EndpointSlices has several."""
MERGE = "application/merge-patch+json"
MANAGER = "controlplane"
"""The field manager of our writes, as `kubectl get --show-managed-fields` shows it."""


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    verb: str
    """The verb as a rule of RBAC names it."""
    resource: Resource
    deadline: aiohttp.ClientTimeout
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None


class Cluster:
    """One account at one API server. Methods raise NotSent, Unavailable, EngineRefused, and Changed."""

    def __init__(
        self,
        kubeconfig: Path | None,
        context: str | None,
        *,
        login: Login | None = None,
        timeout_s: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout_s` is the deadline of a call. The other arguments are those of Account."""
        self._account = Account(kubeconfig, context, login=login, monotonic=monotonic)
        self._timeout_s = timeout_s
        self._whole = aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s)

    async def get(self, resource: Resource) -> Json:
        """Return an object as it is now."""
        return await self._json(_Call("GET", resource.path, "get", resource, self._whole))

    async def patch(self, resource: Resource, body: Json, *, dry_run: bool = False) -> Json:
        """Merge `body` into an object, and return the object. Raises Changed where its resourceVersion is another.

        A dry run stores nothing, and is refused as the write would be.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return await self._json(_Call("PATCH", resource.path, "patch", resource, self._whole, query, body))

    async def listed(self, resource: Resource, query: Mapping[str, str]) -> Json:
        """Return the list of the objects that `query` selects."""
        return await self._json(_Call("GET", resource.collection, "list", resource, self._whole, query))

    @asynccontextmanager
    async def watch(
        self, resource: Resource, query: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Open a watch, and yield its lines. Raises Unavailable when none came for `silence_s` seconds."""
        deadline = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=silence_s)
        watched = {**query, "watch": "1"}
        async with self._answer(_Call("GET", resource.collection, "watch", resource, deadline, watched)) as response:
            if response.status != 200:
                raise error_of(response.status, await _bounded(response), "watch", resource)
            yield _lines(response)

    async def close(self) -> None:
        """Close connections."""
        await self._account.close()

    async def _json(self, call: _Call) -> Json:
        async with self._answer(call) as response:
            content = await _bounded(response)
        if not 200 <= response.status < 300:
            raise error_of(response.status, content, call.verb, call.resource)
        return _object(content, f"the API server answered {call.verb} of {call.resource} with no JSON object")

    @asynccontextmanager
    async def _answer(self, call: _Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a call, and once more with fresh credentials after a 401: the server did nothing then."""
        client, reading = await self._account.client()
        place = f"the API server {client.configuration.host} did not answer {call.verb} of {call.resource}"
        try:
            response = await _sent(client, call)
            if response.status == 401:
                client, fresh = await self._account.client(refused=reading)
                if fresh != reading:
                    response.release()
                    response = await _sent(client, call)
            try:
                yield response
            finally:
                response.close()  # what is unread must not be read by the next call, and a watch has no end
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"{place}: {translated(error)}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise NotSent(f"{place}: {_named(error)}") from error
        except TimeoutError as error:
            raise Unavailable(f"{place} within {call.deadline.total or call.deadline.sock_read:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{place}: {_named(error)}") from error


async def _sent(client: ApiClient, call: _Call) -> aiohttp.ClientResponse:
    kind = MERGE if call.body is not None else "application/json"
    prepared = await client.param_serialize(
        call.method,
        call.path,
        query_params=list(call.query.items()),
        header_params={"Accept": "application/json", "Content-Type": kind},
        body=call.body,
        auth_settings=["BearerToken"],
    )
    try:
        answer = await client.call_api(*prepared, _request_timeout=call.deadline)
    except aiohttp.ClientError:
        raise
    except ValueError as error:  # such as an entry of ~/.netrc for the server beside the account's token
        raise NotSent(f"the API server cannot be asked to {call.verb} {call.resource}: {_named(error)}") from error
    response: aiohttp.ClientResponse = answer.response
    return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    """Yield the lines of a watch. Raises Unavailable for a line that is no object, or is too long."""
    held = b""
    async for chunk in response.content.iter_any():
        *lines, held = (held + chunk).split(b"\n")
        if len(held) > MAX_BODY_BYTES:
            raise Unavailable(f"the API server sent an event of more than {MAX_BODY_BYTES} bytes")
        for line in filter(bytes.strip, lines):
            yield _object(line, "the API server sent a line that is no event of a watch")


def _object(content: bytes, fault: str) -> Json:
    """Return a JSON object. Raises Unavailable with `fault` for anything else."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(fault)
    return found


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    held = bytearray()
    async for chunk in response.content.iter_any():
        held += chunk
        if len(held) > MAX_BODY_BYTES:
            raise Unavailable(f"the API server answered more than {MAX_BODY_BYTES} bytes")
    return bytes(held)


def _named(error: Exception) -> str:
    return told(str(error)) or type(error).__name__
