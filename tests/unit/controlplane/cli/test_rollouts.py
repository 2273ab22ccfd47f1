"""How rollouts read in a terminal: each thing once, wishes not as failures, and nothing untried as verified."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.client import ApiClient
from controlplane.cli.main import run

URL = ["--url", "http://127.0.0.1:1"]
EVENTS = [
    {"at": "2026-11-27T06:39:36.234Z", "phase": "planned", "sentence": "ann asked"},
    {"at": "2026-11-27T06:39:41.142Z", "phase": "rolled-back", "sentence": "v2 failed. v1 serves again"},
]
VIEW = {
    "id": "r-1",
    "model": "chat",
    "from": "v1",
    "to": "v2",
    "kind": "promote",
    "strategy": "blue-green",
    "phase": "rolled-back",
    "finished": True,
    "ok": False,
    "switched": False,
    "verified": None,
    "evidence": "",
    "wished": False,
    "needs_person": False,
    "sentence": "v2 failed. v1 serves again",
    "created_at": "2026-11-27T06:39:36.234Z",
    "created_by": "ann",
    "notes": [],
    "events": EVENTS,
}


def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], **changes: Any
) -> tuple[int, str, str]:
    view = VIEW | changes
    answer = {"items": [view]} if arguments[:2] == ["rollouts", "list"] else view
    monkeypatch.setattr(ApiClient, "get", lambda *_, **__: answer)
    monkeypatch.setattr(ApiClient, "post", lambda *_, **__: view)
    code = run([*arguments, *URL])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_who_watches_reads_why_it_went_back_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = shown(monkeypatch, capsys, ["promote", "chat", "v2"])
    assert code == 1
    assert (out + err).count("v2 failed") == 1
    assert err.splitlines()[-2:] == [
        "controlplane: rollout r-1 of chat was rolled back",
        "  `cp rollouts show r-1` shows the reasons and the numbers",
    ]
    assert "v2 failed" in out


def test_who_watches_reads_what_follows_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after = {"cause": "v2 failed", "consequence": "v1 serves chat again", "next": "Mend v2"}
    code, _, err = shown(monkeypatch, capsys, ["promote", "chat", "v2"], aftermath=after)
    assert code == 1
    assert err.splitlines()[-3:-1] == ["  v1 serves chat again", "  next step: Mend v2"]


@pytest.mark.parametrize(("options", "told"), [((), True), (("--no-quarantine",), False), (("-o", "json"), False)])
def test_a_rollback_says_that_the_version_it_left_is_in_quarantine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: bool
) -> None:
    ended = {"kind": "rollback", "from": "v2", "to": "v1", "phase": "succeeded", "ok": True}
    code, out, _ = shown(monkeypatch, capsys, ["rollback", "chat", *options], **ended)
    words = (
        "  v2 goes into quarantine: it cannot be promoted until `cp quarantine lift chat v2 --reason TEXT` ends that"
    )
    assert (code, words in out.splitlines()) == (0, told)


def test_a_script_reads_it_with_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = shown(monkeypatch, capsys, ["promote", "chat", "v2", "-o", "json"])
    assert (code, "v2 failed. v1 serves again" in err) == (1, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wished": True}, "rolled-back (as asked)"),
        ({"phase": "succeeded", "ok": True, "verified": False}, "succeeded (not tried)"),
        ({"phase": "succeeded", "ok": True, "verified": True}, "succeeded  "),
    ],
)
def test_the_list_tells_wishes_and_what_nobody_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    code, out, _ = shown(monkeypatch, capsys, ["rollouts", "list"], **changes)
    assert code == 0
    assert words in out


@pytest.mark.parametrize(
    ("verified", "words"),
    [(True, "verified: 5 of 5 questions"), (False, "loaded, not tried: 5 of 5 questions"), (None, "")],
)
def test_a_rollout_says_what_its_verification_rests_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verified: bool | None, words: str
) -> None:
    _, out, _ = shown(monkeypatch, capsys, ["rollouts", "show", "r-1"], verified=verified, evidence="5 of 5 questions")
    assert ("5 of 5 questions" in out, words in out) == (verified is not None, True)
    assert out.count("v2 failed. v1 serves again") == 1


def test_status_lists_what_needs_attention(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = {
        "name": "prod",
        "observe_only": False,
        "targets": {"up": 1, "down": 0, "unknown": 0},
        "alerts": {"firing": 0, "pending": 0},
        "models": [],
        "gpus": [],
        "warnings": [],
        "attention": [
            {"model": "chat", "rollout": "r-1", "need": "person", "sentence": "v1 serves, but", "since": None},
            {"model": "chat", "rollout": None, "need": "engine_not_ready", "sentence": "http://a", "since": None},
            {"model": "chat", "rollout": "r-2", "need": "went_back", "sentence": "x" * 500, "since": None},
        ],
    }
    monkeypatch.setattr(ApiClient, "get", lambda _, path, **__: fleet if path == "/cp/v1/fleet" else {"items": []})
    assert run(["status", *URL]) == 0
    out = capsys.readouterr().out
    assert "  NEEDS A PERSON: rollout r-1 of chat: v1 serves, but\n" in out
    assert "  NOT READY: engine of chat: http://a\n" in out
    assert f"  WENT BACK: rollout r-2 of chat: {'x' * 240}… (cp rollouts show r-2)\n" in out


def test_a_note_that_an_event_tells_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = ["ann asked", "Triton keeps no memory of v2"]
    for arguments in (["rollouts", "show", "r-1"], ["rollouts", "watch", "r-1"]):
        _, out, _ = shown(monkeypatch, capsys, arguments, notes=notes)
        assert (out.count("ann asked"), out.count("Triton keeps no memory of v2")) == (1, 1)


def test_who_turns_a_rollout_back_is_not_told_again_how_it_came_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = shown(monkeypatch, capsys, ["rollback", "chat"], wished=True)
    assert code == 0
    assert "ann asked" not in out
    assert "2026-11-27 06:39:41Z  rolled-back" in out
