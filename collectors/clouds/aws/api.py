"""Requests to AWS's JSON APIs, and what their errors mean for the operator."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from yarl import URL

from collectors.clouds.aws.identities import AwsKeys
from collectors.clouds.aws.signing import signed
from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus, Unreachable
from collectors.http.fetch import address_of

MAX_PAGES = 200
"""Pages of one answer. One page holds 100,800 numbers, or 500 names of metrics."""
_THROTTLED = ("Throttling", "Throttled", "RequestLimitExceeded", "LimitExceeded", "TooManyRequests")
_UNKNOWN_KEY = ("InvalidClientTokenId", "UnrecognizedClient", "InvalidAccessKeyId", "MissingAuthenticationToken")
_ENDED = ("ExpiredToken",)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
_WRONG_SIGNATURE = ("InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature")


class Service(NamedTuple):
    """One of AWS's APIs."""

    host: str
    """First part of its host names."""
    signing: str
    """Its name in signatures."""
    iam: str
    """Its name in IAM actions."""
    target: str
    """Prefix of its actions in requests."""
    json: str
    """Version of JSON's protocol."""
    next_page: str = "NextToken"
    """Field that holds the place of the next page, in answers and requests."""


CLOUDWATCH = Service("monitoring", "monitoring", "cloudwatch", "GraniteServiceVersion20100801", "1.0")
SAGEMAKER = Service("api.sagemaker", "sagemaker", "sagemaker", "SageMaker", "1.1")


class AwsApi:
    """Asks one of AWS's APIs in one region. `url` is the base of the API, which may be that of a proxy."""

    def __init__(
        self,
        service: Service,
        url: str,
        region: str,
        keys: AwsKeys,
        api: JsonApi,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._service, self._url, self._region, self._keys = service, url, region, keys
        self._api, self._wall = api, wall

    async def pages(self, action: str, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of an answer. Raises ScrapeError, and ExpositionError for pages without end."""
        token, field = "", self._service.next_page
        for _ in range(MAX_PAGES):
            page = await self.ask(action, {**asked, field: token} if token else asked)
            yield page
            before, token = token, page.get(field) or ""
            if not token:
                return
            if not isinstance(token, str) or token == before:
                break
        raise ExpositionError(f"{action}: the pages do not end", 0)

    async def ask(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return one answer. Raises ScrapeError."""
        body = json.dumps(asked).encode()
        told = await self._sent(action, body)
        if told.status != 200 and _error(told)[0] in (*_ENDED, *_UNKNOWN_KEY) and self._keys.forget():
            told = await self._sent(action, body)
        if told.status != 200:
            raise self._refused(action, told)
        return told.data(action)

    async def _sent(self, action: str, body: bytes) -> Told:
        base, _ = address_of(self._url)
        headers = {
            "Content-Type": f"application/x-amz-json-{self._service.json}",
            "X-Amz-Target": f"{self._service.target}.{action}",
        }
        key = await self._keys.current()
        host = base.host_port_subcomponent or ""
        sent = signed(key, self._service.signing, self._region, host, headers, body, self._wall())
        try:
            return await self._api.send("POST", URL(f"{base.origin()}/"), sent, body)
        except Unreachable as error:
            raise Unreachable(f"{error}; is {self._region} the right region?") from None

    def _refused(self, action: str, told: Told) -> ScrapeError:
        # AWS's own words are not shown: they repeat parts of the request, such as its token.
        code, words = _error(told)
        said = f"{action}: status {told.status}" + (f" {code}" if code else "")
        if code in _THROTTLED or told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        if code in _SKEWED or words.startswith(("Signature expired", "Signature not yet current")):
            return UnexpectedStatus(f"{said}: this host's clock {self._off(told)}; set it")
        if code in _WRONG_SIGNATURE and "region" in words:
            return UnexpectedStatus(f"{said}: {self._region} is not the region of {self._url}; change aws.region")
        if cure := self._cure(code, action):
            return UnexpectedStatus(f"{said}: {cure}")
        return UnexpectedStatus(said)

    def _cure(self, code: str, action: str) -> str:
        if code == "AccessDenied" or code == "AuthorizationError":
            return f"the key may not do this; allow its user or role the IAM action {self._service.iam}:{action}"
        if code in _ENDED:
            return f"the temporary key in {self._keys} has expired; renew it"
        if code in _UNKNOWN_KEY:
            return f"AWS does not know the key id in {self._keys}; is the key deleted, or a session token missing?"
        if code in _WRONG_SIGNATURE:
            return f"the secret in {self._keys} does not belong to its key id"
        if code == "NoSuchResource":
            return "AWS knows no such resource in this region; correct the codes of aws.quotas"
        if code == "OptInRequired":
            return f"the account has not enabled the region {self._region}"
        return ""

    def _off(self, told: Told) -> str:
        try:
            off_s = self._wall() - parsedate_to_datetime(told.headers.get("date", "")).timestamp()
        except (ValueError, IndexError, OverflowError):
            return "is wrong"
        return f"is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} AWS's"


def _error(told: Told) -> tuple[str, str]:
    """Return the code of an error without its decoration, and AWS's words; "" for what is missing."""
    try:
        found = told.data("")
    except ExpositionError:
        found = {}
    code, words = found.get("__type"), found.get("message") or found.get("Message")
    name = code if isinstance(code, str) else told.headers.get("x-amzn-errortype", "")
    name = name.rpartition("#")[2].partition(":")[0].removesuffix("Exception").removesuffix("Fault")
    return (name if name.isalnum() and name.isascii() else "")[:60], words if isinstance(words, str) else ""
