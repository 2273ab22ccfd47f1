"""The verb `audit`: what it asks for, what it prints, and what strangers cannot make it print."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from controlplane.cli.main import run

NOW = 1_800_000_000.0
ACTS = [
    {
        "id": 4712,
        "at": "2026-01-31T12:34:58.000Z",
        "actor": "ana",
        "action": "rollout.promote",
        "subject": "model/chat",
        "sentence": "v1 -> v2 by blue-green (rollout r-50ea2a43)",
    },
    {
        "id": 4711,
        "at": "2026-01-31T12:34:56.000Z",
        "actor": "203.0.113.7\x1b[2J\n\u202e",
        "action": "token.refuse",
        "subject": "token/-",
        "sentence": "1 attempt at the API from 203.0.113.7 with a malformed token: nothing\x1b]0;owned\x07",
    },
]


@pytest.fixture
def trail(current: Any) -> Any:
    current.replies["GET /cp/v1/audit"] = (200, {"items": ACTS, "next": 4711})
    return current


def test_acts_are_a_row_each_and_what_leads_on_is_told_beside_them(
    trail: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit"]) == 0
    out, err = capsys.readouterr()
    header, first, second = out.splitlines()
    assert header.split() == ["ID", "AT", "ACTOR", "ACTION", "SUBJECT"]
    assert first.split()[:6] == ["4712", "2026-01-31", "12:34:58Z", "ana", "rollout.promote", "model/chat"]
    assert first.endswith("v1 -> v2 by blue-green (rollout r-50ea2a43)")
    assert r"203.0.113.7\x1b[2J\n\u202e" in second
    assert second.endswith(r"nothing\x1b]0;owned\x07")
    assert err == "there are older entries: add --before 4711\n"
    assert trail.requests[-1].query == {"limit": ["50"]}


def test_a_name_without_an_end_pushes_no_other_row_apart(trail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trail.replies["GET /cp/v1/audit"] = (200, {"items": [{**ACTS[1], "actor": "y" * 9999}, ACTS[0]], "next": None})
    assert run(["audit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f" {'y' * 79}…  token.refuse" in lines[1]
    assert max(map(len, lines)) < 250


def test_every_filter_reaches_the_control_plane(
    trail: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    words = ["--actor", "ana", "--action", "token.create", "--action=token.revoke", "--subject", "token/3f"]
    assert run(["audit", *words, "--since", "2h", "--until", "2027-01-15T08:00:00Z", "--before", "9"]) == 0
    assert trail.requests[-1].query == {
        "limit": ["50"],
        "actor": ["ana"],
        "action": ["token.create", "token.revoke"],
        "subject": ["token/3f"],
        "since": [str(NOW - 7200)],
        "until": [str(NOW)],
        "before": ["9"],
    }
    assert run(["audit", "--model", "chat", "--no-refusals", "--limit", "5"]) == 0
    assert trail.requests[-1].query == {"limit": ["5"], "subject": ["model/chat"], "refusals": ["false"]}


def test_programs_get_the_acts_as_they_are(trail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == ACTS
    assert "\x1b" not in out
    assert err == ""


def test_nothing_that_matches_is_said(trail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trail.replies["GET /cp/v1/audit"] = (200, {"items": [], "next": None})
    assert run(["audit", "--actor", "nobody"]) == 0
    assert capsys.readouterr() == ("no entry matches\n", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--since", "yesterday"],
            "--since 'yesterday': expected a time such as 2026-11-28T08:43:55Z (RFC 3339), unix seconds",
        ),
        (["--until", "x"], "--until 'x': expected a time such as"),
        (["--before", "0"], "--before 0: expected a whole number from 1 to 2147483647"),
        (["--model", "chat", "--subject", "token/1"], "--model chat means --subject model/chat: give one of the two"),
    ],
)
def test_wrong_words_are_named_and_nothing_is_asked(
    trail: Any, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *words]) == 2
    assert says in capsys.readouterr().err
    assert trail.requests == []


def test_a_viewer_is_told_what_is_missing(trail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trail.replies["GET /cp/v1/audit"] = (403, {"detail": "token ci has role viewer; this needs operator"})
    assert run(["audit"]) == 1
    assert "this needs operator" in capsys.readouterr().err
