"""Series as promtool writes them. That promtool agrees is in tests/contract/test_rules_test_promtool.py."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.samples import labels_of
from controlplane.ruletest.series_notation import (
    MAX_SAMPLES,
    Kind,
    format_labels,
    parse_labels,
    parse_series,
    parse_values,
)


def expanded(text: str) -> list[float | str]:
    """Return values with `_` for missing and `stale` for stale samples."""
    values, kinds = parse_values(text)
    words: dict[int, str] = {Kind.MISSING: "_", Kind.STALE: "stale"}
    return [words.get(kind, value) for value, kind in zip(values.tolist(), kinds.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("  1  -2\n+3 ", [1, -2, 3]),
        ("1+2x3", [1, 3, 5, 7]),
        ("1-2x4", [1, -1, -3, -5, -7]),
        ("-2+4x3", [-2, 2, 6, 10]),
        ("1x4", [1, 1, 1, 1, 1]),
        ("7x0 8+1x0", [7, 8]),
        ("_", ["_"]),
        ("_x3 1 _x0", ["_", "_", "_", 1]),
        ("1 stale 2", [1, "stale", 2]),
        ("1.5e2 .5 5. 2E-1", [150, 0.5, 5, 0.2]),
        ("Inf -inf +Inf", [math.inf, -math.inf, math.inf]),
        ("-Inf+1x1", [-math.inf, -math.inf]),
        ("0+0.1x3", [0, 0.1, 0.2, 0.1 + 0.1 + 0.1]),
        ("0x3", [0, 0, 0, 0]),
    ],
)
def test_values_expand(text: str, values: list[float | str]) -> None:
    assert expanded(text) == values


def test_nan_is_a_value_and_not_an_end() -> None:
    values, kinds = parse_values("NaN nan+1x1")
    assert kinds.tolist() == [Kind.VALUE] * 3
    assert all(math.isnan(value) for value in values)


@pytest.mark.parametrize(
    "item", ["x3", "1x", "1x-2", "1x2.5", "1+x3", "1+-2x3", "stalex3", "_3", "1+2", "one", "0x1f", "1,2", "--1", "+"]
)
def test_what_is_no_value_is_quoted(item: str) -> None:
    with pytest.raises(ValueError, match="is not a value; expected a number") as caught:
        parse_values(f"1 {item} 2")
    assert repr(item) in str(caught.value)


def test_native_histograms_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="native histograms are not supported"):
        parse_values("{{schema:1 sum:-0.3 count:3.1 buckets:[5.1 10 7]}}x3")


@pytest.mark.parametrize("text", [f"1x{MAX_SAMPLES}", f"1x{MAX_SAMPLES - 1} 1", "1x99999999999999999999", "_x1000001"])
def test_the_number_of_samples_is_bounded_before_they_are_made(text: str) -> None:
    with pytest.raises(ValueError, match="may have 1,000,000 samples"):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", {}),
        ("{}", {}),
        ("x", {"__name__": "x"}),
        (" a:b_c { } ", {"__name__": "a:b_c"}),
        ('x{a="b",c="d",}', {"__name__": "x", "a": "b", "c": "d"}),
        ('{__name__="x", a=""}', {"__name__": "x"}),
        ("x{a='b\"c', d=`e\\n`}", {"__name__": "x", "a": 'b"c', "d": "e\\n"}),
        (r'x{a="\"\\\n\x41\u00e9\U0001F600\101"}', {"__name__": "x", "a": '"\\\nAé😀A'}),
        ('{"a.name", "a.label"="b"}', {"__name__": "a.name", "a.label": "b"}),
        ('x{a="}",b="{,="}', {"__name__": "x", "a": "}", "b": "{,="}),
    ],
)
def test_labels_are_read(text: str, labels: dict[str, str]) -> None:
    assert parse_labels(text) == labels_of(labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x{a=b}", "is not understood"),
        ('x{a="b"', "is not a series"),
        ('x{a!="b"}', "is not understood"),
        ('x{a=~"b"}', "is not understood"),
        ('x{a="b" c="d"}', "is not understood"),
        ('x{a="b",a="c"}', "a is given twice"),
        ('x{__name__="y"}', "the metric name is given twice"),
        ('x{"y"}', "the metric name is given twice"),
        ('1x{a="b"}', "is not a series"),
        (r'x{a="\q"}', r"\\q is not an escape"),
        (r'x{a="\UFFFFFFFF"}', "is no character"),
        ("sum(x)", "is not a series"),
        ("NaN", "is a number in PromQL"),
    ],
)
def test_what_is_no_series_is_refused_with_the_part(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_labels(text)


def test_an_input_series_has_a_name_and_no_space_in_it() -> None:
    assert parse_series('{__name__="x",a="b"}') == labels_of({"__name__": "x", "a": "b"})
    with pytest.raises(ValueError, match="has no metric name"):
        parse_series('{a="b"}')
    with pytest.raises(ValueError, match="remove the space before"):
        parse_series('x {a="b"}')


NAMES = st.from_regex(r"[a-zA-Z_]\w{0,9}", fullmatch=True).filter(str.isascii)


@given(st.dictionaries(NAMES, st.text(), max_size=4), st.from_regex(r"[a-z:]{1,8}", fullmatch=True))
def test_labels_survive_being_written_and_read(pairs: dict[str, str], name: str) -> None:
    labels = labels_of(pairs | {"__name__": name if name not in ("inf", "nan") else "x"})
    assert parse_labels(format_labels(labels)) == labels


@given(st.text(max_size=60) | st.text(alphabet="01x+-._ eINnfstale{}\"'=,\\", max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    for parse in (parse_values, parse_labels, parse_series):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)
