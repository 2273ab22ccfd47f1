"""What our PromQL refuses, why and where, against a real Prometheus."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import parse
from promql.tokens import tokenize
from tests.contract.promql_grammar import nested, systematic
from tests.contract.promql_reference import AT, NEWER, Refusal, ask, fleet, our_engine, prometheus

pytestmark = pytest.mark.needs("prometheus")

PLACE = re.compile(r"(?:.*: )?(?P<place>\d+:\d+): parse error: (?P<reason>.*)", re.DOTALL)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as address:
        yield address


@pytest.fixture(scope="module")
def engine() -> PromqlEngine:
    return our_engine(fleet())


ERRORS = [
    ("requests_total + on (job) temperature", "execution"),
    ("temperature + on (instance) group_left (version) (info or info offset 1m) + on (job) temperature", "execution"),
    ("requests_total * on (job) group_left info", "execution"),
    ("info * on () group_right requests_total", "execution"),
    ("temperature / on (job) temperature", "execution"),
    ("temperature * on (instance) group_left (nope) sum by (instance) (info) + on (job) info", "execution"),
    ("abs({__name__=~'latency_seconds_(count|sum)'})", "execution"),
    ("-{__name__=~'latency_seconds_(count|sum)'}", "execution"),
    ("{__name__=~'latency_seconds_(count|sum)'} * 2", "execution"),
    ("{__name__=~'latency_seconds_(count|sum)'} > bool 2", "execution"),
    ("rate({__name__=~'latency_seconds_(count|sum)'}[5m])", "execution"),
    ("sum_over_time({__name__=~'latency_seconds_(count|sum)'}[5m])", "execution"),
    ("label_replace(requests_total, 'status', 'x', 'job', '.*')", "execution"),
    ("label_replace(temperature, '', 'x', 'job', '.*')", "execution"),
    ("label_replace(temperature, 'a', 'x', 'job', '(')", "execution"),
    ("label_join(requests_total, 'status', '-', 'job')", "execution"),
    ("label_join(temperature, '', '-', 'job')", "execution"),
    ("label_join(temperature, 'x', '-', '')", "execution"),
    ("count_values('', temperature)", "execution"),
    ("topk(NaN, temperature)", "execution"),
    ("bottomk(Inf, temperature)", "execution"),
    ("topk(1e30, temperature)", "execution"),
    ("rate({__name__=~'requests_total|temperature'}[5m]) + {", "bad_data"),
    ("requests_total and 1", "bad_data"),
    ("sum(", "bad_data"),
    ("nofunction(x)", "bad_data"),
    ("{a=~'.*'}", "bad_data"),
    ("rate(requests_total)", "bad_data"),
    ("x{a=~'['}", "bad_data"),
    ("", "bad_data"),
]


@pytest.mark.parametrize(("expr", "kind"), ERRORS)
def test_refuses_what_prometheus_refuses(engine: PromqlEngine, reference: str, expr: str, kind: str) -> None:
    theirs = ask(reference, "query", query=expr, time=AT)
    assert isinstance(theirs, Refusal) and theirs.kind == kind
    with pytest.raises(QueryError) as caught:
        engine.instant(expr, AT)
    assert caught.value.kind == kind


PLACED = [
    "",
    " # nothing",
    "sum(",
    "sum(x",
    "x{",
    "x{a",
    "x{a=",
    "x{a='b'",
    "x[5m",
    "x + ",
    "x + * y",
    "x y",
    "x 'y'",
    "(x + y) z",
    "x{a='b'} {c='d'}",
    "x{a!b}",
    "x{a=b}",
    "x{a='b' c='d'}",
    "x{a=='b'}",
    "x{a='b}",
    *(["x + y{a='\\q'}", "x + y{a=~'('}", "x[0]", "x[5m:0]", "x[5m *]", "x[5m / 0]"] if NEWER else []),
    "'a\n'",
    "x + é",
    "x\n  + ;",
    "x = y",
    "x =~ y",
    "x ! y",
    "1x",
    "sum by (a b) (x)",
    "sum by (x)",
    "sum(x, y)",
    "sum()",
    "abs(x, )",
    "abs(, x)",
    "topk(x)",
    "topk('a', x)",
    "topk(1, 2)",
    "count_values(1, x)",
    "nope(x)",
    "x + nope(y)",
    "rate(x)",
    "1 + rate(x + y)",
    "sum(rate(x[5m])) / sum(rate(y))",
    "abs(1)",
    "clamp(x, y, 3)",
    "clamp(x, 1)",
    "round(x, 1, 2)",
    "label_replace(x, 'a', 'b', 3, 'c')",
    "label_join(x)",
    "{}",
    "sum({a=''})",
    "x{__name__='y'}",
    "x + y{a=~'.*', __name__='z'}",
    "(x)[5m]",
    "sum(x[5m:1m][5m])",
    "1[5m:1m]",
    "x + x[5m]",
    "x[5m] + x",
    "-x[5m]",
    "+x[5m]",
    "-'a'",
    "1 > 2",
    "(1 == 2) + x",
    "x and 1",
    "1 or x",
    "x + bool y",
    "x and bool y",
    "x + on (a) 1",
    "x offset 5m offset 5m",
    "x @ 1 @ 2",
    "sum(x) offset 5m",
    "sum(x) @ 5",
    "x offset 5m [5m]",
    "x offset y",
    "x @ y",
    "x + on (a group_left y",
    "x + on (a) group_left (a) y",
    "sum by (a) (x) by (b)",
    "bool",
    "on(x)",
    "x unless",
    "((((x))))))",
]
"""Broken queries."""

ELSEWHERE = re.compile(r"unexpected right parenthesis")
"""Prometheus points behind a parenthesis that is one too many, we at it."""


def _place(message: str) -> tuple[str, str] | None:
    match = PLACE.fullmatch(message)
    return (match["place"], match["reason"]) if match else None


@pytest.mark.parametrize("expr", PLACED)
def test_names_the_place_that_prometheus_names(reference: str, expr: str) -> None:
    refusal = ask(reference, "query", query=expr, time=AT)
    assert isinstance(refusal, Refusal) and refusal.kind == "bad_data"
    with pytest.raises(QueryError) as caught:
        parse(expr)
    theirs, ours = _place(refusal.message), _place(str(caught.value))
    assert theirs is not None or (NEWER and not expr.strip())  # Prometheus 3 names no place in nothing
    if theirs is not None and ours is not None and not ELSEWHERE.match(theirs[1]):
        assert ours[0] == theirs[0], (str(caught.value), refusal.message)


def test_every_place_is_known() -> None:
    unplaced = []
    for expr in PLACED:
        with pytest.raises(QueryError) as caught:
            parse(expr)
        if _place(str(caught.value)) is None:
            unplaced.append(expr)
    assert not unplaced


SCRAPS = ("(", ")", "[", "]", "{", "}", ",", "+", "-", "*", "==", "and", "by", "on", "bool", "@", "x", "sum", "rate")


def _broken(seed: int) -> list[str]:
    """Return queries of the grammar with a word taken out, put in or exchanged; most of them are none any more."""
    rng = random.Random(seed)
    queries = []
    for expr in (e for e in [*systematic(seed), *nested(seed, 60)] if "offset" not in e and "()" not in e):
        tokens = tokenize(expr)
        token, scrap = rng.choice(tokens), rng.choice(SCRAPS)
        before, after = expr[: token.start], expr[token.end :]
        queries.append(before + rng.choice(("", f" {scrap} ", f" {scrap} {token.text}")) + after)
    return [expr for expr in queries if not (NEWER and WORD_IN_BRACKETS.search(expr))]


WORD_IN_BRACKETS = re.compile(r"\[[^\]]*?[\s\d](x|sum|rate|and|by|on|bool)\b")
"""Prometheus 3.5 reads some words in brackets letter by letter, and skips others."""


AN_EARLIER_REASON = re.compile(
    r"unexpected right parenthesis|unknown function|wrong number|no arguments|ranges only|expected \d|error parsing"
    r"|trailing commas"
)
"""What Prometheus finds while it parses, before it sees that an expression ends too soon, say."""

OF_2 = re.compile(
    r"unexpected duration|missing unit|.*expected duration|.*inside brackets|unexpected colon|bad duration"
    r"|unexpected string .*expected label|timestamp out of bounds|unexpected <op:.*in subquery (or range|selector)"
)
"""2.42 takes no duration for a number, no number for a duration, no string for a label, reads brackets in a way of its
own, and blames a selector for its `@`."""
OF_3 = re.compile(r"unexpected colon before duration")
"""Prometheus 3 points behind a colon without a range, we at it."""
OTHERS = OF_3 if NEWER else OF_2
OURS = re.compile(r"experimental" if NEWER else r"experimental|duration")


@pytest.mark.parametrize("seed", range(8))
def test_broken_queries_are_refused_where_prometheus_refuses_them(reference: str, seed: int) -> None:
    compared = 0
    for expr in _broken(seed):
        refusal = ask(reference, "query", query=expr, time=AT)
        refused = isinstance(refusal, Refusal) and refusal.kind == "bad_data"
        try:
            parse(expr)
            message = None
        except QueryError as error:
            message = str(error)
        theirs = _place(refusal.message) if refused else None
        if (theirs and OTHERS.match(theirs[1])) or (message and OURS.search(message)):
            continue
        assert refused == (message is not None), (expr, message, refusal)
        ours = None if message is None else _place(message)
        if ours is not None and theirs is not None and not AN_EARLIER_REASON.match(theirs[1]):
            compared += 1
            assert ours[0] == theirs[0], (expr, message, theirs)
    assert compared > 60
