"""The response cache of a model: exact matches of deterministic requests, bounded in bytes and age."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from controlplane.gateway.desired.document import CacheSpec
from controlplane.gateway.request import Ask, Caller
from controlplane.gateway.seams import StoredAnswer

ENTRY_BYTES = 512
FIELD_BYTES = 160
"""Memory of an entry and of a header field beside their bytes. Measured with tracemalloc over 20,000 entries."""
LARGEST = 0.1
"""Largest entry, as a share of the cache, so that one answer cannot push out all others. Chosen."""


class ResponseCache:
    """Answers by key. The one that was used longest ago goes first when the bytes are spent."""

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        """Limits. A new one holds from the next call on."""
        self._entries: OrderedDict[bytes, tuple[float, StoredAnswer]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Memory of all entries, in bytes."""
        return self._bytes

    def key(self, ask: Ask, caller: Caller, version: str, target: bytes, body: bytes) -> bytes:
        """Return the key of a request: equal for equal bytes to the same target, model and version of the same tenant.
        The model is not always in the bytes: it may be in a header, and be an adapter.

                Tenants do not share answers: the time of an answer would tell one what another one asked.
        """
        digest = hashlib.blake2b(digest_size=16)
        names = (caller.tenant, version, ask.model)
        for part in (*(name.encode() for name in names), ask.operation.dialect.encode(), target, body):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """Return the answer of a key, unless it is older than the limit."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        at, answer = entry
        if now - at >= self.spec.ttl_s:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: StoredAnswer, now: float) -> None:
        """Keep an answer. One that is too large for the cache, or no success, is not kept."""
        self._remove(key)
        if answer.status != 200 or _size(answer) > LARGEST * self.spec.max_bytes:
            return
        self._entries[key] = (now, answer)
        self._bytes += _size(answer)
        while self._bytes > self.spec.max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(entry[1])


def _size(answer: StoredAnswer) -> int:
    return ENTRY_BYTES + len(answer.body) + sum(FIELD_BYTES + len(name) + len(value) for name, value in answer.fields)
