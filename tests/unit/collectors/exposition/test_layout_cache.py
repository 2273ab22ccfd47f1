"""The layout cache: always equal to a full parse, and the same Layout object while only values change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import BodyTooLarge, ExpositionError, ScrapeError
from collectors.exposition.layout_cache import LayoutCache, Shapes
from collectors.exposition.parser import Limits, Parsed, parse
from collectors.samples import Layout


class Builder:
    """Builds plain layouts, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, parsed: Parsed) -> Layout:
        self.calls += 1
        return Layout(raw=parsed.series, metadata=parsed.metadata)


BODY = b"""# HELP a A
# TYPE a gauge
a{x="1"} 1

a{x="2"} 2.5
# TYPE h histogram
h_bucket{le="1"} 7
h_created 1.7e9
a{x="1"} 9
"""


def test_new_values_of_known_lines_yield_the_same_layout() -> None:
    build = Builder()
    cache = LayoutCache(build)
    first, values = cache.read(BODY)
    assert values.tolist() == [1.0, 2.5, 7.0]
    again, values = cache.read(BODY.replace(b" 2.5", b" -123456.75").replace(b" 7\n", b" NaN\n"))
    assert again is first
    assert values.tolist()[:2] == [1.0, -123456.75]
    assert np.isnan(values[2])
    assert build.calls == 1
    assert cache.duplicates == 1


@pytest.mark.parametrize(
    "other",
    [
        BODY.replace(b"\n", b"\r\n"),
        BODY + b"\n# a comment\n",
        BODY.replace(b" 1\n", b" 1 \n"),
        BODY.replace(b" 1\n", b" 1 1700000000000\n"),
        BODY.replace(b'{x="2"} 2.5', b'{ x="2" }\t2.5'),
        BODY.replace(b'a{x="2"} 2.5', b' a{x="2"}  2.5 # {t="1"} 1'),
        BODY[:-1],
    ],
    ids=["crlf", "comment", "trailing blank", "timestamp", "blanks", "exemplar", "no line feed"],
)
def test_lines_written_otherwise_yield_the_same_layout_and_values(other: bytes) -> None:
    build = Builder()
    cache = LayoutCache(build)
    first, values = cache.read(BODY)
    for body in (other, other, BODY, BODY):
        layout, other_values = cache.read(body)
        assert layout is first
        assert other_values.tolist() == values.tolist()
    assert build.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        BODY + b"b 1\n",
        BODY.replace(b'a{x="2"} 2.5\n', b""),
        BODY.replace(b'x="2"', b'x="3"'),
        BODY.replace(b"# HELP a A", b"# HELP a B"),
        BODY.replace(b"# TYPE a gauge", b"# TYPE a counter"),
        BODY.replace(b'a{x="2"} 2.5', b'#{x="2"} 2.5'),
        BODY.replace(b"# TYPE h histogram", b"h 5"),
        BODY.replace(b'a{x="1"} 1', b'a{x="9"} 1'),
    ],
    ids=["line more", "line less", "label", "help", "type", "commented out", "comment to sample", "no duplicate"],
)
def test_another_shape_is_another_layout(other: bytes) -> None:
    cache = LayoutCache(Builder())
    first, _ = cache.read(BODY)
    layout, values = cache.read(other)
    expected = parse(other)
    assert layout is not first
    assert (layout.raw, layout.metadata) == (expected.series, expected.metadata)
    assert values.tolist() == expected.values.tolist()


@pytest.mark.parametrize("value", [b"1_0", b"0x1", b"", b"1e", b"\xd9\xa1", b"1\x0b", b"ok", b"1,5", b"1 2 3"])
def test_a_malformed_value_on_a_known_line_is_refused_and_the_next_body_is_read(value: bytes) -> None:
    build = Builder()
    cache = LayoutCache(build)
    first, _ = cache.read(b'a 1\nb{c="d"} 2\n')
    with pytest.raises(ExpositionError) as caught:
        cache.read(b'a 1\nb{c="d"} ' + value + b"\n")
    assert caught.value.line == 2
    layout, values = cache.read(b'a 3\nb{c="d"} 4\n')
    assert layout is first
    assert values.tolist() == [3.0, 4.0]


def test_limits_hold_on_known_lines_too() -> None:
    cache = LayoutCache(Builder(), Limits(max_body_bytes=8))
    cache.read(b"a 1\n")
    with pytest.raises(BodyTooLarge):
        cache.read(b"a 1.000000000\n")


def test_a_builder_that_loses_a_column_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a layout of 0 columns for 1 series"):
        LayoutCache(lambda parsed: Layout(raw=())).read(b"a 1\n")


def test_an_empty_body_and_a_body_of_one_line_are_cached() -> None:
    build = Builder()
    cache = LayoutCache(build)
    for body in (b"", b"", b"\n", b"a 1", b"a 2", b"b 1", b"# c\n"):
        layout, values = cache.read(body)
        assert layout.raw == parse(body).series
        assert values.tolist() == parse(body).values.tolist()
    assert build.calls == 4  # b"" twice and b"\n" share one, then a, b, and nothing again


def test_the_captures_are_read_by_their_values_alone(fixtures: Path) -> None:
    for name in ("vllm-0.32-llm.prom", "triton-2.51-llm.prom"):
        body = (fixtures / name).read_bytes()
        build = Builder()
        cache = LayoutCache(build)
        first, _ = cache.read(body)
        layout, values = cache.read(body)
        assert layout is first
        assert values.tolist() == pytest.approx(parse(body).values.tolist(), nan_ok=True)
        assert cache._shape is not None
        assert cache._shape.values(body.split(b"\n")) is not None


