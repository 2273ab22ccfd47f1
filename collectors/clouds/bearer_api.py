"""Requests with a kept token. A token can be revoked before its end: a refused one is renewed once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yarl import URL

from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept import Kept


class BearerApi:
    """Asks one API with the tokens of one account."""

    def __init__(self, api: JsonApi, tokens: Kept[str]) -> None:
        self._api, self._tokens = api, tokens

    @property
    def remark(self) -> str:
        """Return `Kept.remark` of the tokens."""
        return self._tokens.remark

    async def get(self, url: URL) -> Told:
        """Return the answer of any status. Raises what `JsonApi.send` and `Kept.current` raise."""
        return await self._sent("GET", url, {}, b"")

    async def post(self, url: URL, asked: Mapping[str, Any]) -> Told:
        """Return the answer of any status to a question in JSON. Raises as `get` does."""
        return await self._sent("POST", url, {"Content-Type": "application/json"}, json.dumps(asked).encode())

    async def _sent(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Told:
        told = await self._ask(method, url, headers, body)
        if told.status == 401 and self._tokens.forget():
            told = await self._ask(method, url, headers, body)
        return told

    async def _ask(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Told:
        token = await self._tokens.current()
        return await self._api.send(method, url, {**headers, "Authorization": f"Bearer {token}"}, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._tokens.close()
        await self._api.close()
