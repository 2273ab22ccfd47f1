"""Error budgets: what is known, what is learnt, and when a budget is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.interfaces import VectorSample
from alerts.packs.slos import Slo
from collectors.samples import labels_of
from controlplane.fleet.slos import SloReader, slo_view
from controlplane.fleet.view import rfc3339
from controlplane.metrics.promql.values import QueryValue, Vector
from tests.fakes.fleet_text import parse_fleet

DAY_S = 86400.0
NOW = 1_800_000_000.0
UP = Slo("chat", "up", objective=0.999, window_s=30 * DAY_S)
FLEET = """
fleet: {name: a}
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    versions: {v1: {}}
    slos:
      - {name: up, objective: 99.9, availability: {}}
      - {name: fast, objective: 99, latency: {metric: e2e, below: 2s}}
  - {name: embed, stable: v1, traffic: {driver: none}, versions: {v1: {}}}
"""


def numbers(**values: float) -> dict[str, dict[tuple[str, str], float]]:
    return {name: {("chat", "up"): value} for name, value in values.items()}


@pytest.mark.parametrize(
    ("known", "state", "exhausted_after_s"),
    [
        ({}, "unknown", None),
        ({"burn": 20.0}, "unknown", None),
        ({"remaining": 0.9, "observed": 9 * DAY_S, "burn": 0.5}, "learning", None),
        ({"remaining": 0.9, "observed": 29.9 * DAY_S, "burn": 0.5}, "good", None),
        ({"remaining": 0.9, "observed": 29.9 * DAY_S}, "good", None),
        ({"remaining": 0.5, "observed": 30 * DAY_S, "burn": 1.0}, "good", None),
        ({"remaining": 0.5, "observed": 30 * DAY_S, "burn": 5.0}, "burning", 3 * DAY_S),
        ({"remaining": 0.5, "observed": 2 * DAY_S, "burn": 5.0}, "burning", 3 * DAY_S),
        ({"remaining": 0.0, "observed": 30 * DAY_S, "burn": 5.0}, "spent", None),
        ({"remaining": -2.0, "observed": 30 * DAY_S, "burn": 0.0}, "spent", None),
    ],
)
def test_the_state_of_a_budget(known: dict[str, float], state: str, exhausted_after_s: float | None) -> None:
    view = slo_view(UP, numbers(**known), NOW)
    assert view.state == state
    assert view.burn_rate == known.get("burn")
    assert view.exhausted_at == rfc3339(None if exhausted_after_s is None else NOW + exhausted_after_s)


def test_the_recorded_part_is_never_longer_than_the_window() -> None:
    assert slo_view(UP, numbers(observed=31 * DAY_S), NOW).observed_seconds == 30 * DAY_S


class Answers:
    """Queries that return one value for the SLO `up`, and remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        assert at == NOW
        self.asked.append(expr)
        value = float("nan") if "burn" in expr else 0.25
        return Vector(at, [VectorSample(labels_of({"model": "chat", "slo": "up"}), value)])


class Clock:
    """A clock that stands still."""

    def now(self) -> float:
        return NOW


async def test_every_slo_is_read_by_four_queries(tmp_path: Path) -> None:
    fleet, answers = parse_fleet(FLEET, tmp_path / "fleet.yaml"), Answers()
    found = await SloReader(lambda: fleet, answers, Clock()).slos()
    assert [(one.model, one.name, one.state, one.budget_remaining_ratio) for one in found.items] == [
        ("chat", "up", "learning", 0.25),
        ("chat", "fast", "unknown", None),
    ]
    assert (found.items[1].metric, found.items[1].below_seconds) == ("e2e", 2.0)
    assert found.items[0].burn_rate is None, "NaN is unknown"
    assert len(answers.asked) == 4
    assert all(expr.startswith("max by (model, slo) (last_over_time(slo:") for expr in answers.asked)


async def test_without_slos_nothing_is_asked(tmp_path: Path) -> None:
    fleet, answers = parse_fleet(FLEET, tmp_path / "fleet.yaml"), Answers()
    assert (await SloReader(lambda: fleet, answers, Clock()).slos("embed")).items == ()
    assert answers.asked == []
