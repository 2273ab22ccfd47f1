"""Keys of a task of ECS, or of a pod of EKS Pod Identity, whose agent gives them.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from yarl import URL

from collectors.clouds.aws.issued import issued
from collectors.clouds.aws.signing import Key
from collectors.clouds.issuing import ISSUER_S, in_environment, issuer_api, near, proof_in
from collectors.clouds.kept import Issued, Kept
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeError, UnexpectedStatus

FULL, RELATIVE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN, TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
_ECS = "http://169.254.170.2"
_WHO = "EKS sets it for a pod whose service account has a role; ECS sets AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"


def question() -> tuple[URL, dict[str, str]]:
    """Return the agent's address and the headers for it. Blocking: the agent renews the file of the token.

    Raises ScrapeError.
    """
    headers = {"Accept": "application/json"}
    if os.environ.get(TOKEN_FILE):
        headers["Authorization"] = proof_in(in_environment(TOKEN_FILE, ""))
    elif os.environ.get(TOKEN):
        headers["Authorization"] = in_environment(TOKEN, "")
    if os.environ.get(RELATIVE):
        relative = in_environment(RELATIVE, "")
        if not relative.startswith("/"):
            raise ScrapeError(f"{RELATIVE} does not begin with /")
        return near(f"{_ECS}{relative}", RELATIVE), headers
    return near(in_environment(FULL, _WHO), FULL), headers


class ContainerKeys(Kept[Key]):
    """Implements collectors.clouds.aws.identities.AwsKeys for the role of this container."""

    def __init__(self, wall: Callable[[], float] = time.time, request_s: float = ISSUER_S) -> None:
        super().__init__(wall)
        self._api = issuer_api(request_s=request_s)

    def __str__(self) -> str:
        """Return the place for messages."""
        return "the role of this container"

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._api.close()

    async def _fetch(self) -> Issued[Key]:
        url, headers = await asyncio.to_thread(question)
        told = await self._api.send("GET", url, headers)
        if told.status == 200:
            return issued(told.data("the container's key"), "the container's key")
        said = f"no key of this container's role: status {told.status}"
        if told.status == 429:
            raise Limited(said, told.headers.get("retry-after", ""), self._wall())
        if told.status in (400, 401, 403):
            said += ": the agent refuses; is the service account, or the task, still associated with a role?"
        raise UnexpectedStatus(said)
