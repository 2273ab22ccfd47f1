"""The status source of each kind of engine that has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from collectors.http.server_api import ServerApi
from collectors.status.fastchat import FastChatReader
from collectors.status.llamacpp import LlamaCppSource
from collectors.status.mii import MiiReader
from collectors.status.ollama import IN_MEMORY, OllamaReader
from collectors.status.source import Reader, StatusSource
from collectors.target import Auth, Source


def _of(reader: Callable[[], Reader], suffix: str, url: str, auth: Auth | None, *, max_body_bytes: int) -> StatusSource:
    return StatusSource(reader(), ServerApi(url, auth, max_body_bytes, suffix))


STATUS_SOURCES: Mapping[str, Callable[..., Source]] = MappingProxyType(
    {
        "ollama": partial(_of, OllamaReader, IN_MEMORY),
        "fastchat": partial(_of, FastChatReader, ""),
        "mii": partial(_of, MiiReader, ""),
        "llamacpp": LlamaCppSource,
    }
)
"""Kind of engine to what makes its source: (url, auth, max_body_bytes=…)."""
