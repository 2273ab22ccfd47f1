"""One request of a client, which must be answered whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import aiohttp

from tests.contract.drivers.versions import TOLD


class Cut(Exception):
    """The answer was no success, or it was not whole."""


async def stream(session: aiohttp.ClientSession, url: str, tokens: int) -> str:
    """Ask for a stream of tokens, and return the version that sent it. Raises Cut."""
    body = {"model": "llama", "stream": True, "max_tokens": tokens}
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
    except aiohttp.ClientError as error:
        raise Cut(repr(error)) from error
    if answer.status != 200 or not text.endswith("data: [DONE]\n\n") or text.count("content") != tokens:
        raise Cut(f"{answer.status}: {text[-200:]}")
    return answer.headers[TOLD]


async def adapter(session: aiohttp.ClientSession, url: str) -> str:
    """Ask a fake vLLM by the name that clients use, and return the version whose adapter answered. Raises Cut."""
    try:
        async with session.post(f"{url}/v1/chat/completions", json={"model": "chat"}) as answer:
            text = await answer.text()
    except aiohttp.ClientError as error:
        raise Cut(repr(error)) from error
    if answer.status != 200:
        raise Cut(f"{answer.status}: {text[-200:]}")
    return str(json.loads(text)["choices"][0]["message"]["content"]).rpartition("/")[2]


def drawn(file: Path) -> str:
    """Draw a version by the shares in the file of the example's program, as a proxy of the operator does."""
    weights = json.loads(file.read_text())
    (version,) = random.choices(list(weights), list(weights.values()))
    return str(version)
