"""API keys: `cpk_<id>_<secret>`. The id is public and selects the key; the document has the SHA-256 of the secret."""

from __future__ import annotations

import math
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from controlplane.gateway.desired.document import KeySpec
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Caller, RequestHead

PREFIX = b"cpk_"
FORMAT = "cpk_<id>_<secret>"
LONGEST = 512
"""Most bytes of a key. Chosen: keys of this project have 81."""
ANONYMOUS = Caller("", "anonymous")
_FIELDS = (b"x-api-key", b"api-key")
"""Fields beside Authorization: Anthropic's, and Azure's."""
_NO_DIGEST = bytes(32)
"""Compared with where the id is unknown, so that the time of an answer does not tell which ids exist."""


class _Key(NamedTuple):
    digest: bytes
    expires_at: float | None
    caller: Caller


class Keys:
    """The keys of a document. Secrets are hashed for each new head of a connection, and the keys keep none.

    A connection that sends the very head again, key included, is known by it while these keys are in force.
    """

    __slots__ = ("_keys", "_required")

    def __init__(self, keys: tuple[KeySpec, ...], *, required: bool) -> None:
        self._required = required
        self._keys = {key.id.encode(): _read(key) for key in keys}

    def authenticate(self, head: RequestHead, unix: float) -> Caller | Refusal:
        """Return the caller of a request. Only who has the right secret learns that the key has expired.

        Without required keys, a request without a key of this project is anonymous: clients send any word as a key to a
        server that needs none.
        """
        facts = head.facts
        if facts is None:
            return self._authenticate(head, unix)
        if facts.keys is self and facts.caller is not None and unix < facts.expires_at:
            return facts.caller
        caller = self._authenticate(head, unix)
        if isinstance(caller, Caller):
            key = self._keys.get(caller.key_id.encode())
            facts.expires_at = math.inf if key is None or key.expires_at is None else key.expires_at
            facts.keys, facts.caller = self, caller
        return caller

    def _authenticate(self, head: RequestHead, unix: float) -> Caller | Refusal:
        text = _key_text(head)
        if not text.startswith(PREFIX):
            return ANONYMOUS if not self._required else _refuse(_why_none(head, text))
        _, key_id, secret = text.split(b"_", 2) if text.count(b"_") > 1 else (PREFIX, b"", b"")
        key = self._keys.get(key_id)
        right = compare_digest(sha256(secret).digest(), _NO_DIGEST if key is None else key.digest)
        if key is None or not right or len(text) > LONGEST:
            return _refuse("The API key is not known here: it was revoked, or mistyped. Ask an administrator for one.")
        if key.expires_at is not None and unix >= key.expires_at:
            return _refuse(f"API key {key.caller.key_id} has expired. Ask an administrator for a new one.", "expired")
        return key.caller


def _read(key: KeySpec) -> _Key:
    models = None if key.models is None else frozenset(key.models)
    caller = Caller(key.id, key.tenant, key.role, models, key.priority)
    try:
        digest = bytes.fromhex(key.digest)
    except ValueError:
        digest = b""  # equal to no digest: the key opens nothing
    return _Key(digest, key.expires_at, caller)


def _key_text(head: RequestHead) -> bytes:
    value = head.get(b"authorization")
    if value[:7].lower() == b"bearer ":
        return value[7:].strip()
    for name in _FIELDS:
        if text := head.get(name).strip():
            return text
    return b""


def _why_none(head: RequestHead, text: bytes) -> str:
    if text:
        return f"The API key has the wrong form. A key of this gateway is {FORMAT}."
    if head.get(b"authorization"):
        return f"Send the API key as `Authorization: Bearer {FORMAT}`; another scheme was sent."
    return f"Send an API key as `Authorization: Bearer {FORMAT}`, `x-api-key` or `api-key`. None was sent."


def _refuse(message: str, word: str = "invalid") -> Refusal:
    return Refusal(RefusalKind.UNAUTHENTICATED, message, code=f"{word}_api_key")
