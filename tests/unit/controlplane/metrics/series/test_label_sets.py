from __future__ import annotations

import gc
import weakref

import numpy as np

from controlplane.metrics.arrays import IntArray
from controlplane.metrics.series import label_sets
from controlplane.metrics.series.label_sets import LabelSets, LabelTable


def series(name: str, **labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((("__name__", name), *labels.items())))


FLEET = (
    series("b", i="1", le="2"),
    series("a", i="2", le="+Inf"),
    series("b", i="2", le="x"),
    series("a", i="1"),
)


def rows(*numbers: int) -> IntArray:
    return np.array(numbers, dtype=np.int64)


def test_rows_of_a_table_are_a_sequence() -> None:
    sets = LabelSets.of(FLEET)
    assert list(sets) == list(FLEET) and len(sets) == 4 and sets[1] == FLEET[1]
    some = sets.take(rows(3, 0)).take(rows(1, 0, 1))
    assert list(some) == [FLEET[0], FLEET[3], FLEET[0]] and len(some) == 3 and some[1] == FLEET[3]
    assert some[1:] == [FLEET[3], FLEET[0]]
    assert LabelSets.of(some) is some


def grouped(sets: LabelSets) -> tuple[LabelSets, IntArray]:
    found = sets.grouping("by", frozenset({"i"}))
    return found.keys, found.of_series


def test_groups_are_numbered_by_first_appearance() -> None:
    sets = LabelSets.of(FLEET)
    keys, of_series = grouped(sets)
    assert list(keys) == [(("i", "1"),), (("i", "2"),)] and of_series.tolist() == [0, 1, 1, 0]
    keys, of_series = grouped(sets.take(rows(2, 3, 1)))
    assert list(keys) == [(("i", "2"),), (("i", "1"),)] and of_series.tolist() == [0, 1, 0]
    keys, of_series = grouped(sets.take(rows(3)))
    assert list(keys) == [(("i", "1"),)] and of_series.tolist() == [0]
    keys, of_series = grouped(sets.take(rows()))
    assert list(keys) == [] and of_series.tolist() == []


def test_what_makes_a_group() -> None:
    sets = LabelSets.of(FLEET[:1])
    names = frozenset({"le"})
    assert list(sets.grouping("by", names).keys) == [(("le", "2"),)]
    assert list(sets.grouping("without", names).keys) == [(("i", "1"),)]
    assert list(sets.grouping("except", names).keys) == [(("__name__", "b"), ("i", "1"))]


def test_sets_that_are_equal_without_their_names() -> None:
    sets = LabelSets.of((series("a", i="1"), series("b", i="1"), series("b", i="2")))
    assert len(sets.same().keys) == 3
    assert len(sets.nameless().same().keys) == 2
    assert len(sets.take(rows(0, 2)).nameless().same().keys) == 2


def test_order_is_by_name_and_then_by_labels() -> None:
    sets = LabelSets.of(FLEET)
    assert [sets[row] for row in sets.order()] == [FLEET[3], FLEET[1], FLEET[0], FLEET[2]]
    some = sets.take(rows(2, 1))
    assert [some[row] for row in some.order()] == [FLEET[1], FLEET[2]]
    # A shorter name sorts before a longer one that it begins.
    other = LabelSets.of((series("ab"), series("a", z="1")))
    assert other.order().tolist() == [1, 0]


def test_numbers_of_a_label() -> None:
    def parse(text: str) -> float | None:
        return None if text in ("", "x") else float(text)

    sets = LabelSets.of(FLEET)
    assert str(sets.numbers("le", parse).tolist()) == "[2.0, inf, nan, nan]"
    assert str(sets.take(rows(1, 0)).numbers("le", parse).tolist()) == "[inf, 2.0]"


def test_what_is_derived_is_kept_beside_the_labels() -> None:
    first = LabelSets.of(FLEET)
    grouping = first.grouping("by", frozenset({"i"}))
    assert first.grouping("by", frozenset({"i"})) is grouping
    assert first.nameless().grouping("by", frozenset({"i"})) is first.nameless().grouping("by", frozenset({"i"}))
    # An equal selection that is another object has a table of its own.
    assert LabelSets.of([*FLEET]).grouping("by", frozenset({"i"})) is not grouping


def test_a_grouping_lays_series_out_group_after_group() -> None:
    grouping = LabelSets.of(FLEET).grouping("by", frozenset({"i"}))
    assert (grouping.order.tolist(), grouping.starts.tolist(), grouping.in_order) == ([0, 3, 1, 2], [0, 2], False)
    alone = LabelSets.of(FLEET).same()
    assert (alone.order.tolist(), alone.starts.tolist(), alone.in_order) == ([0, 1, 2, 3], [0, 1, 2, 3], True)


def test_what_queries_derive_is_bounded() -> None:
    table = LabelTable([series("a", i=str(n), j=str(n % 3)) for n in range(50)])
    sets = LabelSets(table)
    for n in range(200):
        # Groupings of groupings of groupings: each step keeps a table as large as the first.
        sets = LabelSets(table)
        for m in range(5):
            sets = sets.grouping("except", frozenset({f"x{n}", f"y{m}"})).keys
        assert len(sets) == 50
        assert table._derived <= label_sets.MAX_DERIVED * 50
    assert reachable(table) <= 20


def reachable(table: LabelTable) -> int:
    """Return how many tables are kept by one."""
    below = [grouping.keys._table for grouping in table._groupings.values()]
    below += [table._nameless] if table._nameless is not None else []
    return 1 + sum(reachable(one) for one in below)


def test_tables_end_with_their_last_user_and_not_with_a_search_for_cycles() -> None:
    gc.disable()
    try:
        table = LabelTable(FLEET)
        keys = LabelSets(table).nameless().grouping("by", frozenset({"i"})).keys
        assert keys.grouping("by", frozenset({"i"})) is keys.grouping("by", frozenset({"i"}))
        gone = weakref.ref(table)
        del table
        assert gone() is None
        # What a query still holds goes on without its root: it is the first of its own chain.
        assert len(keys.grouping("without", frozenset({"i"})).keys) == 1
        assert (held := weakref.ref(keys._table))() is not None
        del keys
        assert held() is None
    finally:
        gc.enable()
