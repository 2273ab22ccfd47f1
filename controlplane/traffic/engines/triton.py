"""One version on a Triton of its own."""

from __future__ import annotations

import aiohttp

from collectors.target import Auth
from controlplane.config.traffic.base import triton_folder
from controlplane.traffic.driver import Question, ServerReply, VersionState
from controlplane.traffic.triton.answer import judged
from controlplane.traffic.triton.api import TritonApi


class TritonEngine:
    """A Triton that serves one version. No load order is sent to it. Methods raise NotSent and Unavailable."""

    def __init__(
        self,
        url: str,
        version: str,
        served: str,
        session: aiohttp.ClientSession,
        timeout_s: float = 5.0,
        auth: Auth | None = None,
    ) -> None:
        folder = triton_folder(version)
        assert folder is not None  # the configuration requires it
        self.url, self._served, self._number = url, served, int(folder)
        self._api = TritonApi(url, session, timeout_s, auth)

    async def state(self) -> tuple[VersionState, str]:
        """Return whether the version accepts requests, and the reason where it does not."""
        if await self._api.version_ready(self._served, self._number):
            return VersionState.READY, ""
        return VersionState.UNAVAILABLE, f"version {self._number} of {self._served} is not ready on {self.url}"

    async def ask(self, question: Question) -> ServerReply:
        """Post a question to the version, and return the reply with its fault."""
        return judged(self.url, question, await self._api.ask(self._served, self._number, question))
