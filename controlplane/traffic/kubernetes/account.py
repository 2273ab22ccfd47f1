"""The account at an API server: its address, its credentials and its TLS, as the `kubernetes` package reads them.

The package knows the ways to an account: a pod's own token, and a kubeconfig with a token, a certificate or a program
that makes credentials. It is imported at the first use, because it is an extra, and not every fleet has a cluster.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.traffic.driver import NotSent
from controlplane.traffic.words import told

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

ACCOUNT_S = 30.0
"""Seconds that reading an account may take. Chosen: a program that makes credentials asks a cloud's API."""
RENEW_S = 10.0
"""Least seconds between two readings after a 401, so that a wrong token does not run such a program often."""
AGENT = "controlplane"
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Account:
    """One account. A new token is read when the server does not accept the old one."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        """`kubeconfig` None: the pod's own account in a pod, else KUBECONFIG or ~/.kube/config."""
        self._kubeconfig, self._context = kubeconfig, context
        self._client: ApiClient | None = None
        self._turn = asyncio.Lock()
        self._readings, self._read_at = 0, 0.0
        self._closed = False

    async def client(self, refused: int | None = None) -> tuple[ApiClient, int]:
        """Return the client, and the number of the reading that its credentials are from.

        `refused` is the reading that the server did not accept. Raises NotSent when there is no account.
        """
        async with self._turn:
            if self._closed:
                raise NotSent("the API server was not asked: the configuration has just changed")
            due = refused == self._readings and time.monotonic() - self._read_at >= RENEW_S
            if self._client is None or due:
                self._read_at = time.monotonic()
                self._client = await self._read(self._client)
                self._readings += 1
            return self._client, self._readings

    async def close(self) -> None:
        """Close connections."""
        self._closed = True
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]

    async def _read(self, known: ApiClient | None) -> ApiClient:
        """Read the account. A client that exists keeps its connections, and gets the new token."""
        try:
            from kubernetes.aio import client as api
            from kubernetes.aio import config
        except ImportError as error:
            cure = "install the package with its extra: pip install '.[kubernetes]'"
            raise NotSent(f"driver kubernetes needs the package kubernetes; {cure}") from error
        settings = known.configuration if known else api.Configuration()
        settings.retries = None  # the caller decides what may be sent again
        try:
            if await self._is_in_pod():
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                file = str(self._kubeconfig) if self._kubeconfig else None
                load = config.load_kube_config(  # type: ignore[no-untyped-call]
                    file, self._context, settings, persist_config=False
                )
                await asyncio.wait_for(load, ACCOUNT_S)
            made = known or api.ApiClient(settings)
        except TimeoutError as error:
            raise NotSent(f"{self._source} made no credentials within {ACCOUNT_S:g} s") from error
        except Exception as error:
            raise NotSent(f"{self._source} names no account of a cluster: {told(str(error))}") from error
        made.user_agent = AGENT
        return made

    async def _is_in_pod(self) -> bool:
        if self._kubeconfig is not None or self._context is not None or "KUBECONFIG" in os.environ:
            return False
        return await asyncio.to_thread(IN_POD.exists)

    @property
    def _source(self) -> str:
        return str(self._kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")
