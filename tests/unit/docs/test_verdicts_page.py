"""docs/verdicts.md: its worked examples are what the code says, to the last digit."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from controlplane.rollout.comparison.evidence import TOLERATED, Shape, Stratum, begun, looked
from controlplane.rollout.comparison.judging import judged
from controlplane.rollout.comparison.metrics import KINDS
from controlplane.rollout.comparison.numbers import percent, points
from controlplane.rollout.comparison.tally import Tally, share
from controlplane.rollout.options import Comparison, Metric
from controlplane.rollout.planning.building import DEFAULT_TOLERANCES
from controlplane.rollout.work.look import LOOK_S, PERIODS

PAGE = (Path(__file__).parents[3] / "docs" / "verdicts.md").read_text(encoding="utf-8")
TOLERANCE, LIMIT = 0.005, 600.0
COLUMNS = ("looks", "ours", "theirs", "equal", "tolerated", "outcome", "sentence")
ROWS = [
    dict(zip(COLUMNS, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \| [\d,]+ of ", line)
]


def part(text: str) -> Tally:
    bad, of = (float(number.replace(",", "")) for number in text.split(" of "))
    return share(bad, of)


def test_there_are_examples_of_both_outcomes() -> None:
    assert {row["outcome"] for row in ROWS} == {"pass", "fail"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["ours"])
def test_a_worked_example_is_true(row: dict[str, str]) -> None:
    ours, theirs = part(row["ours"]), part(row["theirs"])
    evidence = begun(Shape.SHARE, TOLERANCE, [{"": theirs}] * PERIODS)
    for _ in range(int(row["looks"])):
        evidence = looked(evidence, [Stratum("", ours, theirs)])
    assert f"{math.exp(evidence.log_equal):.3g}" == f"{float(row['equal']):.3g}"
    assert f"{math.exp(evidence.log_tolerated):.3g}" == row["tolerated"]
    sample = judged(Comparison(Metric.ERRORS, TOLERANCE), evidence, LIMIT, ("v2", "v1"))
    assert (sample.outcome.value, sample.words) == (row["outcome"], row["sentence"])


def test_the_numbers_of_the_text_are_those_of_the_code() -> None:
    assert f"{PERIODS} earlier minutes" in PAGE
    assert f"at an e-value of {TOLERATED:g}" in PAGE
    assert f"within\n{LOOK_S:g} seconds" in PAGE


def test_every_metric_is_in_the_table_with_its_tolerance() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| (share|ranks) \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert rows == [(metric.value, *told(metric)) for metric in Metric]


def told(metric: Metric) -> tuple[str, str]:
    tolerance = DEFAULT_TOLERANCES[metric]
    if KINDS[metric].shape is Shape.SHARE:
        return "share", f"{points(tolerance)} point{'' if points(tolerance) == '1' else 's'}"
    return "ranks", f"{percent(0.5 + tolerance)} of pairs"
