"""`models[].slos` and `owners:`: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config.slos import BOUNDS
from controlplane.errors import ConfigErrors
from controlplane.fleet.slo_config import configured_slos
from controlplane.gateway.telemetry import families
from tests.fakes.fleet_text import parse_fleet

HEAD = """
fleet: {name: a}
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    versions: {v1: {}}
    slos:
"""
LATENCY = "{name: fast, objective: 99, latency: {metric: %s, below: %s}}"


def fleet(tmp_path: Path, *slos: str, more: str = "") -> object:
    return parse_fleet(HEAD + "".join(f"      - {slo}\n" for slo in slos) + more, tmp_path / "fleet.yaml")


def test_bounds_are_those_of_the_gateway() -> None:
    assert BOUNDS == {"e2e": families.DURATION_BOUNDS, "ttft": families.FIRST_BOUNDS}


def test_an_slo_has_a_window_of_thirty_days_by_default(tmp_path: Path) -> None:
    parsed = parse_fleet(
        HEAD
        + "      - {name: up, objective: 99.95, availability: {}}\n"
        + "      - {name: fast, objective: 99, window: 7d, latency: {metric: ttft, below: 500ms}}\n",
        tmp_path / "fleet.yaml",
    )
    up, fast = configured_slos(parsed)
    assert (up.model, up.name, up.objective, up.window_s, up.metric) == ("chat", "up", 0.9995, 30 * 86400.0, "")
    assert up.budget == 0.0005 and up.meaning == "answered without a failure"
    assert (fast.window_s, fast.metric, fast.below_s) == (7 * 86400.0, "ttft", 0.5)
    assert fast.meaning == "first token within 500ms"


@pytest.mark.parametrize(
    ("slo", "sentence"),
    [
        ("{name: up, objective: 99.9}", "needs exactly one of latency: {metric: ttft, below: 1s} and availability: {}"),
        ("{name: up, objective: 100, availability: {}}", "objective: expected less than 100"),
        ("{name: up, objective: 0, availability: {}}", "objective: expected more than 0"),
        ("{name: up, objective: 99, window: 1h, availability: {}}", "window: expected 1d or more"),
        (LATENCY % ("e2e", "2200ms"), "latency.below: 2s200ms is between two buckets of the histogram"),
        (LATENCY % ("e2e", "2200ms"), "use 2s or 3s"),
        (LATENCY % ("itl", "1s"), "latency.metric: expected one of"),
        ("{name: a b, objective: 99, availability: {}}", "slos[0].name"),
    ],
)
def test_a_wrong_slo_is_refused_with_the_cure(tmp_path: Path, slo: str, sentence: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        fleet(tmp_path, slo)
    assert sentence in str(caught.value)


def test_two_slos_of_a_model_have_two_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"slos\[1\].name: 'up' is taken by slos\[0\]"):
        fleet(tmp_path, *["{name: up, objective: 99, availability: {}}"] * 2)


def test_an_owner_is_plain_text(tmp_path: Path) -> None:
    slo = "{name: up, objective: 99, availability: {}}"
    with pytest.raises(ConfigErrors, match="is plain text and no template"):
        fleet(tmp_path, slo, more="owners: {gpu: 'x {{ $value }}'}\n")
