"""Shares equal values: names and label pairs recur in every series of a fleet, and are kept in memory once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from collectors.samples import Labels, Metadata

_T = TypeVar("_T", bound=Hashable)
_V = TypeVar("_V")

MAX_BYTES = 32 * 2**20
"""Approximate memory limit. Beyond it, everything is dropped and sharing starts anew. The pairs of a fleet of 3,000
targets take 2 MB; the limit protects against targets that invent labels."""
_ENTRY_BYTES = 200
"""Approximate size of an entry without its characters: dictionary slot, tuple, string headers."""


class Interner:
    """Returns the first of equal values. Threads may share it: at worst a value is kept twice."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[type, dict[Any, Any]] = {}
        """Values by type, because a named tuple equals a plain tuple."""

    def shared(self, value: _T, chars: int = 0) -> _T:
        """Return the first value equal to this one. `chars` is its length; 0 is enough for short values."""
        known: _T | None = self._known.setdefault(type(value), {}).get(value)
        return self._remembered(value, value, _ENTRY_BYTES + chars) if known is None else known

    def labels(self, pairs: Mapping[str, str]) -> Labels:
        """Return the same as `labels_of`, made of shared pairs."""
        shared = self.shared
        return tuple([shared(pair, len(pair[1])) for pair in sorted(pairs.items()) if pair[1]])

    def metadata(self, families: Mapping[str, Metadata]) -> Mapping[str, Metadata]:
        """Return the first mapping equal to this one, in items and order. Neither may be changed afterwards."""
        items = tuple(families.items())
        known: Mapping[str, Metadata] | None = self._known.setdefault(dict, {}).get(items)
        if known is not None:
            return known
        own = {self.shared(name): self.shared(said, len(said.help)) for name, said in items}
        return self._remembered(tuple(own.items()), own, _ENTRY_BYTES * (1 + len(own)))

    def _remembered(self, key: Hashable, value: _V, size: int) -> _V:
        self._bytes += size
        if self._bytes > self._max_bytes:
            self._known, self._bytes = {}, size
        self._known.setdefault(type(value), {})[key] = value
        return value
