"""The text exposition format, line by line and against real captures."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.utils import floatToGoString

from collectors.errors import BodyTooLarge, ExpositionError, ScrapeError
from collectors.exposition.parser import Limits, Parsed, normalised_float, parse
from collectors.samples import Metadata, Series, labels_of


def rows(body: bytes | str) -> dict[Series, float]:
    parsed = parse(body.encode() if isinstance(body, str) else body)
    return dict(zip(parsed.series, parsed.values.tolist(), strict=True))


def one(line: str) -> tuple[Series, float]:
    ((series, value),) = rows(line).items()
    return series, value


def value_of(parsed: Parsed, name: str, **labels: str) -> float:
    return float(parsed.values[parsed.series.index(Series(name, labels_of(labels)))])


@pytest.mark.parametrize(
    ("line", "series", "value"),
    [
        ("up 1", Series("up", ()), 1.0),
        ("up 1\n", Series("up", ()), 1.0),
        ("up 1\r\n", Series("up", ()), 1.0),
        ("  up\t 1 \t", Series("up", ()), 1.0),
        ("up{} 1", Series("up", ()), 1.0),
        ("up{ } 1", Series("up", ()), 1.0),
        ('up {a="b"} 1', Series("up", (("a", "b"),)), 1.0),
        ('up{a="b"}1', Series("up", (("a", "b"),)), 1.0),
        ('up{ z = "1" , a = "2" , } 1', Series("up", (("a", "2"), ("z", "1"))), 1.0),
        ('up{a="",b="x"} 1', Series("up", (("b", "x"),)), 1.0),
        (r'up{a="q\"b\\n\nx\d"} 1', Series("up", (("a", 'q"b\\n\nx\\d'),)), 1.0),
        ('up{a="}{,=# ünïcode 模型"} 1', Series("up", (("a", "}{,=# ünïcode 模型"),)), 1.0),
        ("vllm:running 3", Series("vllm:running", ()), 3.0),
        ("up 1 1700000000000", Series("up", ()), 1.0),
        ('up{a="b"} 2 -5', Series("up", (("a", "b"),)), 2.0),
        ('h_bucket{le="1"} 5 # {trace_id="x y"} 0.3 1.5', Series("h_bucket", (("le", "1.0"),)), 5.0),
        ('h_bucket{le="1"} 5 1.7 # {} 0.3', Series("h_bucket", (("le", "1.0"),)), 5.0),
        ('{"dotted.name"} 4', Series("dotted.name", ()), 4.0),
        ('{"dotted.name", "ü.x"="v",} 4', Series("dotted.name", (("ü.x", "v"),)), 4.0),
        ("up -1.5e-3", Series("up", ()), -0.0015),
        ("up +Inf", Series("up", ()), math.inf),
        ("up -Inf", Series("up", ()), -math.inf),
    ],
)
def test_a_sample_line(line: str, series: Series, value: float) -> None:
    assert one(line) == (series, value)


@pytest.mark.parametrize("text", ["NaN", "Nan", "nan"])
def test_not_a_number_is_a_value(text: str) -> None:
    assert math.isnan(one(f"up {text}")[1])


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("up", 1, "expected a value after the series, got ''"),
        ("ok 1\n\nup x", 3, "expected a value after the series, got ' x'"),
        ("up 1_000", 1, "expected a value"),
        ("up 0x10", 1, "expected a value"),
        ("up ١", 1, "expected a value"),
        ("up 1 2 3", 1, "expected a value"),
        ("up 1e", 1, "not a number: '1e'"),
        ("up1", 1, "expected a value after the series, got ''"),
        ("up-1", 1, "expected a blank after the metric name, got '-1'"),
        ("1up 1", 1, "expected a metric name, got '1up 1'"),
        ('{a="b"} 1', 1, "expected a metric name"),
        ('up{"other"} 1', 1, "two metric names: 'up' and 'other'"),
        ("up{a=b} 1", 1, "expected a label, got 'a=b} 1'"),
        ("up{a} 1", 1, "label 'a' has no value"),
        ('up{"a"="b","c"} 1', 1, "label 'c' has no value"),
        ('up{a="b" 1', 1, "expected a label"),
        ('up{a="b', 1, "expected a label"),
        ('up{a="b",,} 1', 1, "expected a label"),
        ('up{a="1",a="2"} 1', 1, "label name 'a' is repeated or reserved"),
        ('up{__name__="x"} 1', 1, "label name '__name__' is repeated or reserved"),
        ("# TYPE up thing", 1, "unknown metric type 'thing'"),
        ("# TYPE up", 1, "unknown metric type ''"),
        ("{} 1", 1, "expected a metric name, got '{} 1'"),
    ],
)
def test_a_malformed_line_is_named(body: str, line: int, message: str) -> None:
    with pytest.raises(ExpositionError) as caught:
        parse(body.encode())
    assert caught.value.line == line
    assert f"line {line}: " in str(caught.value)
    assert message in str(caught.value)


def test_invalid_utf8_is_named_with_its_line() -> None:
    with pytest.raises(ExpositionError, match="line 2: not UTF-8"):
        parse(b'a 1\nb{x="\xff"} 2\n')


def test_a_long_line_is_quoted_only_in_part() -> None:
    with pytest.raises(ExpositionError) as caught:
        parse(b"!" * 10_000)
    assert len(str(caught.value)) < 120


def test_comments_give_metadata_under_the_names_as_exposed() -> None:
    body = r"""
