"""What the verbs about rollouts send, and how they name a rollout."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run

STARTED = {"id": "r-1a", "model": "chat", "from": "v1", "to": "v2", "strategy": "canary", "kind": "promote"}
VIEW = {**STARTED, "phase": "switching", "sentence": "v2 gets 5%", "notes": [], "events": [], "finished": False}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ([], {}),
        (["--strategy", "canary", "--steps", "5%,25%"], {"strategy": "canary", "rollout": {"steps": "5%,25%"}}),
        (
            ["--minimum-requests", "500", "--failures", "0", "--interval", "30s", "--report-only", "ttft"],
            {"rollout": {"analysis": {"minimum_requests": 500, "failures": 0, "interval": "30s", "dry_run": ["ttft"]}}},
        ),
        (
            ["--deadline", "2h", "--approvals", "1", "--rollback-window", "1d"],
            {
                "rollout": {
                    "deadline": "2h",
                    "approvals": [{"at": "full", "count": 1}],
                    "rollback_window": "1d",
                }
            },
        ),
        (["--approvals", "0"], {"rollout": {"approvals": []}}),
        (
            ["--option", "analysis.patience=1h", "--option", "golden.pass_ratio=0.9", "--option", "hooks=[]"],
            {"rollout": {"analysis": {"patience": "1h"}, "golden": {"pass_ratio": 0.9}, "hooks": []}},
        ),
        (["--allow-downtime", "--full"], {"allow_downtime": True, "full": True}),
        (
            ["--override-freeze", "hotfix", "--attest", "load test=https://ci/412", "--attest", "scan=clean"],
            {"override_freeze": "hotfix", "attest": {"load test": "https://ci/412", "scan": "clean"}},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_overrides_the_field_of_fleet_yaml(current: Any, words: list[str], body: dict[str, Any]) -> None:
    current.replies["POST /cp/v1/rollouts"] = (202, VIEW)
    assert run(["promote", "chat", "v2", "--no-watch", *words]) == 0
    assert current.requests[-1].body == {"model": "chat", "version": "v2", **body}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attest", "load test"], "--attest load test: expected NAME=TEXT"),
        (["--option", "a..b=1"], "--option a..b=1: expected a field of `rollout:` and its value"),
        (["--option", "deadline=2h", "--option", "deadline.x=1"], "--option deadline.x: deadline is a value here"),
        (["--minimum-requests", "many"], "--minimum-requests many: expected a whole number from 1"),
        (["--strategy", "canry"], "--strategy canry: expected one of blue-green, canary, rolling, recreate"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_sent(
    current: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["promote", "chat", "v2", *words]) == 2
    assert capsys.readouterr().err.startswith(f"controlplane: {message}")
    assert current.requests == []


@pytest.mark.parametrize(
    ("verb", "action"),
    [("pause", "pause"), ("resume", "resume"), ("approve", "approve"), ("abort", "abort"), ("approve --full", "full")],
)
def test_each_verb_posts_its_action_with_the_reason(
    current: Any, capsys: pytest.CaptureFixture[str], verb: str, action: str
) -> None:
    path = f"POST /cp/v1/rollouts/r-1a/{action}"
    current.replies[path] = (202, VIEW)
    assert run(["rollouts", *verb.split(), "r-1a", "--reason", "incident 412"]) == 0
    assert current.paths()[-1] == path
    assert current.requests[-1].body == {"reason": "incident 412"}
    assert capsys.readouterr().out.splitlines() == [
        f"rollout r-1a of chat: {verb} is accepted; `cp rollouts watch r-1a` follows it",
        "  until now: switching: v2 gets 5%",
    ]


def test_a_model_means_its_newest_rollout(current: Any) -> None:
    current.replies["GET /cp/v1/models"] = (200, {"items": [{"name": "chat"}, {"name": "embed"}]})
    current.replies["GET /cp/v1/rollouts"] = (200, {"items": [VIEW]})
    current.replies["POST /cp/v1/rollouts/r-1a/pause"] = (202, VIEW)
    assert run(["rollouts", "pause", "chat"]) == 0
    asked = next(r for r in current.requests if r.path == "/cp/v1/rollouts")
    assert asked.query == {"model": ["chat"], "limit": ["1"]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("caht", "there is no rollout and no model caht; did you mean chat?"),
        ("embed", "model embed has had no rollout"),
    ],
)
def test_what_is_neither_a_rollout_nor_a_model_with_one_is_said(
    current: Any, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    current.replies["GET /cp/v1/models"] = (200, {"items": [{"name": "chat"}, {"name": "embed"}]})
    current.replies["GET /cp/v1/rollouts"] = (200, {"items": []})
    assert run(["rollouts", "show", name]) == 2
    assert capsys.readouterr().err.startswith(f"controlplane: {message}\n")


def test_a_rollback_names_its_version_and_its_reason(current: Any) -> None:
    current.replies["POST /cp/v1/models/chat/rollback"] = (202, {**VIEW, "kind": "rollback"})
    assert run(["rollback", "chat", "--to", "v1", "--reason", "v2 cuts answers", "--no-watch"]) == 0
    assert current.requests[-1].body == {"to": "v1", "reason": "v2 cuts answers"}


def test_a_retry_is_followed_as_a_new_rollout(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done = {**VIEW, "id": "r-2b", "phase": "draining", "switched": True, "ok": None, "events": []}
    current.replies["POST /cp/v1/rollouts/r-1a/retry"] = (202, done)
    assert run(["rollouts", "retry", "r-1a"]) == 0
    assert "rollout r-2b: promote chat v1 -> v2 (canary)" in capsys.readouterr().out
    assert "idempotency-key" in current.requests[-1].headers


def test_quarantine_is_listed_and_lifted(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {
        "model": "chat",
        "version": "v2",
        "since": "2026-11-27T06:39:36.234Z",
        "rollout": "r-1a",
        "reason": "8% failed",
    }
    current.replies["GET /cp/v1/quarantine"] = (200, {"items": [kept]})
    current.replies["POST /cp/v1/models/chat/versions/v2/quarantine/lift"] = (200, kept)
    assert run(["quarantine"]) == 0
    assert "8% failed" in capsys.readouterr().out
    assert run(["quarantine", "lift", "chat", "v2", "--reason", "mended"]) == 0
    assert current.requests[-1].body == {"reason": "mended"}
    assert capsys.readouterr().out == "v2 of chat can be promoted again\n"
    assert run(["quarantine", "lift", "chat", "v2"]) == 2
    assert "--reason is missing" in capsys.readouterr().err
