"""Differences of Prometheus 3 from 2.42, with expectations worked out by hand. They need no newer Prometheus.

Left-open ranges and lookback are in test_selectors, numbers and durations in test_syntax.
"""

from __future__ import annotations

import math

import pytest

from controlplane.errors import QueryError
from tests.unit.controlplane.metrics.conftest import Ask, Promql

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("expr", "count"),
    [
        ("count_over_time(c[2m])", 2),
        ("count_over_time(c[2m:1m])", 2),
        ("count_over_time(c[0.5:1])", 1),
        ("count_over_time(c[120])", 2),
        ("count_over_time(c[120:60])", 2),
        ("count_over_time(c[1m59s999ms])", 2),
        ("count_over_time(c[2m1ms])", 3),
    ],
)
def test_a_range_leaves_out_the_sample_on_its_left_edge(ask: Ask, expr: str, count: int) -> None:
    assert ask("c 0+1x20", expr, 300) == {"{}": count}


@pytest.mark.parametrize(
    ("start", "rise"),
    [
        # Samples every 60 s, 4 of them at 3..6 min, 180 in all; the window begins 180 s before the first. That is too
        # far to be reached, so half a distance is added; unless the counter was zero more recently.
        (0, 180),
        (15, 180 * (180 + 15) / 180),
        (30, 180 * (180 + 30) / 180),
        (45, 180 * (180 + 30) / 180),
        (600, 180 * (180 + 30) / 180),
    ],
)
def test_a_counter_is_extrapolated_back_to_its_zero_or_by_half_a_distance(ask: Ask, start: float, rise: float) -> None:
    assert ask(f"c _x3 {start}+60x3", "increase(c[6m])", 360) == {"{}": pytest.approx(rise, rel=1e-12)}


@pytest.mark.parametrize("at", [0, 300, 3000])
def test_predict_linear_under_an_at_modifier_goes_on_along_the_same_line(promql: type[Promql], at: float) -> None:
    engine = promql.load("g 0+60x20")
    value = promql.instant(engine, "predict_linear(g[5m] @ 600, 60)", at)
    assert value == pytest.approx({"{}": at + 60}, rel=1e-12)


def test_atan2_drops_the_metric_name(ask: Ask) -> None:
    assert ask("g 1", "g atan2 1", 0) == {"{}": math.pi / 4}
    assert ask("g 1", "1 atan2 g", 0) == {"{}": math.pi / 4}


def test_a_dot_in_a_regex_matches_a_newline(ask: Ask) -> None:
    assert ask('g{a="x\\ny"} 1', 'count(g{a=~"x.y"})', 0) == {"{}": 1}
    assert ask('g{a="x\\ny"} 1', 'count(label_replace(g, "b", "$1", "a", "(.*)") == 1)', 0) == {"{}": 1}


UTF_8 = """
{"http.requests","server.address"="a:1"} 3
{"http.requests","server.address"="b:2"} 4
{"größe"} 5
"""


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ('sum by ("server.address") ({"http.requests"})', {'{server.address="a:1"}': 3, '{server.address="b:2"}': 4}),
        ('sum({"http.requests","server.address"=~"a.*"})', {"{}": 3}),
        ('{"größe"}', {"größe": 5}),
        ('sum({"http.requests"}) + on () group_left {"größe"}', {"{}": 12}),
        ('label_replace({"größe"}, "a b", "x", "", "")', {'größe{a b="x"}': 5}),
        ('label_join(label_replace({"größe"}, "ä", "x", "", ""), "ö.", "-", "ä", "ä")', {'größe{ä="x",ö.="x-x"}': 5}),
        ("count_values(\"a b\", {'größe'})", {'{a b="5"}': 1}),
        ('{"http.requests"} * on ("server.address") {"http.requests"} > 9', {'{server.address="b:2"}': 16}),
        ('{__name__=~"http[.].*", "server.address"!="a:1"}', {'http.requests{server.address="b:2"}': 4}),
    ],
)
def test_names_may_be_any_text(ask: Ask, expr: str, result: dict[str, float]) -> None:
    assert ask(UTF_8, expr, 0) == result


