"""Parts of a list of addresses: many groups share one list, and each takes only the entries that concern it.

A cluster's monitors read the same few lists of objects, each for its own namespaces.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from collectors.discovery.answers import Answer
from collectors.discovery.entries import Entry
from collectors.discovery.group import SdConfig

_Index = Mapping[str, tuple[Entry, ...]]
"""Entries by the value of a label."""


@dataclass(frozen=True)
class ListPart:
    """The entries of a list that have one of some values of a label. Implements SdConfig; only `whole` is asked."""

    whole: SdConfig
    label: str
    values: tuple[str, ...]
    others: bool = False
    """Whether it has the entries with any other value instead."""

    @property
    def place(self) -> str:
        """The place of the whole list."""
        return self.whole.place

    @property
    def identity(self) -> Hashable:
        """The whole list's, with the part."""
        return self.whole.identity, self.label, self.values, self.others


def asked(sd: SdConfig) -> SdConfig:
    """Return the source that is asked for a list."""
    return sd.whole if isinstance(sd, ListPart) else sd


class Parts:
    """The parts of answers. Each answer is sorted once, for all its parts."""

    def __init__(self) -> None:
        """Know no answer yet."""
        self._indexes: dict[tuple[SdConfig, str], tuple[int, _Index]] = {}

    def of(self, sd: SdConfig, answer: Answer) -> Answer:
        """Return the part of an answer of `asked(sd)`; for a whole list the answer itself."""
        if not isinstance(sd, ListPart):
            return answer
        version, index = self._indexes.get((sd.whole, sd.label), (-1, {}))
        if version != answer.version:
            index = _index(answer.entries, sd.label)
            self._indexes[sd.whole, sd.label] = answer.version, index
        return replace(answer, entries=tuple(_chosen(sd, index)))

    def keep(self, sources: Mapping[SdConfig, Answer]) -> None:
        """Forget all other sources."""
        self._indexes = {key: found for key, found in self._indexes.items() if key[0] in sources}


def _index(entries: tuple[Entry, ...], label: str) -> _Index:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.labels.get(label, ""), []).append(entry)
    return {value: tuple(those) for value, those in found.items()}


def _chosen(part: ListPart, index: _Index) -> Iterator[Entry]:
    for value in [value for value in index if value not in part.values] if part.others else part.values:
        yield from index.get(value, ())
