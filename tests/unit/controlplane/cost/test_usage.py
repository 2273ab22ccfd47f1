"""The usage report: what is known of each model between two reports, and the text that people get."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from controlplane.cost import BudgetReport
from controlplane.cost.usage import (
    MOST_MODELS,
    LedgerTotal,
    ModelUsage,
    Period,
    totals_from_notes,
    totals_to_notes,
    usage_notice,
    usages,
)

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = Period(*(datetime(2026, 11, day, 8, tzinfo=BERLIN).timestamp() for day in (23, 30)))
CHAT = BudgetReport("chat", "2026-11", 3410.0, 9000.0, 8000.0, 3530.0, 1.0, 0.0)
EMBED = BudgetReport("embed", "2026-11", 770.0, None, None, None, 1.0, 0.0)


def test_usage_is_the_difference_of_two_totals() -> None:
    found = usages(
        {"embed": 23_400.2, "chat": 1_180_000.0},
        {"chat": LedgerTotal(3600.0, 10.0), "embed": LedgerTotal(0.0, 0.0)},
        {"chat": LedgerTotal(3600.0 * 337, 850.0), "embed": LedgerTotal(3600.0 * 76, 190.0)},
        [EMBED, CHAT],
    )
    assert found == [
        ModelUsage("chat", 1_180_000.0, 336.0, 840.0, CHAT),
        ModelUsage("embed", 23_400.2, 76.0, 190.0, EMBED),
    ]
    notice = usage_notice("prod", WEEK, found, "Europe/Berlin")
    assert (notice.title, notice.severity) == (
        "Usage of prod from 2026-11-23 08:00 to 2026-11-30 08:00 Europe/Berlin",
        "info",
    )
    assert notice.text.splitlines() == [
        "All models: 1,203,400 requests, 412.0 GPU hours, $1,030.00",
        "chat: 1,180,000 requests, 336.0 GPU hours, $840.00; 2026-11 so far $3,410.00 of $9,000.00, $3,530.00 expected",
        "embed: 23,400 requests, 76.0 GPU hours, $190.00; 2026-11 so far $770.00",
    ]


@pytest.mark.parametrize("before", [{}, {"chat": LedgerTotal(7200.0, 20.0)}])
def test_without_an_earlier_total_that_fits_gpu_hours_are_unknown(before: dict[str, LedgerTotal]) -> None:
    (found,) = usages({}, before, {"chat": LedgerTotal(3600.0, 10.0)}, [CHAT])
    assert found == ModelUsage("chat", None, None, None, CHAT)
    assert usage_notice("prod", WEEK, [found], "UTC").text == (
        "chat: requests unknown, GPU hours unknown; 2026-11 so far $3,410.00 of $9,000.00, $3,530.00 expected"
    )


def test_a_fleet_without_a_ledger_reports_requests() -> None:
    assert usage_notice("prod", WEEK, usages({"chat": 12.0}, {}, {}, []), "UTC").text == (
        "chat: 12 requests, GPU hours unknown"
    )
    assert usage_notice("prod", WEEK, [], "UTC").text == "No model had requests, and the ledger has no GPU hours."


def test_a_large_fleet_is_summed_up() -> None:
    found = usages({f"m{number:02}": float(number) for number in range(40)}, {}, {}, [])
    lines = usage_notice("prod", WEEK, found, "UTC").text.splitlines()
    assert len(lines) == MOST_MODELS + 2
    assert lines[0] == "All models: 780 requests, GPU hours unknown"
    assert lines[1] == "m39: 39 requests, GPU hours unknown"
    assert lines[-1] == "15 more models: 105 requests, GPU hours unknown"


def test_totals_survive_as_notes_and_what_is_damaged_is_left_out() -> None:
    totals = {"chat": LedgerTotal(1.5, 2.5), "embed": LedgerTotal(0.0, 0.0)}
    assert totals_from_notes(totals_to_notes(totals)) == totals
    damaged: tuple[object, ...] = (None, [], "x", {"chat": 1, "embed": [1], "e": [1, "2"], "f": {"a": 1}})
    for notes in damaged:
        assert totals_from_notes(notes) == {}