@pytest.mark.parametrize(
    ("matchers", "labels"),
    [
        ('a="b"', '{a="b"}'),
        ('a="b",a="b"', "{}"),
        ('a="b",a!="c"', "{}"),
        # Only what comes after the first equality takes it back.
        ('a!="c",a="b"', '{a="b"}'),
        ('a!="c",a="b",a="d"', "{}"),
        ('a=""', "{}"),
    ],
)
def test_absent_says_what_its_selector_says_for_sure(ask: Ask, matchers: str, labels: str) -> None:
    assert ask("g 1", f"absent(nope{{{matchers}}})", 0) == {labels: 1}
    assert ask("g 1", f"absent_over_time(nope{{{matchers}}}[1m])", 0) == {labels: 1}


TURNS = """
a{i="1"} 1 1 stale
b{i="1"} _ _ _ 2 2
"""


def test_series_that_become_one_take_turns_or_are_an_error(promql: type[Promql]) -> None:
    engine = promql.load(TURNS)
    both = '{__name__=~"a|b"}'
    turns = [(0, 1), (60, 1), (180, 2), (240, 2)]
    assert promql.range(engine, f"abs({both})", 0, 240, 60) == {'{i="1"}': turns}
    assert promql.range(engine, f"-{both}", 0, 240, 60) == {'{i="1"}': [(at, -value) for at, value in turns]}
    assert promql.range(engine, f'label_replace({both}, "__name__", "c", "", "")', 0, 240, 60) == {'c{i="1"}': turns}
    assert promql.range(engine, f'label_join({both}, "__name__", "")', 0, 240, 60) == {'{i="1"}': turns}
    # Functions of ranges are evaluated series by series: two results of one name are one too many, turns or not.
    for function in ("rate", "max_over_time", "count_over_time", "deriv"):
        with pytest.raises(QueryError, match="same labelset") as caught:
            promql.range(engine, f"{function}({both}[90s])", 0, 240, 60)
        assert caught.value.kind == "execution"
    assert len(promql.range(engine, f"last_over_time({both}[90s])", 0, 240, 60)) == 2


def test_an_ambiguous_match_is_an_error_even_if_a_filter_drops_it(ask: Ask) -> None:
    text = 'a{i="1",j="1"} 1\na{i="1",j="2"} 5\nb{i="1"} 3\nc{i="1",j="1"} 1'
    for expr in ("a > on (i) b", "a > on (i) group_left b or b > on (i) a", 'b < on (i) {__name__=~"a|b"}'):
        with pytest.raises(QueryError, match=r"multiple matches|duplicate series"):
            ask(text, expr, 0)
    # One to one, names apart do not help; many to one they do, as the result keeps them.
    with pytest.raises(QueryError, match="must be explicit"):
        ask(text, '{__name__=~"a|c",j="1"} > ignoring (j) b', 0)
    assert ask(text, '{__name__=~"a|c",j="1"} < ignoring (j) group_left b', 0) == {
        'a{i="1",j="1"}': 1,
        'c{i="1",j="1"}': 1,
    }
    with pytest.raises(QueryError, match="unique matches"):
        ask(text, '{__name__=~"a|c",j="1"} * ignoring (j) group_left b', 0)


FRACTIONS = """
h_bucket{s="positive",le="0.1"} 5
h_bucket{s="positive",le=".2"} 7
h_bucket{s="positive",le="1e0"} 11
h_bucket{s="positive",le="+Inf"} 12
h_bucket{s="negative",le="-0.2"} 1
h_bucket{s="negative",le="-0.1"} 2
h_bucket{s="negative",le="0.3"} 2
h_bucket{s="negative",le="+Inf"} 4
"""


