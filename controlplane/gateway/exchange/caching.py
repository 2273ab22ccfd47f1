"""One request and the response cache: its key, and its answer while it passes."""

from __future__ import annotations

from controlplane.gateway.request import Ask, Caller, TokenCounts
from controlplane.gateway.seams import Cache, StoredAnswer
from controlplane.gateway.wire.fields import NOT_TO_CLIENT
from controlplane.gateway.wire.upstream import AnswerHead

MAX_KEPT = 2**20
"""Largest answer that is kept while it passes, in bytes. Chosen: a long answer to a deterministic request is 50 KB."""
NOT_KEPT = NOT_TO_CLIENT | {b"date", b"set-cookie", b"age"}
"""Fields that belong to one exchange."""


class CacheLookup:
    """One request at its model's cache. The answer is kept as the client gets it: a stream is replayed as a stream."""

    __slots__ = ("_cache", "_head", "_key", "_pieces", "_size")

    def __init__(self, cache: Cache, key: bytes) -> None:
        self._cache = cache
        self._key = key
        self._head: AnswerHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def get(self, now: float) -> StoredAnswer | None:
        """Return the answer to an equal request, if there is one."""
        return self._cache.get(self._key, now)

    def begin(self, head: AnswerHead) -> None:
        """An engine's answer begins."""
        self._head = head if head.status == 200 else None

    def take(self, data: bytes) -> None:
        """Keep a piece of the answer. Once it is too large, nothing of it is kept."""
        self._size += len(data)
        if self._size > MAX_KEPT:
            self._head = None
            self._pieces = []
        elif self._head is not None:
            self._pieces.append(data)

    def put(self, counts: TokenCounts, backend: str, now: float) -> None:
        """The answer is whole: put it into the cache."""
        head = self._head
        if head is None:
            return
        fields = [field for field in head.fields if field[0] not in NOT_KEPT]
        self._cache.put(self._key, StoredAnswer(head.status, fields, b"".join(self._pieces), counts, backend), now)


def look_up(cache: Cache, ask: Ask, caller: Caller, version: str, target: bytes, body: bytes) -> CacheLookup:
    """Return the lookup of a request."""
    return CacheLookup(cache, cache.key(ask, caller, version, target, body))
