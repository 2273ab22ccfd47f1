"""One request of a client, which must be answered whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.contract.drivers.exchange import Cut, post
from tests.contract.drivers.versions import TOLD


async def stream(url: str, tokens: int) -> str:
    """Ask for a stream of tokens, and return the version that sent it. Raises Cut."""
    body = b'{"model": "llama", "stream": true, "max_tokens": %d}' % tokens
    answer = await post(f"{url}/v1/chat/completions", body)
    whole = answer.body.endswith(b"data: [DONE]\n\n") and answer.body.count(b"content") == tokens
    if answer.status != 200 or not whole:
        raise Cut(f"{answer.status}: {answer.text[-200:]}")
    return answer.headers[TOLD]


async def adapter(url: str) -> str:
    """Ask a fake vLLM by the name that clients use, and return the version whose adapter answered. Raises Cut."""
    answer = await post(f"{url}/v1/chat/completions", b'{"model": "chat"}')
    if answer.status != 200:
        raise Cut(f"{answer.status}: {answer.text[-200:]}")
    return str(json.loads(answer.body)["choices"][0]["message"]["content"]).rpartition("/")[2]


def drawn(file: Path) -> str:
    """Draw a version by the shares in the file of the example's program, as a proxy of the operator does."""
    weights = json.loads(file.read_text())
    (version,) = random.choices(list(weights), list(weights.values()))
    return str(version)
