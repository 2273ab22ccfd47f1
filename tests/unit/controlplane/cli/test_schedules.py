"""The verb `schedules`."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run

CLEANING = {
    "name": "housekeeping",
    "cron": "30 3 * * *",
    "timezone": "UTC",
    "shift_seconds": 0.0,
    "catch_up_seconds": 86400.0,
    "next_at": "2027-01-16T03:30:00.000Z",
    "last": None,
    "runs": 0,
    "failures": 0,
    "missed": 0,
}
REPORT = {
    **CLEANING,
    "name": "usage-report",
    "cron": "0 8 * * mon",
    "timezone": "Europe/Berlin",
    "last": {
        "due_at": "2027-01-11T07:00:00.000Z",
        "started_at": "2027-01-11T07:00:02.000Z",
        "finished_at": "2027-01-11T07:00:03.000Z",
        "outcome": "failed",
        "error": "QueryError: no\x1b[2J such series",
    },
    "missed": 2,
}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], ["no scheduled jobs"]),
        (
            [CLEANING, REPORT],
            [
                "NAME SCHEDULE TIMEZONE NEXT LAST RESULT MISSED",
                "housekeeping 30 3 * * * UTC 2027-01-16 03:30:00Z - not run yet 0",
                "usage-report 0 8 * * mon Europe/Berlin 2027-01-16 03:30:00Z 2027-01-11 07:00:00Z "
                r"failed: QueryError: no\x1b[2J such series 2",
            ],
        ),
    ],
)
def test_a_job_is_a_row(
    current: Any, capsys: pytest.CaptureFixture[str], items: list[dict[str, Any]], expected: list[str]
) -> None:
    current.replies["GET /cp/v1/schedules"] = (200, {"items": items})
    assert run(["schedules"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == expected
