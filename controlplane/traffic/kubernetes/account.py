"""The account at an API server: its address, its credentials and its TLS, as the `kubernetes` package reads them.

The package knows the ways to an account: a pod's own token, and a kubeconfig with a token, a certificate or a program
that makes credentials. It is imported at the first use, because it is an extra, and not every fleet has a cluster.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.traffic.driver import NotSent
from controlplane.traffic.kubernetes.login import Login
from controlplane.traffic.words import told

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient, Configuration

ACCOUNT_S = 30.0
"""Seconds that reading an account may take. Chosen: a program that makes credentials asks a cloud's API."""
RENEW_S = 10.0
"""Least seconds between two readings, so that neither a wrong token nor a fault runs such a program often."""
AGENT = "controlplane"
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder that a pod with an account has. Its token may be missing for a moment."""
DEFAULT = "~/.kube/config"


class Account:
    """One account. It is read anew when the server does not accept its credentials."""

    def __init__(
        self,
        kubeconfig: Path | None,
        context: str | None,
        *,
        login: Login | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kubeconfig` None: the pod's own account in a pod, else KUBECONFIG or ~/.kube/config. `login` replaces it."""
        self._kubeconfig, self._context, self._monotonic = kubeconfig, context, monotonic
        self._login = login
        self._stamp: object = None
        self._client: ApiClient | None = None
        self._retired: ApiClient | None = None
        """The client before, until the next reading: calls may still wait for its answers."""
        self._turn = asyncio.Lock()
        self._readings, self._read_at = 0, float("-inf")
        self._source = self._fault = ""
        """Where the account is from, and why the last reading gave none, in words."""
        self._closed = False

    async def client(self, refused: int | None = None) -> tuple[ApiClient, int]:
        """Return the client, and the number of the reading that its credentials are from.

        `refused` is the reading that the server did not accept. Raises NotSent when there is no account.
        """
        async with self._turn:
            self._require_open()
            if self._client is None or refused == self._readings or await self._has_changed():
                await self._read_when_due()
            assert self._client is not None
            return self._client, self._readings

    async def close(self) -> None:
        """Close connections. A reading that is under way ends without a client."""
        self._closed = True
        for client in (self._retired, self._client):
            if client is not None:
                await client.close()  # type: ignore[no-untyped-call]

    def _require_open(self) -> None:
        if self._closed:
            raise NotSent("the API server was not asked: the configuration has just changed")

    async def _has_changed(self) -> bool:
        """Return whether the files of a login differ from the last good reading, or the last reading failed."""
        if self._login is None:
            return False
        return bool(self._fault) or await asyncio.to_thread(self._login.stamp) != self._stamp

    async def _read_when_due(self) -> None:
        """Read the account, at most once in RENEW_S. In between, a fault stays, and so do refused credentials."""
        if self._monotonic() - self._read_at >= RENEW_S:
            try:
                made = await self._read()
            except NotSent as error:
                made, self._fault = None, str(error)
            self._read_at = self._monotonic()  # not of a reading that was cancelled: nothing is known from it
            self._require_open()
            if made is not None:
                await self._take(made)
        if self._fault:
            raise NotSent(self._fault)

    async def _take(self, made: ApiClient) -> None:
        """Use a new client. A client has the TLS of its beginning, so a new one is the way to a new certificate."""
        retired, self._retired, self._client = self._retired, self._client, made
        self._readings, self._fault = self._readings + 1, ""
        if retired is not None:
            await retired.close()  # type: ignore[no-untyped-call]

    async def _read(self) -> ApiClient:
        """Return a client with what the account has now. Raises NotSent."""
        try:
            # The import takes more than a second, in which the process must answer others.
            api: Any = await asyncio.to_thread(importlib.import_module, "kubernetes.aio.client")
        except ImportError as error:
            cure = "install the package with its extra: pip install '.[kubernetes]'"
            raise NotSent(f"a cluster of Kubernetes needs the package kubernetes; {cure}") from error
        settings: Configuration = api.Configuration()
        settings.retries = None  # the caller decides what may be sent again
        if self._login is not None:
            self._source, self._stamp = self._login.server, await asyncio.to_thread(self._login.stamp)
            await asyncio.to_thread(self._login.load, settings)
        elif await self._is_in_pod():
            await self._load_pod(settings)
        else:
            await self._load_kubeconfig(settings)
        if "@" in settings.host:
            raise NotSent(f"{self._source} has a user in the address of its server; put it under users:")
        _check_token(settings, self._source)
        try:
            made: ApiClient = await asyncio.to_thread(api.ApiClient, settings)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise NotSent(f"{self._source} has certificates that cannot be used: {told(str(error))}") from error
        made.user_agent = AGENT
        return made

    async def _load_pod(self, settings: Configuration) -> None:
        from kubernetes.aio.config import ConfigException, load_incluster_config

        self._source = "the pod's own account"
        try:
            # Without its refresh, which would raise in the middle of a call. A token that is over is read anew.
            load_incluster_config(settings, try_refresh_token=False)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError, ValueError) as error:
            raise NotSent(f"{self._source} cannot be read: {told(str(error))}") from error

    async def _load_kubeconfig(self, settings: Configuration) -> None:
        from controlplane.traffic.kubernetes import kubeconfig

        self._source = str(self._kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT)
        try:
            await kubeconfig.load(self._source, self._context, settings, ACCOUNT_S)
        except kubeconfig.NoAccountError as error:
            raise NotSent(f"{self._source} gives no account of a cluster: {error}") from error

    async def _is_in_pod(self) -> bool:
        if self._kubeconfig is not None or self._context is not None or "KUBECONFIG" in os.environ:
            return False
        return await asyncio.to_thread(IN_POD.exists)


def _check_token(settings: Configuration, source: str) -> None:
    """Take the line break of a token's file away. Raises NotSent for what no header can carry."""
    token = settings.api_key.get("BearerToken")
    if token is None:
        return
    settings.api_key["BearerToken"] = token.strip()
    if not settings.api_key["BearerToken"].isprintable():
        raise NotSent(f"{source} has a token with line breaks or other characters that no token has")