# HELP nv_inference_request_success Number of \n requests \\
# TYPE nv_inference_request_success counter
nv_inference_request_success 23
# TYPE plain untyped
#HELP not_this one
# just a comment
# HELP quiet
# TYPE "dotted.name" gauge
# TYPE build info
# EOF
"""
    assert parse(body.encode()).metadata == {
        "nv_inference_request_success": Metadata("counter", "Number of \n requests \\"),
        "plain": Metadata("unknown", ""),
        "quiet": Metadata("unknown", ""),
        "dotted.name": Metadata("gauge", ""),
        "build": Metadata("gauge", ""),
    }


def test_an_empty_body_is_a_body_without_series() -> None:
    parsed = parse(b"")
    assert (parsed.series, parsed.values.size, dict(parsed.metadata)) == ((), 0, {})


def test_of_repeated_series_the_first_counts() -> None:
    parsed = parse(b'a{x="1",y="2"} 1\na{y="2",x="1"} 2\nb 3\na{y="2",x="1",z=""} 4\n')
    assert parsed.series == (Series("a", (("x", "1"), ("y", "2"))), Series("b", ()))
    assert parsed.values.tolist() == [1.0, 3.0]
    assert parsed.duplicates == 2


def test_creation_times_are_dropped_with_their_metadata() -> None:
    body = """
# TYPE early_created gauge
early_created 1.7e9
# TYPE early histogram
early_sum 1
# TYPE c_total counter
c_total 1
# TYPE c_created gauge
# HELP c_created creation time
c_created 1.7e9
# TYPE om counter
om_total 1
om_created 1.7e9
"""
    parsed = parse(body.encode())
    assert [s.name for s in parsed.series] == ["early_sum", "c_total", "om_total"]
    assert sorted(parsed.metadata) == ["c_total", "early", "om"]
    assert parsed.duplicates == 0


def test_a_real_metric_that_ends_in_created_stays() -> None:
    body = "# TYPE pods_created gauge\npods_created 3\n# TYPE g gauge\ng_created 1\n"
    body += "# TYPE jobs_total counter\n# TYPE jobs_created counter\njobs_created 5\n"
    assert [s.name for s in rows(body)] == ["pods_created", "g_created", "jobs_created"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2", "2.0"),
        ("2.0", "2.0"),
        ("0", "0.0"),
        ("-0", "0.0"),
        ("0.50", "0.5"),
        ("100000", "100000.0"),
        ("1000000", "1e+06"),
        ("1234567.5", "1.2345675e+06"),
        ("1e+06", "1e+06"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e100", "1e+100"),
        ("-2", "-2.0"),
        ("+Inf", "+Inf"),
        ("inf", "+Inf"),
        ("-Inf", "-Inf"),
        ("nan", "NaN"),
        ("many", "many"),
    ],
)
def test_bounds_are_written_one_way(text: str, normal: str) -> None:
    assert normalised_float(text) == normal


@given(st.floats(min_value=1e-12, max_value=1e10))
def test_bounds_are_written_as_client_libraries_write_them(number: float) -> None:
    assert normalised_float(repr(number)) == floatToGoString(number)  # type: ignore[no-untyped-call]  # prometheus_client does not say


def test_only_buckets_and_quantiles_are_normalised() -> None:
    body = """
