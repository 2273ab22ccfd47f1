"""docs/reference/promql.md says what the engine supports and refuses, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.evaluation.aggregate import AGGREGATIONS
from controlplane.metrics.promql.evaluation.binary import OPERATORS
from controlplane.metrics.promql.functions.registry import FUNCTIONS
from controlplane.metrics.promql.syntax.vocabulary import (
    EXPERIMENTAL_AGGREGATIONS,
    EXPERIMENTAL_FUNCTIONS,
    FILL_MODIFIERS,
    NATIVE_HISTOGRAM_FUNCTIONS,
    REMOVED_FUNCTIONS,
)
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from promql.limits import MAX_EXPRESSION, MAX_OPERATORS
from promql.regex import LARGE_BYTES
from promql.syntax import EXPERIMENTAL_MODIFIERS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "promql.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [re.split(r" \| ", line.strip("| ")) for line in lines[2:]]


def first_column(heading: str) -> list[str]:
    return [word for row in rows(heading) for word in re.findall(r"`([^`]+)`", row[0])]


def test_every_operator_aggregation_and_function_is_named_once() -> None:
    for heading, names in (("Operators", OPERATORS), ("Aggregations", AGGREGATIONS), ("Functions", FUNCTIONS)):
        assert sorted(first_column(heading)) == sorted(names)


def test_everything_refused_is_named() -> None:
    refused = EXPERIMENTAL_FUNCTIONS | NATIVE_HISTOGRAM_FUNCTIONS | EXPERIMENTAL_AGGREGATIONS
    assert sorted(first_column("Refused")) == sorted(
        refused | FILL_MODIFIERS | EXPERIMENTAL_MODIFIERS | set(REMOVED_FUNCTIONS)
    )
    assert not refused & set(FUNCTIONS)


@pytest.mark.parametrize("row", rows("Refused"), ids=lambda row: row[0])
def test_what_is_refused_is_refused_by_its_name_and_for_that_reason(row: list[str]) -> None:
    form, example, why = row
    with pytest.raises(QueryError) as caught:
        PromqlEngine(SeriesStore()).instant(example.strip("`"), 0)
    assert caught.value.kind == "bad_data"
    assert form.strip("`") in str(caught.value) and why.partition(",")[0] in str(caught.value)


@pytest.mark.parametrize("row", rows("Selectors and literals"), ids=lambda row: row[1])
def test_the_examples_of_selectors_are_queries(row: list[str]) -> None:
    PromqlEngine(SeriesStore()).instant(row[1].strip("`"), 0)


def test_the_errors_shown_are_the_errors_given() -> None:
    shown = re.findall(r"\$ cp query '(.*)'\ncontrolplane: invalid parameter \"query\": (.*)", PAGE)
    assert len(shown) == 2
    for query, error in shown:
        with pytest.raises(QueryError) as caught:
            PromqlEngine(SeriesStore()).instant(query, 0)
        assert str(caught.value) == error


def test_the_bounds_are_those_of_the_code() -> None:
    limits = EngineLimits()
    for bound in (f"{MAX_EXPRESSION:,} characters", f"{MAX_OPERATORS:,} operators", f"{limits.max_points:,}"):
        assert bound in section("Differences from Prometheus 3")
    assert f"({limits.max_samples // 10**6} million)" in PAGE and f"{limits.timeout_s:g} s" in PAGE


def test_the_pattern_said_to_be_too_large_is() -> None:
    assert f"may take {LARGE_BYTES >> 20} MiB of memory: `\\pL{{1000}}` is too large" in PAGE
    with pytest.raises(QueryError, match="too large"):
        PromqlEngine(SeriesStore()).instant(r"x{a=~`\pL{1000}`}", 0)
