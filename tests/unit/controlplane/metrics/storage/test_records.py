from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import SeriesList, ViewList
from collectors.samples import Layout, Metadata, Series, View, labels_of
from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.records import (
    Description,
    Gone,
    Place,
    decode,
    decode_layout,
    digest,
    encode,
    encode_layout,
    layout_body,
)

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
SERIES = st.builds(Series, TEXT, st.dictionaries(TEXT, TEXT, max_size=3).map(labels_of))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    raw = tuple(draw(st.lists(SERIES, max_size=4)))
    column = st.integers(0, max(0, len(raw) - 1))
    factor = st.floats(allow_nan=False)
    view = st.builds(View, SERIES, st.lists(column, min_size=1, max_size=3).map(tuple), factor)
    families = st.dictionaries(TEXT, st.builds(Metadata, TEXT, TEXT), max_size=2)
    return Layout(raw, tuple(draw(st.lists(view, max_size=2))), draw(families))


@settings(max_examples=150)
@given(layouts(), TEXT, st.lists(st.integers(0, 9), max_size=3))
def test_any_layout_reads_back(layout: Layout, source: str, refused: list[int]) -> None:
    """Surrogates without their other half too: JSON files of targets may hold them."""
    body = layout_body(layout)
    description, key = decode_layout(encode_layout(Description(7, source, layout, tuple(refused), 3), body), Interner())
    assert (description.number, description.source, description.refused, description.era) == (
        7,
        source,
        tuple(refused),
        3,
    )
    got = description.layout
    assert (got.raw, got.views, dict(got.metadata)) == (layout.raw, layout.views, dict(layout.metadata))
    assert key == digest(body, 3) == digest(layout_body(got), 3) != digest(body)
    assert description.columns == len(layout.raw)


def test_what_a_layout_is_does_not_depend_on_its_metadata_or_its_object() -> None:
    one = Layout((Series("a", (("k", "v"),)),), metadata={"a": Metadata("gauge", "x")})
    two = Layout((Series("a", (("k", "v"),)),))
    other = Layout((Series("a", (("k", "w"),)),))
    assert layout_body(one) == layout_body(two) != layout_body(other)


def test_layouts_of_the_same_lines_share_all_but_what_names_the_target() -> None:
    interner = Interner()

    def read_back(instance: str) -> Layout:
        raw = tuple(Series("a", (("instance", instance), ("n", str(n)))) for n in range(20))
        views = tuple(View(Series("v", one.labels), (n, 0), 2.0) for n, one in enumerate(raw))
        layout = Layout(raw, views, {"a": Metadata("gauge", "x")})
        found = decode_layout(encode_layout(Description(1, "t", layout), layout_body(layout)), interner)[0].layout
        assert (found.raw, found.views) == (raw, views)
        return found

    one, other = read_back("a:1"), read_back("b:1")
    assert isinstance(one.raw, SeriesList) and isinstance(other.raw, SeriesList)
    assert one.raw.shape is other.raw.shape
    assert isinstance(one.views, ViewList) and isinstance(other.views, ViewList)
    assert (one.views.shape, one.views.series.shape) == (other.views.shape, other.views.series.shape)
    assert one.views.shape is other.views.shape
    assert one.metadata is other.metadata


@given(st.binary(max_size=200))
def test_bytes_that_are_no_layout_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptData, match="a layout record is damaged"):
        decode_layout(data, Interner())


def test_other_records() -> None:
    assert Place(*decode(encode(Place(1, 2, 3, 4, 5)))) == Place(1, 2, 3, 4, 5)
    assert decode(encode(Gone((1,), (2, 3)))) == [[1], [2, 3]]
    for data in (b"", b"{", b"{}", b"\xff", b"7"):
        with pytest.raises(CorruptData, match="a journal record is damaged"):
            decode(data)
