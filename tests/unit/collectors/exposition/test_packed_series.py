"""A packed layout says what the layout said that it was packed from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exposition import packed_series
from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import SeriesList, ViewList, packed
from collectors.samples import Layout, Metadata, Series, View, labels_of

WORDS = st.text(st.characters(exclude_categories=()), max_size=3)
LABELS = st.dictionaries(st.sampled_from(["UUID", "instance", "le", "é"]) | WORDS, WORDS, max_size=4).map(labels_of)
SERIES = st.lists(st.builds(Series, WORDS, LABELS), min_size=8, max_size=14).map(tuple)


def with_names(series: Series) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((("__name__", series.name), *series.labels)))


@given(SERIES)
def test_any_list_of_series_reads_back(series: tuple[Series, ...]) -> None:
    views = tuple(View(one, (n, 0)[: 1 + n % 2], 0.5 * n) for n, one in enumerate(series))
    layout = packed(Layout(series, views, {"a": Metadata("gauge", "")}), Interner())
    raw, viewed = layout.raw, layout.views
    assert isinstance(raw, SeriesList) and isinstance(viewed, ViewList)
    assert raw == series and viewed == views
    assert (tuple(raw), [raw[n] for n in range(-3, 3)], raw[1:3]) == (
        series,
        [series[n] for n in range(-3, 3)],
        series[1:3],
    )
    assert [type(one) for one in (raw[0], viewed[0])] == [Series, View]
    assert ([viewed[n] for n in range(-3, 3)], viewed[2:], len(viewed)) == (
        [views[n] for n in range(-3, 3)],
        views[2:],
        len(views),
    )
    assert (viewed.shape.first.tolist(), viewed.shape.scale.tolist()) == (
        list(range(len(views))),
        [view.factor for view in views],
    )
    with pytest.raises(IndexError):
        raw[len(series)]
    assert raw.names == {one.name for one in series}
    assert list(raw.labelled(raw.codes_at([2, 5]))) == [with_names(series[2]), with_names(series[5])]
    carriers: dict[tuple[str, str], list[int]] = {}
    for position, one in enumerate(series):
        for pair in with_names(one):
            carriers.setdefault(pair, []).append(position)
    assert {pair: positions.tolist() for pair, positions in raw.by_pair()} == carriers


def test_other_series_are_not_equal() -> None:
    series = tuple(Series("a", (("n", str(n)),)) for n in range(8))
    one, other = (packed(Layout(of), Interner()).raw for of in (series, (*series[:7], Series("b", ()))))
    assert one == series and series == one
    listed: object = list(series)
    assert one != other and one != series[:7] and one != listed


def test_targets_of_the_same_lines_share_the_shape_whatever_their_models_are_called() -> None:
    interner = Interner()

    def of_target(name: str, bounds: int) -> SeriesList:
        labels = [(("instance", name), ("le", str(le)), ("model", f"m-{name}")) for le in range(bounds)]
        raw = packed(Layout(tuple(Series("bucket", one) for one in labels)), interner).raw
        assert isinstance(raw, SeriesList)
        return raw

    one, other, longer = of_target("a", 10), of_target("b", 10), of_target("c", 11)
    assert one.shape is other.shape and one.shape != longer.shape
    assert one.own == (("__name__", "bucket"), ("instance", "a"), ("model", "m-a"))
    # 11 bounds are other pairs, but the ten that both have are the same objects.
    assert all(mine is theirs for mine, theirs in zip(one.shape.pairs, longer.shape.pairs, strict=False))
    assert one.shape.flat.dtype == np.int32


def test_short_lists_stay_as_they_are() -> None:
    series = tuple(Series("a", (("n", str(n)),)) for n in range(packed_series.LEAST - 1))
    layout = packed(Layout(series, (View(series[0], (0,)),)), Interner())
    assert (type(layout.raw), type(layout.views)) == (tuple, tuple)
