"""Matchers: their spellings, and what they match."""

from __future__ import annotations

import pytest

from alerts.errors import MatcherError
from alerts.routing.matchers import Matcher, Op, parse_labels, parse_matchers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b", [Matcher("a", Op.EQUAL, "b")]),
        (' a != "b c" ', [Matcher("a", Op.NOT_EQUAL, "b c")]),
        ("a=~x.*,b!~y", [Matcher("a", Op.MATCHES, "x.*"), Matcher("b", Op.MATCHES_NOT, "y")]),
        ('{a="b", c=d,}', [Matcher("a", Op.EQUAL, "b"), Matcher("c", Op.EQUAL, "d")]),
        ('a="x,y"', [Matcher("a", Op.EQUAL, "x,y")]),
        ('a="say \\"hi\\"\\n\\\\"', [Matcher("a", Op.EQUAL, 'say "hi"\n\\')]),
        ('"name of any text"="b"', [Matcher("name of any text", Op.EQUAL, "b")]),
        ("模型=b, node.name=c", [Matcher("模型", Op.EQUAL, "b"), Matcher("node.name", Op.EQUAL, "c")]),
        ('"模型"=聊天', [Matcher("模型", Op.EQUAL, "聊天")]),
        ("a=", [Matcher("a", Op.EQUAL, "")]),
        ("{}", []),
        ("", []),
        ("a:b_1=c", [Matcher("a:b_1", Op.EQUAL, "c")]),
        ("a=b}", [Matcher("a", Op.EQUAL, "b}")]),
    ],
)
def test_spellings(text: str, found: list[Matcher]) -> None:
    assert list(parse_matchers(text)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "'a': expected one of =, !=, =~ and !~ at the end"),
        ("a~b", "'a~b': expected one of =, !=, =~ and !~, got '~b'"),
        ('a="b', "expected a closing quote, got '\"b'"),
        ('a=b"c"', "expected a value without quotes, or one in quotes as a whole"),
        ('a="b"c', "expected a comma between two matchers, got 'c'"),
        ("{a=b", "expected a closing brace at the end"),
        ("{a=b} c", "expected nothing after the closing brace, got 'c'"),
        ("=b", "expected the name of a label, got '=b'"),
        ("a=~(", 'a=~"(": error parsing regexp: missing closing ): `(`'),
    ],
)
def test_faults_say_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(MatcherError) as caught:
        parse_matchers(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("a=b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a=", {}, True),
        ("a!=b", {}, True),
        ("a=~b|c", {"a": "c"}, True),
        ("a=~b", {"a": "ab"}, False),
        ("a=~.*", {}, True),
        ("a=~.+", {}, False),
        ("a!~b.*", {"a": "bc"}, False),
        ("a=~.+", {"a": "x\ny"}, True),
    ],
)
def test_a_missing_label_is_empty_and_patterns_match_the_whole_value(
    text: str, labels: dict[str, str], matches: bool
) -> None:
    (matcher,) = parse_matchers(text)
    assert matcher.matches(labels) is matches


def test_a_matcher_prints_as_it_is_read() -> None:
    for matcher in (Matcher("a b", Op.EQUAL, 'x"\n\\'), Matcher("a", Op.MATCHES_NOT, "b.*")):
        assert parse_matchers(str(matcher)) == (matcher,)


def test_labels_are_spelt_as_matchers_that_compare_for_equality() -> None:
    assert parse_labels('{a=b, "of any text"="x, y"}') == (("a", "b"), ("of any text", "x, y"))
    for text in ("a", "a!=b", "a=~b", "a!~b", "a=b c=d, e"):
        with pytest.raises(MatcherError, match="expected = and a value"):
            parse_labels(text)
