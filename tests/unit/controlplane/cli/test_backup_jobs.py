"""The verbs `backup jobs`, `backup run` and `backup drill`."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run

PLANE = {
    "job": "plane",
    "source": "control plane",
    "next_at": None,
    "open": None,
    "last": None,
    "age_seconds": None,
    "too_old": True,
}
ENDED = {"finished_at": "2027-01-16T03:30:00.000Z", "outcome": "succeeded", "bytes": 3 << 30, "new_bytes": 1 << 20}
MODELS = {
    **PLANE,
    "job": "models",
    "source": "/models",
    "next_at": "2027-01-17T02:00:00.000Z",
    "open": {"state": "running", "done_bytes": 1 << 30, "total_bytes": 2 << 30},
    "last": {**ENDED, "words": "the prune\x1b[2J failed"},
    "age_seconds": 7200.0,
    "too_old": False,
}
EARLY = {**PLANE, "open": {"state": "waiting", "done_bytes": 0, "total_bytes": None}}
HEADER = "JOB SOURCE NOW LAST RESULT NEXT AGE"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], ["no backup jobs: fleet.yaml has no backup:"]),
        (
            [MODELS, PLANE, EARLY],
            [
                HEADER,
                "models /models 1 GiB of 2 GiB 2027-01-16 03:30:00Z succeeded: 3 GiB, 1 MiB new: "
                r"the prune\x1b[2J failed 2027-01-17 02:00:00Z 2 h",
                "plane control plane - - not run yet - never !",
                "plane control plane waiting - not run yet - never !",
            ],
        ),
    ],
)
def test_a_job_is_a_row(
    current: Any, capsys: pytest.CaptureFixture[str], items: list[dict[str, Any]], expected: list[str]
) -> None:
    current.replies["GET /cp/v1/backups"] = (200, {"items": items})
    assert run(["backup", "jobs"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == expected


def test_a_run_is_asked_for(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["POST /cp/v1/backups/models/runs"] = (202, MODELS)
    assert run(["backup", "run", "models"]) == 0
    assert "a run of the backup models will begin" in capsys.readouterr().out


def test_a_drill_is_asked_for(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["POST /cp/v1/backups/drill-models/runs"] = (202, MODELS)
    assert run(["backup", "drill", "models"]) == 0
    assert "a drill of models will begin" in capsys.readouterr().out
