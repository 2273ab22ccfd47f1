"""Keys of a role for a web identity: the token of a pod's service account (IRSA), or of another issuer.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from urllib.parse import urlencode

from collectors.clouds.aws.signing import Key
from collectors.clouds.issuing import ends_at, in_environment, issuer_api, proof_in, safe
from collectors.clouds.json_api import REQUEST_S, Told
from collectors.clouds.kept import Issued, Kept
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.target import Auth

ROLE, TOKEN_FILE, SESSION = "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME"
_WHO = "EKS sets it for a pod whose service account has the annotation eks.amazonaws.com/role-arn"
_VERSION = "2011-06-15"
_FIELDS = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
_CURES = {
    "AccessDenied": "the trust policy of the role does not allow this identity; correct its condition",
    "InvalidIdentityToken": "the account has no identity provider (OIDC) for the issuer of the token; create it in IAM",
    "ExpiredTokenException": "the token in the file has expired; is it renewed, and is this host's clock right?",
    "ExpiredToken": "the token in the file has expired; is it renewed, and is this host's clock right?",
    "IDPRejectedClaim": "the issuer of the token rejects it",
    "ValidationError": "AWS does not accept the form of AWS_ROLE_ARN or AWS_ROLE_SESSION_NAME",
}


def question() -> dict[str, str]:
    """Return the form of a request. Blocking: the file is read anew, because others renew it. Raises ScrapeError."""
    return {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": _VERSION,
        "RoleArn": in_environment(ROLE, _WHO),
        "RoleSessionName": os.environ.get(SESSION, "").strip() or "llm-controlplane",
        "WebIdentityToken": proof_in(in_environment(TOKEN_FILE, _WHO)),
    }


class WebIdentityKeys(Kept[Key]):
    """Implements collectors.clouds.aws.identities.AwsKeys for the role AWS_ROLE_ARN."""

    def __init__(
        self, sts: str, auth: Auth | None, wall: Callable[[], float] = time.time, request_s: float = REQUEST_S
    ) -> None:
        """`sts` is the base of the Security Token Service, `auth` has the TLS settings for it."""
        super().__init__(wall)
        self._sts = sts
        self._api = issuer_api(auth, request_s)

    def __str__(self) -> str:
        """Return the place for messages."""
        return f"the role of {ROLE}"

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._api.close()

    async def _fetch(self) -> Issued[Key]:
        form = await asyncio.to_thread(question)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/xml"}
        url = safe(self._sts, "the address of AWS's Security Token Service").origin() / ""
        told = await self._api.send("POST", url, headers, urlencode(form).encode())
        if told.status != 200:
            raise self._refused(told)
        text = told.body.decode(errors="replace")
        found = [_element(text, name) for name in _FIELDS]
        if not all(found):
            raise ExpositionError("AssumeRoleWithWebIdentity: the answer has no credentials", 0)
        return Issued(Key(*found[:3]), ends_at(found[3], "AssumeRoleWithWebIdentity"))

    def _refused(self, told: Told) -> ScrapeError:
        # AWS's own words are not shown: they repeat parts of the request.
        code = _element(told.body.decode(errors="replace"), "Code")
        code = code if code.isalnum() and len(code) < 60 else ""
        said = f"AssumeRoleWithWebIdentity: status {told.status}" + (f" {code}" if code else "")
        if told.status == 429 or code in ("Throttling", "ThrottlingException"):
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        return UnexpectedStatus(f"{said}: {_CURES[code]}" if code in _CURES else said)


def _element(text: str, name: str) -> str:
    """Return the text of an XML element without attributes; "" if it is missing or holds anything else than text."""
    found = re.search(rf"<{name}>([!-%'-;=?-~]{{1,20000}})</{name}>", text)
    return found[1] if found else ""
