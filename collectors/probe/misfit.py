"""The question of a probe that does not fit its server: how it is told from an outage, and the words for it. Pure."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any
from urllib.parse import quote, urlsplit

from collectors.probe.protocol import BadAnswer

MISFITS = frozenset({400, 404, 405, 413, 415, 422})
"""Statuses of a server that works and does not take the request."""
DENIED = frozenset({401, 403})
_SHOWN_CHARS = 200
"""Characters of the server's own words that are kept (chosen: the messages of engines are shorter)."""
_LEAST_SECRET_CHARS = 4
"""A shorter text is not masked: it would be found in ordinary words (chosen)."""


class Misfit(BadAnswer):
    """The server works and does not take the question: an outage only if it has answered this question before."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(reason)
        self.words = words
        """The server's reply in words, for people, without a secret."""


def refused(status: int, body: bytes, secrets: tuple[str, ...]) -> Misfit:
    """Return the misfit of a status among MISFITS and DENIED, with the server's words."""
    said = server_words(body, secrets)
    words = f"the server answered {status}{f': {said}' if said else ''}"
    return Misfit("credentials" if status in DENIED else f"http_{status}", words)


def server_words(body: bytes, secrets: tuple[str, ...]) -> str:
    """Return the error message of an answer on one line, at most 200 characters, without these secrets."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        text = _message_in(json.loads(text)) or text
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"


def secrets_of(url: str, authorization: str) -> tuple[str, ...]:
    """Return the secrets that a request carries, in each form in which a server may repeat them."""
    scheme, _, key = authorization.partition(" ")
    found = [authorization, key]
    if scheme == "Basic":
        with contextlib.suppress(ValueError):
            found.append(base64.b64decode(key).decode("utf-8", "replace").partition(":")[2])
    parts = urlsplit(url)
    found += [parts.password or "", parts.query]
    found += [value for _, _, value in (pair.partition("=") for pair in parts.query.split("&"))]
    found += [quote(secret) for secret in found]
    return tuple({secret for secret in found if len(secret) >= _LEAST_SECRET_CHARS})


def shown_url(url: str) -> str:
    """Return a URL without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def remark_of(model: str, url: str, misfit: Misfit) -> str:
    """Return the sentence about a question that does not fit, with the cure."""
    place = f"{model} at {shown_url(url)}" if model else shown_url(url)
    if misfit.reason == "credentials":
        return f"the probe's credentials do not fit {place}: {misfit.words}; set authorization: of this target"
    field = "max_tokens:" if misfit.reason == "token_limit" else "parameters:"
    return f"the probe's question does not fit {place}: {misfit.words}; set {field} of this target"


def _message_in(document: Any) -> str:
    """Return the message of an error of OpenAI's, Anthropic's, Triton's, FastAPI's or FastChat's shape."""
    while isinstance(document, dict):
        document = next((document[name] for name in ("error", "message", "detail") if document.get(name)), None)
    return document if isinstance(document, str) else json.dumps(document) if document else ""
