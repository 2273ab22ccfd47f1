"""Identities at AWS: who signs the requests. An access key, or a role whose short keys an issuer gives.

https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html. Nothing is tried in turn: fleet.yaml
names the identity.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from collectors.clouds.aws.container import ContainerKeys
from collectors.clouds.aws.instance import InstanceKeys
from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.signing import Key
from collectors.clouds.aws.web_identity import WebIdentityKeys
from collectors.target import Auth

ACCESS_KEY, WEB_IDENTITY, CONTAINER, INSTANCE = "access_key", "web_identity", "container", "instance"


class AwsKeys(Protocol):
    """Where keys come from. Its text is the place, for messages."""

    remark: str
    """Cause for which the last key is used although it should have been renewed; "": there is none."""

    async def current(self) -> Key:
        """Return a key that has not ended. Raises ScrapeError."""
        ...

    def forget(self) -> bool:
        """Say that the key was refused. Return whether the next one can be another."""
        ...

    async def close(self) -> None:
        """Close the connections to the issuer."""
        ...


class OwnKeys:
    """Implements AwsKeys for an access key in a file or in the environment, read at each use."""

    def __init__(self, place: KeyPlace) -> None:
        self._place = place
        self.remark = ""

    def __str__(self) -> str:
        """Return the place."""
        return str(self._place)

    async def current(self) -> Key:
        """Return the key. Raises ScrapeError."""
        return await asyncio.to_thread(self._place.read)

    def forget(self) -> bool:
        """Return False: whoever wrote the key has to write another."""
        return False

    async def close(self) -> None:
        """Close nothing."""


def keys_of(
    identity: str, place: KeyPlace, sts: str, auth: Auth | None, wall: Callable[[], float] = time.time
) -> AwsKeys:
    """Return the keys of an identity. `place` is an access key's, `sts` the base of the Security Token Service."""
    if identity == WEB_IDENTITY:
        return WebIdentityKeys(sts, auth, wall)
    if identity == CONTAINER:
        return ContainerKeys(wall)
    return InstanceKeys(wall) if identity == INSTANCE else OwnKeys(place)