@pytest.mark.parametrize(
    ("lower", "upper", "positive", "negative"),
    [
        ("-Inf", "+Inf", 1, 1),
        ("0", "0.2", 7 / 12, 0),
        ("0", "0.15", 6 / 12, 0),
        ("0.05", "0.6", (9 - 2.5) / 12, 0),
        ("-Inf", "-0.2", 0, 1 / 4),
        # The lowest bucket begins nowhere, so that all of it counts as below any value inside.
        ("-0.3", "-0.15", 0, (1.5 - 1) / 4),
        ("-Inf", "-0.3", 0, 1 / 4),
        ("1", "+Inf", 1 / 12, 2 / 4),
        ("5", "6", 0, 0),
        ("5", "+Inf", 1 / 12, 2 / 4),
        ("1", "0", 0, 0),
        ("1", "1", 0, 0),
        ("NaN", "1", NAN, NAN),
        ("0", "NaN", NAN, NAN),
    ],
)
def test_histogram_fraction_of_classic_histograms(
    ask: Ask, lower: str, upper: str, positive: float, negative: float
) -> None:
    result = ask(FRACTIONS, f"histogram_fraction({lower}, {upper}, h_bucket)", 0)
    assert result == pytest.approx({'{s="negative"}': negative, '{s="positive"}': positive}, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('h{le="1"} 4', NAN),
        ('h{le="1"} 0\nh{le="+Inf"} 0', NAN),
        ('h{le="+Inf"} 4', 0),
        ('h{le="1"} 1\nh{le="1.0"} 1\nh{le="+Inf"} 4', 0.5),
        ('h{le="nonsense"} 4\nh{le="1_0"} 5\nh{le="1"} 3\nh{le="+Inf"} 4', 0.75),
        # A count below an earlier one is not put right, and more than all is all.
        ('h{le="1"} 8\nh{le="+Inf"} 4', 1),
    ],
)
def test_histogram_fraction_of_odd_histograms(ask: Ask, text: str, value: float) -> None:
    assert ask(text, "histogram_fraction(0, 1, h)", 0) == {"{}": pytest.approx(value, nan_ok=True)}


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("clamp(nan, 1, 5)", NAN),
        ("clamp(nan, NaN, 5)", NAN),
        ("clamp(one, NaN, 5)", NAN),
        ("clamp(one, 0, NaN)", NAN),
        # The infinity that bounds all numbers beats NaN, whichever side it is on.
        ("clamp_min(nan, +Inf)", INF),
        ("clamp_max(nan, -Inf)", -INF),
        ("clamp_min(inf, NaN)", INF),
        ("clamp_max(-inf, NaN)", -INF),
        ("clamp_max(inf, NaN)", NAN),
        ("clamp_min(nan, -Inf)", NAN),
    ],
)
def test_clamping_what_is_no_number(ask: Ask, expr: str, value: float) -> None:
    expr = (
        expr.replace("(inf", '({__name__="inf"}')
        .replace("(-inf", '(-{__name__="inf"}')
        .replace("(nan", '({__name__="nan"}')
    )
    text = '{__name__="inf"} inf\n{__name__="nan"} nan\none 1'
    assert ask(text, expr, 0) == {"{}": pytest.approx(value, nan_ok=True)}  # fmt: skip


def test_the_deviation_of_infinity_is_unknown(ask: Ask) -> None:
    assert ask("g inf", "stddev(g)", 0) == {"{}": pytest.approx(NAN, nan_ok=True)}
    assert ask("g inf", "stdvar_over_time(g[5m])", 0) == {"{}": pytest.approx(NAN, nan_ok=True)}


def test_count_values_by_three_labels_counts_the_same_at_every_step(promql: type[Promql]) -> None:
    engine = promql.load('g{a="1",b="2",c="3"} 7x3')
    assert promql.range(engine, 'count_values by (a, b, c) ("v", g)', 0, 120, 60) == {
        '{a="1",b="2",c="3",v="7"}': [(0, 1), (60, 1), (120, 1)]
    }
