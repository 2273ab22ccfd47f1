"""Parameters as Prometheus reads them."""

from __future__ import annotations

import pytest

from controlplane.api.prometheus_params import MAX_EXPR_LENGTH, Params
from controlplane.errors import QueryError


def params(**values: str) -> Params:
    return Params({name: [value] for name, value in values.items()})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1435781451.781", 1435781451.781),
        ("1435781451", 1435781451.0),
        ("1.4e9", 1.4e9),
        ("-1", -1.0),
        ("0.0004", 0.0),
        ("2015-07-01T20:10:51.781Z", 1435781451.781),
        ("2015-07-01T20:10:51Z", 1435781451.0),
        ("2015-07-01T22:10:51+02:00", 1435781451.0),
        ("2015-07-01T20:10:51.781000123Z", 1435781451.781),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert params(time=text).time("time") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "NaN",
        "Inf",
        "1e300",
        "2015-07-01",
        "2015-07-01T20:10:51",
        "1_000",
        "0x10",
        " 1",
        "1\n",
        "2015-13-01T00:00:00Z",
    ],
)
def test_bad_times(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        params(time=text).time("time")
    assert caught.value.kind == "bad_data"
    assert str(caught.value) == f'invalid parameter "time": cannot parse "{text}" to a valid timestamp'


def test_an_optional_time_is_refused_in_prometheus_other_words() -> None:
    message = """invalid parameter "end": invalid time value for 'end': cannot parse "x" to a valid timestamp"""
    with pytest.raises(QueryError) as caught:
        params(end="x").interval()
    assert str(caught.value) == message


def test_a_missing_time_may_be_optional() -> None:
    assert params().time_or_none("time") is None
    assert params().interval() == (None, None)
    assert params(end="7").interval() == (None, 7.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("15", 15.0), ("0.5", 0.5), ("15s", 15.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1d", 86400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert params(step=text).duration("step") == seconds


@pytest.mark.parametrize("text", ["", "fast", "1 h", "-5m", "1h1h", "Inf", "1e999"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(QueryError, match=r'invalid parameter "step": cannot parse ".*" to a valid duration'):
        params(step=text).duration("step")


def test_a_range() -> None:
    assert params(start="0", end="60", step="15s").range() == (0.0, 60.0, 15.0)
    assert params(start="0", end="11000", step="1").range() == (0.0, 11000.0, 1.0)
    assert params(start="0", end="11000.9", step="1").range() == (0.0, 11000.9, 1.0)


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        ("", "1", "1", 'invalid parameter "start": cannot parse "" to a valid timestamp'),
        ("2", "1", "1", 'invalid parameter "end": end timestamp must not be before start time'),
        (
            "0",
            "1",
            "0",
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer",
        ),
        (
            "0",
            "1",
            "-1",
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer",
        ),
        (
            "0",
            "1",
            "0.0001",
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer",
        ),
        (
            "0",
            "11001",
            "1",
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)",
        ),
    ],
)
def test_bad_ranges(start: str, end: str, step: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        params(start=start, end=end, step=step).range()
    assert (caught.value.kind, str(caught.value)) == ("bad_data", message)


def test_limits() -> None:
    assert params().limit() == 0
    assert params(limit="3").limit() == 3
    for text in ("-1", "three", "1.5", "9" * 30):
        with pytest.raises(QueryError, match='invalid parameter "limit"'):
            params(limit=text).limit()


def test_a_caller_can_shorten_the_timeout_and_not_lengthen_it() -> None:
    assert params().timeout(30.0) == 30.0
    assert params(timeout="5s").timeout(30.0) == 5.0
    assert params(timeout="1h").timeout(30.0) == 30.0


def test_an_expression_has_a_length() -> None:
    assert params(query="a" * MAX_EXPR_LENGTH).expr() == "a" * MAX_EXPR_LENGTH
    with pytest.raises(QueryError, match="longer than"):
        params(query="a" * (MAX_EXPR_LENGTH + 1)).expr()


@pytest.mark.parametrize(
    ("text", "flag"),
    [("", False), ("0", False), ("F", False), ("false", False), ("1", True), ("t", True), ("TRUE", True)],
)
def test_a_flag_is_read_as_go_reads_it(text: str, flag: bool) -> None:
    assert Params({"exclude_alerts": [text]}).flag("exclude_alerts") is flag


def test_what_is_no_flag_is_refused() -> None:
    with pytest.raises(QueryError, match=r'error converting exclude_alerts: strconv\.ParseBool: parsing "null"'):
        Params({"exclude_alerts": ["null"]}).flag("exclude_alerts")
