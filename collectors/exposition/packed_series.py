"""The series of a layout, packed: 40 bytes each instead of 200, and next to none where targets expose the same lines.

What tells one target's series from another's is a few label pairs (instance, node, model) that recur in all of them. So
a list of series is kept in two parts: its shape, with holes where such pairs stand, which all targets that expose the
same lines share; and the pairs for the holes. A series is put together when somebody asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from collectors.exposition.interner import Interner
from collectors.samples import METRIC_NAME, FloatArray, Labels, Layout, Series, View

Pair = tuple[str, str]
Positions = NDArray[np.int64]

LEAST = 8
"""Series of a list that is worth packing."""


@dataclass(frozen=True)
class SeriesShape:
    """The part that series of targets with the same lines share. Codes below `own` are numbered holes."""

    own: int
    """Number of holes."""
    pairs: tuple[Pair, ...]
    """Pairs that the codes from `own` on stand for. A metric's name is the value of `METRIC_NAME`."""
    codes: bytes
    """int32: the code of a series' name, then those of its labels in their order; series after series."""
    starts: bytes
    """int32 [series + 1]: where each series begins among the codes."""

    def __len__(self) -> int:
        return len(self.starts) // 4 - 1

    @property
    def flat(self) -> NDArray[np.int32]:
        """[codes] of all series."""
        return np.frombuffer(self.codes, np.int32)

    @property
    def ends(self) -> NDArray[np.int32]:
        """Index of the first code of each series: int32 of shape (series + 1,)."""
        return np.frombuffer(self.starts, np.int32)


class SeriesList(Sequence[Series]):
    """Series in the order of their columns, made when asked for."""

    __slots__ = ("own", "shape")

    def __init__(self, shape: SeriesShape, own: tuple[Pair, ...]) -> None:
        """`own` are the pairs for the shape's holes."""
        self.shape, self.own = shape, own

    def __len__(self) -> int:
        return len(self.shape)

    @overload
    def __getitem__(self, index: int) -> Series: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Series]: ...

    def __getitem__(self, index: int | slice) -> Series | Sequence[Series]:
        if isinstance(index, slice):
            return tuple(self)[index]
        name, *labels = map(self._meaning, self.codes_at([range(len(self))[index]])[0])
        return Series(name[1], tuple(labels))

    def __iter__(self) -> Iterator[Series]:
        every = list(map(self._meaning, self.shape.flat.tolist()))
        for start, end in pairwise(self.shape.ends.tolist()):
            yield Series(every[start][1], tuple(every[start + 1 : end]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (SeriesList, tuple)) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def _meaning(self) -> Callable[[int], Pair]:
        return (*self.own, *self.shape.pairs).__getitem__

    def codes_at(self, positions: Iterable[int]) -> list[list[int]]:
        """Return the codes of some series. They hold for every list of the same shape."""
        flat, ends = self.shape.flat, self.shape.ends
        return [flat[ends[position] : ends[position + 1]].tolist() for position in positions]

    @property
    def names(self) -> set[str]:
        """The metrics that the series are of."""
        meaning = self._meaning
        return {meaning(code)[1] for code in set(self.shape.flat[self.shape.ends[:-1]].tolist())}

    def labelled(self, codes: Iterable[list[int]]) -> Iterator[Labels]:
        """Yield the labels of the series with these codes: sorted, with `__name__`."""
        meaning = self._meaning
        for of_series in codes:
            labels = tuple(map(meaning, of_series))
            yield tuple(sorted(labels)) if len(labels) > 1 and labels[1][0] <= METRIC_NAME else labels

    def by_pair(self) -> Iterator[tuple[Pair, Positions]]:
        """Yield each label pair, `__name__` among them, with the positions of the series that carry it, ascending."""
        codes = self.shape.flat
        positions = np.repeat(np.arange(len(self)), np.diff(self.shape.ends))
        order = np.argsort(codes, kind="stable")
        found, first = np.unique(codes[order], return_index=True)
        meaning = self._meaning
        for code, of_pair in zip(found.tolist(), np.split(positions[order], first[1:]), strict=True):
            yield meaning(code), of_pair


@dataclass(frozen=True)
class ViewShape:
    """The columns that the views of targets with the same lines read."""

    columns: tuple[tuple[int, ...], ...]
    factors: tuple[float, ...]

    @cached_property
    def first(self) -> Positions:
        """[views] the first column of each."""
        return np.array([columns[0] for columns in self.columns], dtype=np.int64)

    @cached_property
    def scale(self) -> FloatArray:
        """[views] the factor of each."""
        return np.array(self.factors, dtype=np.float64)


class ViewList(Sequence[View]):
    """Views in their order, made when asked for."""

    __slots__ = ("series", "shape")

    def __init__(self, series: SeriesList, shape: ViewShape) -> None:
        self.series, self.shape = series, shape

    def __len__(self) -> int:
        return len(self.series)

    @overload
    def __getitem__(self, index: int) -> View: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[View]: ...

    def __getitem__(self, index: int | slice) -> View | Sequence[View]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return View(self.series[index], self.shape.columns[index], self.shape.factors[index])

    def __iter__(self) -> Iterator[View]:
        return map(View, self.series, self.shape.columns, self.shape.factors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (ViewList, tuple)) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class _Numbers(dict[Pair, int]):
    """Numbers pairs in the order in which they are asked for."""

    def __missing__(self, pair: Pair) -> int:
        number = self[pair] = len(self)
        return number


def packed(layout: Layout, interner: Interner) -> Layout:
    """Return the same layout with its series packed. `interner` shares shapes and pairs with other layouts."""
    views: Sequence[View] = layout.views
    if len(views) >= LEAST:
        shape = interner.shared(
            ViewShape(tuple([view.columns for view in views]), tuple([view.factor for view in views])), 72 * len(views)
        )
        views = ViewList(_packed([view.series for view in views], interner), shape)
    raw = _packed(layout.raw, interner) if len(layout.raw) >= LEAST else layout.raw
    return replace(layout, raw=raw, views=views)


def _packed(series: Sequence[Series], interner: Interner) -> SeriesList:
    numbers = _Numbers()
    number_of, codes, starts = numbers.__getitem__, list[int](), [0]
    for name, labels in series:
        codes.append(number_of((METRIC_NAME, name)))
        codes.extend(map(number_of, labels))
        starts.append(len(codes))
    of_name = Counter([name for name, _ in numbers])
    own = tuple([interner.shared(pair, len(pair[1])) for pair in numbers if of_name[pair[0]] == 1])
    pairs = tuple([interner.shared(pair, len(pair[1])) for pair in numbers if of_name[pair[0]] > 1])
    code_of = {pair: code for code, pair in enumerate(chain(own, pairs))}
    moved = np.array([code_of[pair] for pair in numbers], dtype=np.int32)
    flat = moved[np.array(codes, dtype=np.int64)].tobytes()
    shape = SeriesShape(len(own), pairs, flat, np.array(starts, dtype=np.int32).tobytes())
    return SeriesList(interner.shared(shape, len(flat) + 4 * len(starts) + 8 * len(pairs)), own)
