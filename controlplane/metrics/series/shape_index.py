"""The label index of layouts whose series are all new, with one entry a layout instead of one a series.

Targets that run the same program expose the same lines, apart from a few label pairs (instance, pod, node). Their lists
of series share a shape, and these pairs fill its holes (see packed_series.py). So which positions satisfy a matcher is
found once for a shape, or, if the matcher's label is a hole, by one look at each list. A list takes some 300 bytes
here. In postings and in the map of hashes its 505 series take 35 kB.

The number of a series is its list's first number plus its position.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.exposition.packed_series import Pair, SeriesList, SeriesShape
from collectors.samples import METRIC_NAME, Series
from controlplane.metrics.arrays import BoolArray, IntArray

SHARED = 4
"""Lists of one shape from which on further ones are kept here. A selection looks at each shape, so a shape that few
lists have costs more time than it saves memory."""

ALIKE = 8
"""Maximum number of lists that are found by one pair. A search for a series reads all of them."""

FEW = 16
"""Values up to which each is looked up. Of more values, the value of each list is looked up among them."""

PART = 8
"""Part of a list's series, as 1 / PART, up to which series are looked for one by one."""

Condition = tuple[str, frozenset[str], bool]
"""A matcher: its label, the existing values that it accepts, and whether it accepts series without the label."""

Kind = tuple[SeriesShape, tuple[str, ...]]
"""Shape of a list, and the names of the labels in its holes."""

_NOTHING: IntArray = np.empty(0, dtype=np.int64)


class _Placed(NamedTuple):
    """A list of series, and the number of its first series."""

    first: int
    group: _Group
    series: SeriesList


class _Group:
    """Lists of one kind."""

    __slots__ = (
        "_codes",
        "_hashes",
        "_holes",
        "_positions",
        "_shape",
        "_size",
        "_splits",
        "always",
        "firsts",
        "lists",
    )

    def __init__(self, kind: Kind) -> None:
        shape, names = kind
        self.firsts, self.lists = array("q"), list[SeriesList]()
        """[lists, in the order of their numbers] number of each one's first series, and the lists."""
        self._hashes = [array("q") for _ in names]
        """[holes][lists] hash of the value in each hole."""
        self._shape, self._size, self._holes = shape, len(shape), {name: hole for hole, name in enumerate(names)}
        owner = np.repeat(np.arange(len(shape), dtype=np.int32), np.diff(shape.ends))
        self._positions = owner[np.argsort(shape.flat, kind="stable")]
        self._splits = np.searchsorted(np.sort(shape.flat), np.arange(len(names) + len(shape.pairs) + 1))
        """Positions by code: those of code n are `_positions[_splits[n]:_splits[n + 1]]`, ascending."""
        self._codes: dict[str, dict[str, int]] = {}
        """Code of each pair that is no hole, by label and value."""
        for code, (name, value) in enumerate(shape.pairs, len(names)):
            self._codes.setdefault(name, {})[value] = code
        counts = np.diff(self._splits)[: len(names)].tolist()
        self.always = tuple([h for h, n in enumerate(names) if counts[h] == len(shape) and n != METRIC_NAME])
        """Holes of labels that every series has."""

    def add(self, first: int, series: SeriesList) -> None:
        """Add a list. `first` is greater than those of all other lists."""
        self.firsts.append(first)
        self.lists.append(series)
        for hashes, (_, value) in zip(self._hashes, series.own, strict=True):
            hashes.append(hash(value))

    def remove(self, first: int) -> bool:
        """Remove the list whose first series has this number. Return whether there was one."""
        at = bisect_left(self.firsts, first)
        if at == len(self.firsts) or self.firsts[at] != first:
            return False
        del self.firsts[at], self.lists[at]
        for hashes in self._hashes:
            del hashes[at]
        return True

    def values(self, name: str) -> Iterable[str]:
        """Return the values of a label in all lists."""
        hole = self._holes.get(name)
        return self._codes.get(name, ()) if hole is None else {one.own[hole][1] for one in self.lists}

    def find(self, first: int, others: SeriesList, series: Sequence[Series]) -> Iterator[tuple[int, int]]:
        """Yield (position, number) for each of `series` that is in a list of this kind with that first number."""
        own = {pair: hole for hole, pair in enumerate(others.own)}
        # A pair of a hole that the shape has, too, would have two codes.
        if len(series) * PART > len(others) or any(self._code(*pair) is not None for pair in own):
            numbers = {other: number for number, other in enumerate(others, first)}
            for position, one in enumerate(series):
                if (number := numbers.get(one)) is not None:
                    yield position, number
            return
        for position, one in enumerate(series):
            codes = [own.get(pair, self._code(*pair)) for pair in ((METRIC_NAME, one.name), *one.labels)]
            if None not in codes and (at := self._position(np.array(codes, dtype=np.int32))) is not None:
                yield position, first + at

    def _code(self, name: str, value: str) -> int | None:
        """Return the code of a pair that is no hole."""
        return self._codes.get(name, {}).get(value)

    def _position(self, codes: NDArray[np.int32]) -> int | None:
        """Return the position of the series with these codes, in their order."""
        rarest = min(codes.tolist(), key=lambda code: self._splits[code + 1] - self._splits[code])
        at = self._at(rarest)
        starts = self._shape.ends[at]
        fits = self._shape.ends[at + 1] - starts == len(codes)
        at, starts = at[fits], starts[fits]
        same = (self._shape.flat[starts[:, None] + np.arange(len(codes))] == codes).all(axis=1)
        found = at[same]
        return int(found[0]) if len(found) else None

    def has_metric(self, names: set[str]) -> bool:
        """Return whether some list may have a series of these metrics."""
        return METRIC_NAME in self._holes or not names.isdisjoint(self._codes.get(METRIC_NAME, ()))

    def _at(self, code: int) -> NDArray[np.int32]:
        """Return the positions of the series that have a code, ascending."""
        return self._positions[self._splits[code] : self._splits[code + 1]]

    def _having(self, hole: int, values: frozenset[str]) -> BoolArray:
        """Return a mask [lists] of those with one of some values in a hole."""
        if len(values) > FEW:
            return np.fromiter((one.own[hole][1] in values for one in self.lists), np.bool_, len(self.lists))
        hashes, found = np.array(self._hashes[hole]), np.zeros(len(self.lists), dtype=np.bool_)
        for value in values:
            alike = np.flatnonzero(hashes == hash(value))
            found[alike] |= np.array([self.lists[at].own[hole][1] == value for at in alike.tolist()], dtype=np.bool_)
        return found

    def _mask(self, codes: Iterable[int]) -> BoolArray:
        """Return a mask [positions] of the series with one of these codes."""
        found = np.zeros(self._size, dtype=np.bool_)
        for code in codes:
            found[self._at(code)] = True
        return found

    def select(self, conditions: Sequence[Condition]) -> IntArray:
        """Return the numbers of the series that satisfy all conditions, in no order: int64 of shape [series]."""
        chosen, lists = np.ones(self._size, dtype=np.bool_), np.ones(len(self.lists), dtype=np.bool_)
        either = []
        for name, values, absent in sorted(conditions, key=lambda condition: condition[0] in self._holes):
            hole, codes = self._holes.get(name), self._codes.get(name, {})
            if hole is None:
                accepted = self._mask([code for value, code in codes.items() if value in values])
                chosen &= accepted | ~self._mask(codes.values()) if absent else accepted
                if not chosen.any():
                    return _NOTHING
                continue
            carriers, mine = self._mask((hole,)), self._having(hole, values)
            if absent:
                either.append((~carriers, mine))
            else:
                chosen &= carriers
                lists &= mine
        positions = np.flatnonzero(chosen)
        numbers: IntArray = np.array(self.firsts, dtype=np.int64)[lists, None] + positions
        if not either:
            return numbers.ravel()
        wanted = np.ones(numbers.shape, dtype=np.bool_)
        for without, mine in either:
            wanted &= without[positions] | mine[lists, None]
        return numbers[wanted]


