"""GET requests with a kept token. A token can be revoked before its end: a refused one is renewed once."""

from __future__ import annotations

from yarl import URL

from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept_token import KeptToken


class BearerApi:
    """Asks one API with the tokens of one account."""

    def __init__(self, api: JsonApi, tokens: KeptToken) -> None:
        self._api, self._tokens = api, tokens

    async def get(self, url: URL) -> Told:
        """Return the answer of any status. Raises what `JsonApi.send` and `KeptToken.token` raise."""
        told = await self._ask(url)
        if told.status == 401:
            self._tokens.forget()
            told = await self._ask(url)
        return told

    async def _ask(self, url: URL) -> Told:
        return await self._api.send("GET", url, {"Authorization": f"Bearer {await self._tokens.token()}"})

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
