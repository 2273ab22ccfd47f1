"""The table of series while layouts come and go, compared with a table that is made anew."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from collectors.exposition import packed_series
from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import packed
from collectors.samples import Labels, Layout, Series, View
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series import index as indexing
from controlplane.metrics.series import plans as planning
from controlplane.metrics.series import series_numbers, series_slots, series_table
from controlplane.metrics.series.index import LabelIndex, accepted_values
from controlplane.metrics.series.layout_series import series_of
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.plan import ReadPlan
from controlplane.metrics.series.plans import Plans
from controlplane.metrics.series.series_table import SeriesTable
from controlplane.metrics.storage.records import Description

INTERNER = Interner()

SELECTORS = [
    (Matcher("__name__", MatchOp.EQUAL, "m1"),),
    (Matcher("__name__", MatchOp.RE, "m[0-3]"), Matcher("odd", MatchOp.EQUAL, "1")),
    (Matcher("odd", MatchOp.NOT_EQUAL, "1"),),
    (Matcher("id", MatchOp.EQUAL, ""), Matcher("__name__", MatchOp.NOT_EQUAL, "")),
    (Matcher("id", MatchOp.NOT_RE, "1.*"),),
    (Matcher("nobody", MatchOp.EQUAL, "x"),),
]


def random_layout(rng: random.Random) -> Layout:
    def series() -> Series:
        n = rng.randrange(12)
        labels = (("id", str(rng.randrange(30))),) if n > 8 else (("odd", str(n % 2)),)
        return Series(f"m{n}", labels)

    raw = tuple(dict.fromkeys(series() for _ in range(rng.randint(1, 8))))
    views = tuple(
        View(Series(f"view{rng.randrange(4)}", ()), tuple(rng.sample(range(len(raw)), min(len(raw), n))), float(n))
        for n in rng.sample((1, 2), rng.randint(0, 1))
    )
    layout = Layout(raw, views)
    return packed(layout, INTERNER) if rng.random() < 0.5 else layout


def content(plan: ReadPlan) -> dict[Labels, list[tuple[int, tuple[int, ...], float]]]:
    """Return, for every series of a plan, the (block, columns, factor) of its stretches."""
    found: dict[Labels, list[tuple[int, tuple[int, ...], float]]] = {}
    for group in plan.everything():
        for part in group.parts:
            sums = dict(part.more)
            for n, member in enumerate(group.members.tolist()):
                columns = sums.get(n, (int(part.first[n]),))
                factor = 1.0 if part.factors is None else float(part.factors[n])
                found.setdefault(plan.labels[member], []).append((part.block.number, columns, factor))
    return {labels: sorted(parts) for labels, parts in found.items()}


def planned(table: SeriesTable, selector: tuple[Matcher, ...]) -> ReadPlan:
    return table.plan([(m, accepted_values(m, table.label_values(m.name))) for m in selector])


@pytest.mark.parametrize("seed", range(4))
def test_a_table_that_lived_is_like_one_made_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (packed_series, "LEAST", 1),
        (series_numbers, "RECENT", 10),
        (series_slots, "RECENT", 10),
        (indexing, "FEW", 3),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(series_table, "WHOLE", 1 + seed)  # few layouts are read whole, or nearly all
    rng = random.Random(seed)
    table, held = SeriesTable(), dict[int, Description]()
    for number in range(1, 700):
        description = Description(number, "t", random_layout(rng))
        table.add(description)
        held[number] = description
        while len(held) > 12:
            gone = rng.sample(sorted(held), rng.randint(1, 5))
            names = table.remove([*gone, 10**6])
            assert names == {
                series.name for n in gone for series in (*held[n].layout.raw, *(v.series for v in held[n].layout.views))
            }
            for n in gone:
                del held[n]
        if number % 50 == 0:
            fresh = SeriesTable()
            for kept in held.values():
                fresh.add(kept)
            assert len(table) == len(fresh)
            assert table.count_series(held) == len(table)
            assert table.count_series([]) == 0
            for selector in SELECTORS:
                assert content(planned(table, selector)) == content(planned(fresh, selector))
            # What is gone is forgotten on the way: there is no more of it than of what lives.
            assert len(table._numbers) <= 20 + 2 * len(table)
            assert len(table._elsewhere) <= 20 + 2 * sum(len(series_of(kept.layout)) for kept in held.values())
            assert len(table._index._all) <= 3 + 2 * len(table)
            assert sum(map(len, table._index._postings["__name__"].values())) <= 2 * len(table) + 3 * 16
    assert table.remove(list(held)) != set()
    assert (len(table), len(table.blocks)) == (0, 0)
    assert table._index.names() == []
    assert (dict(table._index._gone), len(table._elsewhere), table._order, list(table._starts)) == ({}, 0, [], [])


def test_series_whose_hashes_meet_are_told_apart() -> None:
    class Same(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

    one, two, three = (Series(Same(name), ()) for name in "abc")
    table = SeriesTable()
    table.add(Description(1, "t", Layout((one,))))
    table.add(Description(2, "t", Layout((two, one))))
    ids = table.id_of(one), table.id_of(two)
    assert (len(table), len({*ids, None}), table.id_of(three)) == (2, 3, None)
    table._numbers._sort_in(table._living)
    assert ((table.id_of(one), table.id_of(two)), table.id_of(three)) == (ids, None)
    table.remove([1])
    assert (table.id_of(one), table.id_of(two)) == ids
    table.remove([2])
    assert (table.id_of(one), table.id_of(two), len(table)) == (None, None, 0)


def test_a_layout_without_series_stands_in_nobody_s_way() -> None:
    table, names = SeriesTable(), dict[int, tuple[str, ...]]()
    for number, of_layout in enumerate(((), ("a",), (), (), ("b", "c"), ()), 1):
        names[number] = of_layout
        table.add(Description(number, "t", Layout(tuple(Series(name, ()) for name in of_layout))))
    for number in (3, 2, 6, 1, 5, 4):
        assert table.remove([number]) == set(names.pop(number))
        assert {s for s in "abc" if table.id_of(Series(s, ())) is not None} == {s for of in names.values() for s in of}


def test_a_plan_outlives_series_that_were_in_the_table_with_its_own() -> None:
    table = SeriesTable()
    kept = Series("kept", ())
    table.add(Description(1, "t", Layout((Series("x", ()), kept))))
    for number in range(2, 2002):
        table.add(Description(number, "t", Layout((Series("churn", (("n", str(number)),)),))))
    plan = planned(table, (Matcher("__name__", MatchOp.EQUAL, "kept"),))
    before = content(plan)
    table.remove(range(2, 2002))
    assert len(table) == 2
    assert content(plan) == before == content(planned(table, (Matcher("__name__", MatchOp.EQUAL, "kept"),)))


def test_positions_that_were_refused_have_no_series() -> None:
    table = SeriesTable()
    layout = Layout((Series("a", ()), Series("b", ())), (View(Series("v", ()), (0,)),))
    table.add(Description(1, "t", layout, (1, 2)))
    assert len(table) == 1
    assert table.id_of(Series("b", ())) is None
    assert table.remove([1]) == {"a"}


def test_the_index_forgets_what_nobody_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "FEW", 1)
    index, gone = LabelIndex(), set[int]()

    def living(ids: IntArray) -> BoolArray:
        return ~np.isin(ids, list(gone))

    def select(*matchers: Matcher) -> list[int]:
        return [n for n in index.select([(m, frozenset((m.value,))) for m in matchers]).tolist() if n not in gone]

    index.add_all(np.arange(6))
    index.add(("__name__", "m"), np.arange(6))
    for half in (0, 1):
        index.add(("half", str(half)), np.arange(half, 6, 2))
    for n in (5, 1, 3):
        gone.add(n)
        for pair in (("__name__", "m"), ("half", "1"), None):
            index.remove(pair, 1, living)
        assert index.values("half") == (["0"] if n == 3 else ["0", "1"])
    assert select(Matcher("half", MatchOp.EQUAL, "1")) == []
    assert select(Matcher("__name__", MatchOp.EQUAL, "m")) == select() == [0, 2, 4]
    assert select(Matcher("half", MatchOp.NOT_EQUAL, "0")) == [0, 2, 4]


def test_ids_beyond_four_bytes_are_kept_as_they_are() -> None:
    index = LabelIndex()
    for first in (2**32 - 2, 2**32, 2**40):
        index.add_all(np.arange(first, first + 2))
        index.add(("a", "b"), np.arange(first, first + 2))
    wanted = [n + i for n in (2**32 - 2, 2**32, 2**40) for i in (0, 1)]
    assert index.select([]).tolist() == wanted
    assert index.select([(Matcher("a", MatchOp.EQUAL, "b"), frozenset("b"))]).tolist() == wanted


class Fixed:
    """Plans over a table."""

    def __init__(self) -> None:
        self.table, self.plans, self.lock = SeriesTable(), Plans(), threading.RLock()

    def find(self, *key: Matcher) -> ReadPlan:
        return self.plans.find(key, self.table, self.lock)

    def add(self, number: int, name: str) -> None:
        self.table.add(Description(number, "t", Layout((Series(name, ()),))))
        self.plans.drop({name})


def test_a_plan_is_dropped_when_a_series_of_its_metric_comes_or_goes_and_no_sooner() -> None:
    world = Fixed()
    named = Matcher("__name__", MatchOp.EQUAL, "a")
    either = Matcher("__name__", MatchOp.RE, "a|b")
    nameless = Matcher("job", MatchOp.NOT_EQUAL, "x")
    world.add(1, "a")
    a, both, any_ = world.find(named), world.find(either), world.find(nameless)
    world.add(2, "c")
    assert world.find(named) is a
    assert world.find(either) is both
    assert world.find(nameless) is not any_
    world.add(3, "b")
    assert world.find(named) is a
    assert len(world.find(either).labels) == 2
    world.plans.drop(world.table.remove([1]))
    assert len(world.find(named).labels) == 0
    assert [dict(labels)["__name__"] for labels in world.find(either).labels] == ["b"]


def test_plans_are_bounded_in_number_and_in_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_PLANS", 10)
    world = Fixed()
    world.add(1, "a")
    kept = world.find(Matcher("__name__", MatchOp.EQUAL, "a"))
    for n in range(100):
        world.find(Matcher("job", MatchOp.NOT_EQUAL, str(n)))
        assert world.find(Matcher("__name__", MatchOp.EQUAL, "a")) is kept
    assert len(world.plans._plans) == 10
    assert world.plans._series == sum(len(plan.labels) for plan in world.plans._plans.values())
    monkeypatch.setattr(planning, "MAX_SERIES", 3)
    for n in range(5):
        world.add(n + 2, f"b{n}")
    assert len(world.find(Matcher("job", MatchOp.EQUAL, "")).labels) == 6
    assert world.plans._series <= 3
    world.plans.drop({"a", *(f"b{n}" for n in range(5))})
    assert (world.plans._series, dict(world.plans._plans), world.plans._of_name) == (0, {}, {})


def test_a_series_that_comes_while_a_pattern_is_tried_does_not_leave_a_plan_without_it() -> None:
    world = Fixed()
    world.add(1, "a")

    class Slow(Matcher):
        def matches(self, value: str) -> bool:
            if len(world.table) == 1:
                world.add(2, "b")
            return super().matches(value)

    slow = Slow("__name__", MatchOp.RE, "[ab]")
    world.find(slow)
    assert len(world.find(slow).labels) == 2


def test_count_series_counts_a_series_of_many_blocks_once() -> None:
    table = SeriesTable()
    for number in range(1, 5):
        raw = tuple(Series("m", (("n", str(n)),)) for n in range(number, number + 10))
        table.add(Description(number, "t", Layout(raw)))
    assert table.count_series([1]) == 10
    assert table.count_series([1, 4]) == 13
    assert table.count_series(np.arange(1, 5).tolist()) == 13
    table.add(Description(9, "t", Layout(())))
    assert table.count_series([9, 9]) == 0