class ShapeIndex:
    """Lists of series by label pairs. Callers hold the store's lock."""

    def __init__(self) -> None:
        self._groups: dict[Kind, _Group] = {}
        self._lists: dict[Kind, int] = {}
        """Number of lists of each kind that exist, whether they are here or not."""
        self._anchors: dict[Pair, tuple[_Placed, ...]] = {}
        """Each list by one pair that all its series have."""

    def add(self, first: int, series: SeriesList, *, all_new: bool) -> bool:
        """Add a list, unless its series must have entries of their own. Return whether it was added.

        `first` is greater than the numbers of all series that were added before.
        """
        kind = _kind(series)
        self._lists[kind] = count = self._lists.get(kind, 0) + 1
        if count <= SHARED or not all_new:
            return False
        group = self._groups.get(kind) or _Group(kind)
        found = {series.own[hole]: len(self._anchors.get(series.own[hole], ())) for hole in group.always}
        anchor = min(found, key=found.__getitem__, default=None)
        if anchor is None or found[anchor] >= ALIKE:
            return False
        self._groups[kind] = group
        self._anchors[anchor] = (*self._anchors.get(anchor, ()), _Placed(first, group, series))
        group.add(first, series)
        return True

    def remove(self, first: int, series: SeriesList) -> bool:
        """Remove a list. Return whether it was here. If not, its series have entries of their own."""
        kind = _kind(series)
        self._lists[kind] -= 1
        if not self._lists[kind]:
            del self._lists[kind]
        group = self._groups.get(kind)
        if group is None or not group.remove(first):
            return False
        if not group.lists:
            del self._groups[kind]
        for anchor in [series.own[hole] for hole in group.always]:
            placed = self._anchors.get(anchor, ())
            left = tuple([one for one in placed if one.first != first])
            if left:
                self._anchors[anchor] = left
            elif placed:
                del self._anchors[anchor]
        return True

    def values(self, name: str) -> set[str]:
        """Return the values of a label."""
        return {value for group in self._groups.values() for value in group.values(name)}

    def select(self, conditions: Sequence[Condition]) -> IntArray:
        """Return the numbers of the series that satisfy all conditions, in no order: int64 of shape [series]."""
        return np.concatenate((_NOTHING, *(group.select(conditions) for group in self._groups.values())))

    def find(self, series: Sequence[Series], pairs: Iterable[Pair]) -> Iterator[tuple[int, int]]:
        """Yield (position, number) for each of `series` that is here. `pairs` are the label pairs that they have."""
        placed = {one.first: one for pair in pairs for one in self._anchors.get(pair, ())} if self._anchors else {}
        if not placed:
            return
        names = {name for name, _ in series}
        for first, group, others in placed.values():
            if group.has_metric(names):
                yield from group.find(first, others, series)


def _kind(series: SeriesList) -> Kind:
    return series.shape, tuple([name for name, _ in series.own])