def test_targets_with_the_same_lines_share_a_shape_and_neither_layout_nor_values() -> None:
    shapes = Shapes()
    one, two, other = (LayoutCache(Builder(), shapes=shapes) for _ in range(3))
    layouts = [one.read(BODY)[0], two.read(BODY.replace(b" 7\n", b" 8\n"))[0], other.read(b"b 1\n")[0]]
    assert one._shape is two._shape
    assert other._shape is not one._shape
    assert layouts[0] is not layouts[1]
    for value in (b" 9\n", b" 10\n"):
        body = BODY.replace(b" 7\n", value)
        assert one.read(body)[1].tolist() == parse(body).values.tolist()
        layout, values = two.read(BODY)
        assert layout is layouts[1]
        assert values.tolist() == [1.0, 2.5, 7.0]


def test_a_shape_is_forgotten_with_the_last_target_that_has_it() -> None:
    shapes = Shapes()
    one, two = LayoutCache(Builder(), shapes=shapes), LayoutCache(Builder(), shapes=shapes)
    one.read(BODY)
    two.read(BODY)
    one.read(b"a 1\n")
    assert len(shapes) == 2
    two.read(b"a 2\n")
    assert len(shapes) == 1


@pytest.mark.parametrize("line", [b"3", b'a{x="2"}3', b"a", b"a\t3", b' a{x="2"} 3', b'a{x="2"} 3 '])
def test_a_line_whose_head_is_another_is_never_read_as_a_value(line: bytes) -> None:
    cache = LayoutCache(Builder())
    cache.read(BODY)
    body = BODY.replace(b'a{x="2"} 2.5', line)
    try:
        expected = parse(body).values.tolist()
    except ExpositionError:
        with pytest.raises(ExpositionError):
            cache.read(body)
    else:
        assert cache.read(body)[1].tolist() == expected


def test_a_flood_of_lines_is_refused_before_it_is_split() -> None:
    cache = LayoutCache(Builder(), Limits(max_lines=3))
    assert cache.read(b"a 1\n\n")[1].tolist() == [1.0]
    with pytest.raises(BodyTooLarge, match="more than the 3 lines allowed"):
        cache.read(b"a 1\n\n\n")


LINES = st.sampled_from(
    [
        b"# TYPE a counter",
        b"# HELP a some help 1",
        b"# EOF",
        b"",
        b" ",
        b"a ",
        b'a{x="y z"} ',
        b'a{x="\\" 5"} ',
        b'a{x="y z"}',
        b"a_created ",
        b'h_bucket{le="2"} ',
        b'h_bucket{le="2.0"} ',
        b"# TYPE h histogram",
        b"\ta  ",
    ]
)
VALUES = st.sampled_from([b"1", b"2.5", b"+Inf", b"-1e9", b"0", b"12345678901", b"1 5", b"3 ", b"4 # {} 1", b"x", b""])
BODIES = st.lists(st.tuples(LINES, VALUES), max_size=8)


def written(lines: list[tuple[bytes, bytes]], ending: bytes) -> bytes:
    return ending.join(line + value if line[:1] != b"#" and line.strip() else line for line, value in lines) + ending


@settings(max_examples=300)
@given(BODIES, st.data())
def test_the_cache_always_equals_a_full_parse(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    cache = LayoutCache(Builder())
    for _ in range(4):
        ending = data.draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
        body = written(lines, ending)
        expected: Parsed | str
        try:
            expected = parse(body)
        except ScrapeError as error:
            expected = str(error)
        try:
            layout, values = cache.read(body)
        except ScrapeError as error:
            assert str(error) == expected
        else:
            assert isinstance(expected, Parsed)
            assert layout.raw == expected.series
            assert layout.metadata == expected.metadata
            assert values.tolist() == expected.values.tolist()
            assert cache.duplicates == expected.duplicates
        change = data.draw(st.sampled_from(["values", "insert", "remove"]))
        if change == "values":
            lines = [(line, data.draw(VALUES)) for line, _ in lines]
        elif change == "insert":
            at = data.draw(st.integers(0, len(lines)))
            lines = [*lines[:at], data.draw(st.tuples(LINES, VALUES)), *lines[at:]]
        else:
            lines = lines[1:]


NUMBERS = st.one_of(
    st.floats().map(lambda value: repr(value).replace("nan", "NaN").replace("inf", "+Inf").replace("-+", "-").encode()),
    st.integers(-(2**70), 2**70).map(lambda value: str(value).encode()),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:.20e}".encode()),
    st.sampled_from(
        [
            b"-0",
            b"-0.0",
            b"0",
            b"NaN",
            b"nan",
            b"-NaN",
            b"Inf",
            b"1e999",
            b"-1e999",
            b"1e-400",
            b"007",
            b"1.",
            b"+1",
            b".5",
        ]
    ),
    st.sampled_from(
        [b"9007199254740993", b"18446744073709551616", b"2.4703282292062327e-324", b"2.2250738585072011e-308"]
    ),
)


@settings(max_examples=500)
@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_a_known_line_reads_a_number_to_the_last_bit_as_float_does(numbers: list[bytes]) -> None:
    cache = LayoutCache(Builder())
    cache.read(b"".join(b"m%d 1\n" % place for place in range(len(numbers))))
    assert cache._shape is not None
    lines = [b"m%d %s" % (place, number) for place, number in enumerate(numbers)]
    values = cache._shape.values([*lines, b""])
    assert values is not None
    expected = np.array([float(number) for number in numbers])
    missing = np.isnan(expected)
    assert np.isnan(values).tolist() == missing.tolist()
    assert values[~missing].tobytes() == expected[~missing].tobytes()
