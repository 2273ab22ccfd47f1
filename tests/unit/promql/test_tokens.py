from __future__ import annotations

import math

import pytest

from promql.tokens import Token, place, seconds, tokenize


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("", []),
        (" # only a comment", []),
        ("a:b{c='d', \"e f\" != `g\n`}", ["a:b", "{", "c", "=", "'d'", ",", '"e f"', "!=", "`g\n`", "}"]),
        ("x[5m:1m]", ["x", "[", "5m", ":", "1m", "]"]),
        ("x{a==~'b'}", ["x", "{", "a", "=", "=~", "'b'", "}"]),
        ("1e-3 - .5e+2*0x1F", ["1e-3", "-", ".5e+2", "*", "0x1F"]),
        ("a<=b!=c", ["a", "<=", "b", "!=", "c"]),
        ('"\\"" + x # "', ['"\\""', "+", "x"]),
        ("x ! y", ["x", "!"]),
        ("x =~ y", ["x", "="]),
        ("x + 'y", ["x", "+", "'"]),
        ("x{a+b}", ["x", "{", "a", "+"]),
        ("1x + 1", ["1x"]),
    ],
)
def test_words(expr: str, words: list[str]) -> None:
    tokens = tokenize(expr)
    assert [token.text for token in tokens] == words
    assert all(expr[token.start : token.end] == token.text for token in tokens)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1", "number", 1),
        ("1.", "number", 1),
        (".5", "number", 0.5),
        ("1_000", "number", 1000),
        ("0x_1f", "number", 31),
        ("017", "number", 15),
        ("08", "number", 8),
        ("0", "number", 0),
        ("1e3", "number", 1000),
        ("1e999", "number", math.inf),
        ("0x" + "f" * 300, "number", math.inf),
        ("1" * 400, "number", math.inf),
        ("5m", "duration", 300),
        ("1y1w1d1h1m1s1ms", "duration", 31_536_000 + 604_800 + 86_400 + 3_600 + 60 + 1.001),
        ("1m1h", "bad", None),
        ("1__0", "bad", None),
        ("1_", "bad", None),
        ("1e", "bad", None),
        ("0x", "bad", None),
        ("1.2.3", "bad", None),
    ],
)
def test_numbers_and_durations(text: str, kind: str, value: float | None) -> None:
    (token,) = tokenize(text)
    assert token.kind == kind
    if value is not None:
        assert seconds(token) == value


def test_a_place_counts_lines_and_columns_from_one() -> None:
    assert [place("ab\ncd\n", index) for index in (0, 1, 3, 4, 6)] == ["1:1", "1:2", "2:1", "2:2", "3:1"]


def test_a_token_knows_its_end() -> None:
    assert Token("word", "abc", 2).end == 5
