from __future__ import annotations

import pytest

from promql.strings import quote, readable, unquoted


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('""', ""),
        (r'"a\tb\\\""', 'a\tb\\"'),
        (r"'\'\a\v'", "'\a\v"),
        (r"`\d\x`", r"\d\x"),
        ("`a\nb`", "a\nb"),
        (r'"\x61\141\u0061\U0001f600"', "aaa😀"),
        (r'"é\xc3\xa9\303\251"', "ééé"),
        (r'"a\xffb\377"', "a\udcffb\udcff"),
        (r'"\x00"', "\0"),
    ],
)
def test_a_literal_is_read_as_go_reads_it(literal: str, value: str) -> None:
    assert unquoted(literal) == value


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        (r'"\q"', "unknown escape sequence U+0071 'q'"),
        (r'"\'"', "unknown escape sequence U+0027 '''"),
        (r"""'\"'""", "unknown escape sequence U+0022 '\"'"),
        (r'"\8"', "unknown escape sequence U+0038 '8'"),
        (r'"\é"', "unknown escape sequence U+00E9 'é'"),
        (r'"\x6"', "illegal character U+0022 '\"' in escape sequence"),
        (r'"\xg0"', "illegal character U+0067 'g' in escape sequence"),
        (r'"\18"', "illegal character U+0038 '8' in escape sequence"),
        (r'"\u12"', "illegal character U+0022 '\"' in escape sequence"),
        (r'"\400"', "escape sequence is an invalid Unicode code point"),
        (r'"\ud800"', "escape sequence is an invalid Unicode code point"),
        (r'"\U00110000"', "escape sequence is an invalid Unicode code point"),
    ],
)
def test_a_wrong_escape_is_worded_as_prometheus_words_it(literal: str, reason: str) -> None:
    with pytest.raises(ValueError, match="escape") as caught:
        unquoted(literal)
    assert str(caught.value) == reason


def test_each_byte_that_is_no_utf8_is_shown_as_a_character() -> None:
    assert readable(unquoted(r'"a\xe2\x82b\xff"')) == "a\ufffd\ufffdb\ufffd"


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("", '""'),
        ('a"b', r'"a\"b"'),
        ("\\d\n", r'"\\d\n"'),
        ("é 😀", '"é 😀"'),
        ("\0\x7f\u200b\U000e0001\udcff", r'"\x00\x7f\u200b\U000e0001\xff"'),
    ],
)
def test_a_value_is_quoted_as_go_quotes_it(value: str, literal: str) -> None:
    assert quote(value) == literal
    assert unquoted(literal) == value
