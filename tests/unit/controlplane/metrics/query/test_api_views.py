from __future__ import annotations

import numpy as np
import pytest

from collectors.samples import Layout, Metadata, Series
from controlplane.errors import QueryError
from controlplane.metrics.query import api_views
from controlplane.metrics.series.series_store import SeriesStore


@pytest.fixture
def store() -> SeriesStore:
    store = SeriesStore(retention_s=1e9)
    up = Series("up", (("job", "a"),))
    metadata = {"up": Metadata("gauge", "Is it?"), "b_total": Metadata("counter", "Bees.")}
    store.append("a", Layout((up, Series("b_total", ())), metadata=metadata), 100_000, np.ones(2))
    store.append("b", Layout((Series("up", (("job", "b"), ("n", "1"))),)), 200_000, np.ones(1))
    store.end("b", 300_000)
    return store


UP_A = {"__name__": "up", "job": "a"}
UP_B = {"__name__": "up", "job": "b", "n": "1"}


def test_series(store: SeriesStore) -> None:
    assert api_views.series(store, ["up"]) == [UP_A, UP_B]
    assert api_views.series(store, ['{job="a"}', "up", "b_total"]) == [{"__name__": "b_total"}, UP_A, UP_B]
    assert api_views.series(store, ["up"], start=150) == [UP_B]
    assert api_views.series(store, ["up"], end=150) == [UP_A]
    assert api_views.series(store, ["up"], start=250, end=350) == []
    assert api_views.series(store, ["up"], start=-1e300, end=1e300) == [UP_A, UP_B]


def test_series_needs_a_selector(store: SeriesStore) -> None:
    for selectors in ([], ["sum(up)"], ["{"]):
        with pytest.raises(QueryError) as caught:
            api_views.series(store, selectors)
        assert caught.value.kind == "bad_data"


def test_labels(store: SeriesStore) -> None:
    assert api_views.label_names(store) == ["__name__", "job", "n"]
    assert api_views.label_names(store, ['{job="a"}']) == ["__name__", "job"]
    assert api_views.label_values(store, "__name__") == ["b_total", "up"]
    assert api_views.label_values(store, "job", ["up"], start=150) == ["b"]
    assert api_views.label_values(store, "nope") == []


def test_metadata(store: SeriesStore) -> None:
    bees = {"b_total": [{"type": "counter", "help": "Bees.", "unit": ""}]}
    assert api_views.metadata(store, "b_total") == bees
    assert api_views.metadata(store, limit=1) == bees
    assert list(api_views.metadata(store)) == ["b_total", "up"]
    assert api_views.metadata(store, "nope") == {}
