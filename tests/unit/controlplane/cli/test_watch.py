"""What the command line says of alerts."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.watch import _change, _print_alert, _told


def shown(**fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "Hot",
        "state": "firing",
        "annotations": {"summary": "91 °C"},
        "labels": {"gpu": "0"},
        "value": 91.0,
        "runbook": None,
        "simulated": False,
        "unknown_since": None,
        "away": [],
        "history": [],
    }
    return whole | fields


def test_what_is_over_is_told_in_the_past() -> None:
    assert [_told(shown(state=state), "summary") for state in ("firing", "pending", "resolved")] == [
        "91 °C",
        "91 °C",
        "was: 91 °C",
    ]
    assert _told(shown(state="resolved"), "description") == ""


def test_a_change_of_knowledge_is_no_change_of_state() -> None:
    assert _change({"before": "pending", "after": "firing"}) == "pending -> firing"
    assert _change({"before": "firing", "after": "firing"}) == "firing"


def test_an_unknown_alert_says_since_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    _print_alert(shown(unknown_since="2027-01-15T08:00:00.000Z", away=["dcgm/n1:9400", "nvml/n1"]))
    told = capsys.readouterr().out
    assert (
        "unknown since 2027-01-15T08:00:00.000Z: no data from dcgm/n1:9400, nvml/n1; it keeps its state until data says"
        in told
    )
