"""Keys of the role of an EC2 instance, from its metadata service: version 2 alone, which needs a session token.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from yarl import URL

from collectors.clouds.aws.issued import issued
from collectors.clouds.aws.signing import Key
from collectors.clouds.credential_text import fits
from collectors.clouds.issuing import ISSUER_S, issuer_api, near
from collectors.clouds.json_api import Told
from collectors.clouds.kept import Issued, Kept
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeTimeout, UnexpectedStatus, Unreachable

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_DEFAULT = "http://169.254.169.254"
_ROLES = "latest/meta-data/iam/security-credentials/"
_SESSION_S = 300
"""Seconds for which a session token is asked. Each reading has its own."""
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


class InstanceKeys(Kept[Key]):
    """Implements collectors.clouds.aws.identities.AwsKeys for the role of this instance."""

    def __init__(self, wall: Callable[[], float] = time.time, request_s: float = ISSUER_S) -> None:
        super().__init__(wall)
        self._api = issuer_api(request_s=request_s)

    def __str__(self) -> str:
        """Return the place for messages."""
        return "the role of this instance"

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._api.close()

    async def _fetch(self) -> Issued[Key]:
        base = near(os.environ.get(ENDPOINT, "").strip() or _DEFAULT, ENDPOINT)
        session = {"X-aws-ec2-metadata-token": await self._session(base)}
        role = self._good(await self._api.send("GET", base.joinpath(_ROLES), session), "role").body
        name = role.decode(errors="replace").strip()
        if not _ROLE.fullmatch(name):
            raise ExpositionError("the metadata service names no role of this instance", 0)
        told = self._good(await self._api.send("GET", base.joinpath(_ROLES + name), session), f"key of the role {name}")
        found = told.data("the instance's key")
        if (code := found.get("Code", "Success")) != "Success":
            word = code if isinstance(code, str) and code.isalnum() and len(code) < 60 else "another code"
            raise UnexpectedStatus(f"the metadata service gives no key of the role {name}: {word}")
        return issued(found, "the instance's key")

    async def _session(self, base: URL) -> str:
        asked = {"X-aws-ec2-metadata-token-ttl-seconds": str(_SESSION_S)}
        try:
            told = await self._api.send("PUT", base.joinpath("latest/api/token"), asked)
        except (ScrapeTimeout, Unreachable) as error:
            raise Unreachable(
                f"{error}; in a container, the instance's metadata options need a hop limit of 2"
            ) from None
        token = self._good(told, "session").body.decode(errors="replace").strip()
        if not fits(token):
            raise ExpositionError("the metadata service gave no session token", 0)
        return token

    def _good(self, told: Told, what: str) -> Told:
        if told.status == 200:
            return told
        said = f"the metadata service of this instance: no {what}: status {told.status}"
        if told.status == 429:
            raise Limited(said, told.headers.get("retry-after", ""), self._wall())
        if told.status == 403:
            said += ": it is switched off; enable it in the instance's metadata options"
        if told.status == 404:
            said += "; attach a role (instance profile) to the instance"
        raise UnexpectedStatus(said)
