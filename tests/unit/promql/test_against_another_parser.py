"""Our parser against another one, `promql-parser`, on queries that are right and on such as are broken.

Both must agree on what is PromQL, and on how it is written prettily, which shows the whole tree. The differences that
are meant are listed here, each with its reason.
"""

from __future__ import annotations

import random
import re

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from controlplane.errors import QueryError
from controlplane.metrics.query.exports.prettify import prettify
from promql.errors import ExpressionError
from promql.parser import parse_tree
from promql.tokens import tokenize
from tests.contract.promql_grammar import nested, systematic

SCRAPS = (
    *("(", ")", "[", "]", "{", "}", ",", ":", "@", "=", "=~", "+", "-", "*", "^", "==", "and", "by", "on", "bool"),
    *("offset", "without", "group_left", "x", "sum", "rate", "start", "5m", "1", "'a'", "inf", "0"),
)

DIFFERENT = {
    "digits are separated, which the other does not know": re.compile(r"\d_\d"),
    "a plus is checked, which the other drops": re.compile(r"\+"),
    "a range begins with a point": re.compile(r"\[\.|:\.|offset [-+]?\."),
    "times are bounded, where the other overflows": re.compile(r"@\s*[-+]?\s*(inf|nan|\d+e)|@\s*[-+]", re.IGNORECASE),
    "durations are calculated, zero ones refused": re.compile(r"\[[^\]]*[-+*/%^(]|\[\s*0|:\s*0|offset\s*[-+(0]"),
    "labels may be joined by `or` in the other": re.compile(r"\bor\b", re.IGNORECASE),
    "experimental modifiers are named": re.compile(r"anchored|smoothed|fill", re.IGNORECASE),
    "escapes and patterns are Go's": re.compile(r"\\|[\"'`][^\"'`]*[(\[*?][^\"'`]*[\"'`]"),
    "a word with a colon may be a label in ours": re.compile(r"\([^()\[\]]*:[^()\[\]]*\)"),
    "the other takes a number for a duration as it likes, a duration for a time": re.compile(r"@\s*\d+[a-z]"),
}
"""Forms that the two read differently; a query with one of them is left to the tests against a real Prometheus."""


def _comparable(expr: str) -> bool:
    return not any(pattern.search(expr) for pattern in DIFFERENT.values())


def _theirs(expr: str) -> str | None:
    """Return the other parser's pretty form; None where it refuses the query."""
    try:
        return str(promql_parser.parse(expr).prettify())
    except ValueError:
        return None


def _ours(expr: str) -> bool:
    try:
        parse_tree(expr)
    except ExpressionError as error:
        assert re.match(r"\d+:\d+: parse error: ", str(error))
        return False
    return True


def _agree(expr: str) -> bool:
    """Compare the two on a query; return whether it is one."""
    theirs = _theirs(expr)
    assert _ours(expr) == (theirs is not None), expr
    if theirs is None:
        return False
    try:
        assert prettify(expr) == theirs
    except QueryError as error:
        assert "not supported" in str(error) or "invalid label name" in str(error)
        return True
    assert prettify(theirs) == theirs
    return True


def _broken(rng: random.Random, expr: str) -> str:
    token, scrap = rng.choice(tokenize(expr)), rng.choice(SCRAPS)
    put = rng.choice(("", f" {scrap} ", f" {scrap} {token.text}"))
    return expr[: token.start] + put + expr[token.end :]


@pytest.mark.parametrize("seed", range(6))
def test_queries_of_the_grammar_and_broken_ones(seed: int) -> None:
    rng = random.Random(seed)
    queries = [*systematic(seed), *nested(seed, 60)]
    broken = [_broken(rng, expr) for expr in queries for _ in range(2)]
    right = [_agree(expr) for expr in [*queries, *broken] if _comparable(expr)]
    assert right.count(True) > 100 and right.count(False) > 100


def test_the_packs() -> None:
    exprs = [rule.expr for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE) for rule in group.rules]
    assert len(exprs) > 20
    for expr in exprs:
        theirs = _theirs(expr)
        assert theirs is not None and prettify(expr) == theirs
        assert prettify(theirs) == theirs


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=9))
def test_words_in_any_order(words: list[str]) -> None:
    expr = " ".join(words)
    if _comparable(expr):
        _agree(expr)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused_with_a_place(text: str) -> None:
    _ours(text)
