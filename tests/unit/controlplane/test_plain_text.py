"""What is shown is shown, everything else is an escape."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.plain_text import csv_cell, plain, plain_block, plain_json, plain_lines

HOSTILE = {
    "a\nb": r"a\nb",
    "a\r\nb": r"a\r\nb",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u2066x\u2069": r"\u2066x\u2069",
    "\u200b\ufeff": r"\u200b\ufeff",
    "\u2028\u2029\x85": r"\u2028\u2029\x85",
    "\0\x7f": r"\x00\x7f",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_is_not_shown_is_an_escape(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("text", ["", "latency 5 µs – 93 °C", "模型", "naïve 🚀", r"C:\n", "a  b"])
def test_what_is_shown_stays(text: str) -> None:
    assert plain(text) == text


@given(st.text())
def test_nothing_but_what_is_shown_is_left(text: str) -> None:
    assert plain(text).isprintable()
    assert all(line.isprintable() for line in plain_lines(text))
    assert plain_block(text).replace("\n", "").replace("\t", "").isprintable()


DATA = st.recursive(st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c), max_leaves=5)


@given(DATA)
def test_json_says_the_same_with_escapes_of_its_own(data: object) -> None:
    for indent in (None, 2):
        text = plain_json(data, indent)
        assert json.loads(text) == data
        assert all(line.isprintable() for line in text.split("\n"))


def test_lines_are_those_of_a_text() -> None:
    assert plain_lines("a\n\tb\x1b\r\nc") == ["a", "    b\\x1b", "c"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20A1"]
)
def test_a_text_in_a_csv_file_is_never_a_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_numbers_in_a_csv_file_stay_numbers() -> None:
    assert (csv_cell(-1.5), csv_cell(0), csv_cell("a=b"), csv_cell(None)) == (-1.5, 0, "a=b", "")


ROOT = Path(__file__).parents[3]


def test_every_file_that_writes_csv_guards_its_cells() -> None:
    writers = [
        path
        for name in ("alerts", "collectors", "controlplane", "dashboards", "promql")
        for path in sorted((ROOT / name).rglob("*.py"))
        if re.search(r"\bcsv\.(writer|DictWriter)\(", path.read_text())
    ]
    assert len(writers) == 3
    assert [path for path in writers if "csv_cell(" not in path.read_text()] == []