# TYPE h histogram
h_bucket{le="2"} 1
h_sum{le="2"} 1
# TYPE s summary
s{quantile="1"} 1
# TYPE g gauge
g{quantile="1",le="2"} 1
untyped_bucket{le="2"} 1
# TYPE odd_bucket gauge
# TYPE odd gauge
odd_bucket{le="2"} 1
"""
    assert [s.labels for s in rows(body)] == [
        (("le", "2.0"),),
        (("le", "2"),),
        (("quantile", "1.0"),),
        (("le", "2"), ("quantile", "1")),
        (("le", "2.0"),),
        (("le", "2"),),
    ]


@pytest.mark.parametrize(
    ("body", "limits", "message"),
    [
        ("a 1\n", Limits(max_body_bytes=3), "the body has 4 bytes, more than the 3 allowed"),
        ("\n\n\n", Limits(max_lines=3), "more than the 3 lines"),
        ("a 1\nb 2\n", Limits(max_samples=1), "more than the 1 samples"),
        ('a{b="1",c="2"} 1', Limits(max_labels=1), "line 1: 2 labels in one series, more than the 1 allowed"),
        ('a{bcd="1"} 1', Limits(max_name_chars=2), "3 characters in a label name"),
        ('a{b="123"} 1', Limits(max_value_chars=2), "3 characters in a label value"),
        ("abc 1", Limits(max_name_chars=2), "a metric name longer than 2"),
        ("# HELP abc 1", Limits(max_name_chars=2), "a metric name longer than 2"),
    ],
)
def test_a_body_beyond_a_limit_is_refused(body: str, limits: Limits, message: str) -> None:
    with pytest.raises(BodyTooLarge, match=message):
        parse(body.encode(), limits)


def test_a_body_at_its_limits_is_read() -> None:
    limits = Limits(max_body_bytes=14, max_lines=2, max_samples=1, max_labels=1, max_name_chars=2, max_value_chars=3)
    assert parse(b'ab{cd="123"} 1', limits).values.tolist() == [1.0]


def test_a_long_help_is_cut() -> None:
    parsed = parse(b"# HELP a 123456", Limits(max_value_chars=3))
    assert parsed.metadata["a"].help == "123"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_scrape_errors(body: bytes) -> None:
    with contextlib.suppress(ScrapeError):
        parse(body)


FRAGMENTS = st.sampled_from(
    [
        "a",
        "up",
        "{",
        "}",
        '"',
        "=",
        ",",
        " ",
        "\n",
        "\\",
        "#",
        "# TYPE ",
        "# HELP ",
        "counter",
        "1",
        "e",
        "NaN",
        "le",
        "\t",
    ]
)


@given(st.lists(FRAGMENTS, max_size=40))
def test_almost_valid_text_raises_only_scrape_errors(fragments: list[str]) -> None:
    with contextlib.suppress(ScrapeError):
        parse("".join(fragments).encode())


LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.floats(allow_nan=False)


@given(st.dictionaries(st.tuples(LABEL_VALUES, LABEL_VALUES), NUMBERS, max_size=5), st.text("ab \\\n\"'", max_size=8))
def test_what_the_python_client_writes_is_read_back(samples: dict[tuple[str, str], float], help_text: str) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("load_ratio", f"h{help_text}h", ["model", "zone"], registry=registry)
    for labels, value in samples.items():
        gauge.labels(*labels).set(value)
    body = generate_latest(registry)
    assert rows(body) == {
        Series("load_ratio", labels_of({"model": model, "zone": zone})): value
        for (model, zone), value in samples.items()
    }
    assert parse(body).metadata == {"load_ratio": Metadata("gauge", f"h{help_text}h")}


def test_every_kind_of_the_python_client_is_read_back() -> None:
    registry = CollectorRegistry()
    Counter("c", "C", registry=registry).inc(3)
    Summary("s", "S", registry=registry).observe(2)
    Histogram("h", "H", buckets=(1, 2.5, 1e6), registry=registry).observe(2)
    parsed = parse(generate_latest(registry))
    assert dict(zip(parsed.series, parsed.values.tolist(), strict=True)) == {
        Series("c_total", ()): 3.0,
        Series("s_count", ()): 1.0,
        Series("s_sum", ()): 2.0,
        Series("h_bucket", (("le", "1.0"),)): 0.0,
        Series("h_bucket", (("le", "2.5"),)): 1.0,
        Series("h_bucket", (("le", "1e+06"),)): 1.0,
        Series("h_bucket", (("le", "+Inf"),)): 1.0,
        Series("h_count", ()): 1.0,
        Series("h_sum", ()): 2.0,
    }
    assert {name: m.type for name, m in parsed.metadata.items()} == {
        "c_total": "counter",
        "s": "summary",
        "h": "histogram",
    }


def test_the_vllm_capture(fixtures: Path) -> None:
    parsed = parse((fixtures / "vllm-0.32-llm.prom").read_bytes())
    chat = {"engine": "0", "model_name": "chat"}
    assert len(parsed.series) == 372  # 422 sample lines, 50 of them creation times
    assert len(parsed.metadata) == 54  # 92 families, 38 of them creation times
    assert parsed.duplicates == 0
    assert value_of(parsed, "process_cpu_seconds_total") == 7.47
    assert value_of(parsed, "process_start_time_seconds") == 1.79514452443e09
    assert value_of(parsed, "vllm:e2e_request_latency_seconds_bucket", le="+Inf", **chat) == 120.0
    assert value_of(parsed, "vllm:iteration_tokens_total_bucket", le="+Inf", **chat) == 632.0
    assert parsed.metadata["vllm:iteration_tokens_total"].type == "histogram"
    assert not [s.name for s in parsed.series if s.name.endswith("_created")]


def test_the_triton_capture(fixtures: Path) -> None:
    parsed = parse((fixtures / "triton-2.51-llm.prom").read_bytes())
    assert len(parsed.series) == 149
    assert len(parsed.metadata) == 20
    assert value_of(parsed, "nv_inference_request_success", model="llm", version="2") == 23.0
    assert parsed.metadata["nv_inference_request_success"] == Metadata(
        "counter", "Number of successful inference requests, all batch sizes"
    )


def test_lines_with_a_nul_are_left_out_and_the_others_count() -> None:
    body = b'# HELP a of\0a\n# TYPE a gauge\na 1\nb\0 2\nc{x="\0"} 3\nd 4\n'
    parsed = parse(body)
    assert [series.name for series in parsed.series] == ["a", "d"]
    assert parsed.values.tolist() == [1.0, 4.0]
    assert parsed.unstorable == (4, 5)
    assert parsed.metadata["a"].help == ""
