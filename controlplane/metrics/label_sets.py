"""The label sets of many series, with what was derived from them.

Queries repeat: a rule every 15 seconds, a panel at every refresh. The series that a selector picks stay the same
objects as long as its plan is kept (plans.py), so what a query derives from labels alone (names dropped, groups, the
buckets of each histogram, the order of a result) is kept beside them and found again by the next evaluation. What is
left to do then is arithmetic on arrays, whatever the number of series.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np

from collectors.samples import Labels
from controlplane.metrics.arrays import IntArray

MAX_DERIVED = 32
"""Results kept a set; the oldest goes first. Rules and panels derive a handful from one selection."""

Derived = TypeVar("Derived")


class LabelSets(Sequence[Labels]):
    """Immutable label sets `[series]`. May be used from several threads at once."""

    __slots__ = ("_derived", "_sets")

    def __init__(self, sets: Sequence[Labels]) -> None:
        self._sets = sets if isinstance(sets, tuple) else tuple(sets)
        self._derived: dict[Hashable, object] = {}

    @classmethod
    def of(cls, labels: Sequence[Labels]) -> LabelSets:
        """Return the sets themselves where they are some already."""
        return labels if isinstance(labels, LabelSets) else cls(labels)

    def __len__(self) -> int:
        return len(self._sets)

    @overload
    def __getitem__(self, index: int) -> Labels: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Labels]: ...
    def __getitem__(self, index: int | slice) -> Labels | Sequence[Labels]:
        return self._sets[index]

    def __iter__(self) -> Iterator[Labels]:
        return iter(self._sets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._sets == tuple(other)

    def __hash__(self) -> int:
        return hash(self._sets)

    def derive(self, key: Hashable, make: Callable[[LabelSets], Derived]) -> Derived:
        """Return what `make` derives from these sets; `key` names it. Errors are raised, and not kept."""
        found = self._derived.get(key)
        if found is None:
            found = make(self)
            if len(self._derived) >= MAX_DERIVED:
                # Another thread may have dropped it first.
                self._derived.pop(next(iter(self._derived), None), None)
            self._derived[key] = found
        return found  # type: ignore[return-value]

    def mapped(self, name: Hashable, change: Callable[[Labels], Labels]) -> LabelSets:
        """Return every set changed; `name` says how."""
        return self.derive(("mapped", name), lambda sets: LabelSets([change(one) for one in sets]))

    def take(self, rows: IntArray) -> LabelSets:
        """Return some of the sets."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(rows))):
            return self
        key = hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=16).digest()
        return self.derive(("take", key), lambda sets: LabelSets([sets[i] for i in rows.tolist()]))

    @property
    def unique(self) -> bool:
        """Whether no two sets are equal."""
        return bool(self.derive("distinct", lambda sets: 1 + len(set(sets))) == 1 + len(self))
