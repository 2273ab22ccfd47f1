from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from controlplane import web
from controlplane.web import format as f
from controlplane.web.format import commands, measured, strength


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0.0, "0"),
        (0.0123456, "0.0123"),
        (93.04, "93"),
        (999.4, "999"),
        (1234.5, "1234"),
        (12345678.0, "12345678"),
        (-1.5, "-1.5"),
    ],
)
def test_a_number_has_three_digits_and_unknown_is_no_zero(value: float | None, text: str) -> None:
    assert f.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3.456, "3.46"), (9999.0, "9999"), (10_000.0, "10k"), (763_600.0, "764k"), (3_900_000.0, "3.9M")],
)
def test_a_large_number_is_short(value: float | None, text: str) -> None:
    assert f.short(value) == text


def test_units() -> None:
    assert f.number(93.0, " °C") == "93 °C"
    assert (f.percent(0.0), f.percent(0.123456), f.percent(1.0)) == ("0 %", "12.3 %", "100 %")
    assert (f.seconds(0.0125), f.seconds(0.9994), f.seconds(4.98)) == ("12.5 ms", "999 ms", "4.98 s")
    assert f.gibibytes(80 * 2**30) == "80 GiB"


def test_unknown_is_a_dash_in_every_unit() -> None:
    assert {f.percent(None), f.seconds(None), f.gibibytes(None), f.clock(None), f.between(None, None)} == {"–"}
    assert f.seconds(math.nan) == "–"


def test_times_are_utc() -> None:
    at = "2027-01-15T09:00:00.500+01:00"
    assert f.utc(at) == "2027-01-15 08:00:00"
    assert f.clock(at) == f'<time datetime="{at}">2027-01-15 08:00:00</time>'


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("2027-01-15T08:00:00Z", "0s"),
        ("2027-01-15T08:00:59Z", "59s"),
        ("2027-01-15T08:03:12Z", "3m 12s"),
        ("2027-01-15T10:00:05Z", "2h 5s"),
        ("2027-01-18T08:30:05Z", "3d 30m"),
        ("2027-01-15T07:59:00Z", "0s"),  # a clock that went back
    ],
)
def test_durations_have_two_units(end: str, text: str) -> None:
    assert f.between("2027-01-15T08:00:00Z", end) == text


@pytest.mark.parametrize("text", ["javascript:alert(1)", "data:text/html,x", "docs/X.md", "//evil.example", ""])
def test_only_http_becomes_a_link(text: str) -> None:
    assert not f.is_link(text)
    assert f.is_link("https://runbooks.example/X")


@pytest.mark.parametrize(
    ("seconds", "samples", "text"),
    [
        (None, None, "–"),
        (0.7213, 10.2, "~700 ms"),
        (0.7213, 50.0, "~720 ms"),
        (0.7213, 100.0, "721 ms"),
        (0.7213, None, "721 ms"),
        (12.34, 3.0, "~10 s"),
    ],
)
def test_a_p99_has_the_digits_that_so_many_requests_give_it(
    seconds: float | None, samples: float | None, text: str
) -> None:
    assert f.p99(seconds, samples) == text


@pytest.mark.parametrize(("samples", "few"), [(None, False), (100.0, False), (99.4, True)])
def test_few_requests_are_told(samples: float | None, few: bool) -> None:
    assert f.is_few(samples) is few


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(0.081, "ratio", "8.1 %"), (0.0212, "seconds", "21.2 ms"), (212.0, "tokens", "212"), (None, "ratio", "–")],
)
def test_a_sample_is_in_its_unit(value: float | None, unit: str, words: str) -> None:
    assert measured(value, unit) == words


@pytest.mark.parametrize(
    ("evidence", "fails_at", "share"),
    [(1.0, 600.0, 0.0), (0.2, 600.0, 0.0), (600.0, 600.0, 1.0), (1e9, 600.0, 1.0), (600.0**0.5, 600.0, 0.5)],
)
def test_evidence_is_shown_on_a_logarithmic_scale(evidence: float, fails_at: float, share: float) -> None:
    assert strength(evidence, fails_at) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("run `cp status` now", "run <code>cp status</code> now"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("one ` alone", "one ` alone"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("<script>", "&lt;script&gt;"),
    ],
)
def test_commands_in_a_sentence_are_code_and_the_rest_is_text(text: str, html: str) -> None:
    assert str(commands(text)) == html


def test_no_page_shows_the_backquotes_of_a_sentence() -> None:
    pages = sorted(Path(web.__file__).parent.rglob("templates/**/*.html"))
    cell = re.compile(r"{{ ([^}]*\bsentence\b[^}]*) }}")
    shown = [(page.name, found) for page in pages for found in cell.findall(page.read_text(encoding="utf-8"))]
    assert len(shown) > 5

    def fit(expression: str) -> bool:
        # An alert's history has sentences of rules and no commands.
        return "| commands" in expression or "| bare" in expression or expression == "h.sentence | happened"

    assert [one for one in shown if not fit(one[1])] == []


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_length_that_is_no_number_is_unknown(value: float | None) -> None:
    assert f.duration(value) == "–"
