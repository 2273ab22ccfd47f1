"""The verbs `keys …`."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run
from controlplane.cli.verbs.keys import priority, usd

NO_LIMITS = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "concurrent": None,
    "daily_tokens": None,
    "monthly_tokens": None,
    "daily_usd": None,
    "monthly_usd": None,
}
KEY = {
    "id": "3f2a9c10ab54",
    "prefix": "cpk_3f2a9c10ab54_",
    "name": "ci",
    "tenant": "search",
    "role": "user",
    "models": None,
    "limits": NO_LIMITS,
    "priority": 0,
    "live": True,
    "created_at": "2027-01-15T08:00:00.000Z",
    "created_by": "ana",
    "expires_at": None,
    "revoked_at": None,
}
LIMITED = {
    **KEY,
    "models": ["chat", "rank"],
    "limits": {**NO_LIMITS, "requests_per_minute": 6000, "daily_usd": 25.5},
    "expires_at": "2027-02-15T08:00:00.000Z",
}
SECRET = "f" * 64


def rows(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_keys_are_rows(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {**KEY, "live": False, "revoked_at": "2027-01-16T08:00:00.000Z"}
    past = {**KEY, "live": False, "expires_at": "2027-01-16T08:00:00.000Z"}
    current.replies["GET /cp/v1/keys"] = (200, {"items": [KEY, LIMITED, gone, past]})
    assert run(["keys", "list", "--tenant", "search"]) == 0
    header, plain, limited, revoked, expired = rows(capsys)
    assert header == "ID TENANT NAME ROLE MODELS LIMITS AGE EXPIRES"
    assert plain.startswith("3f2a9c10ab54 search ci user all - ") and plain.endswith(" never")
    assert "chat, rank 6,000 req/min, 25.5 $/day" in limited
    assert revoked.endswith("revoked") and expired.endswith("expired")
    assert current.requests[-1].query == {"tenant": ["search"]}


def test_without_keys_the_list_says_so(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/keys"] = (200, {"items": []})
    assert run(["keys", "list"]) == 0
    assert rows(capsys) == ["no keys; make one: controlplane keys create --tenant TENANT --name NAME"]


def test_one_key_is_shown_with_its_limits(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/keys/3f2a9c10ab54"] = (200, LIMITED)
    assert run(["keys", "show", "3f2a9c10ab54"]) == 0
    assert rows(capsys) == [
        "key: cpk_3f2a9c10ab54_…",
        "tenant: search",
        "name: ci",
        "state: live",
        "role: user",
        "models: chat, rank",
        "priority: 0",
        "created: 2027-01-15 08:00:00Z by ana",
        "expires: 2027-02-15 08:00:00Z",
        "requests per minute: 6,000",
        "daily usd: 25.5",
    ]


def test_a_new_key_is_printed_alone(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["POST /cp/v1/keys"] = (201, {**LIMITED, "key": f"cpk_3f2a9c10ab54_{SECRET}"})
    words = "keys create --tenant search --name ci --model chat --model rank --requests-per-minute 6000 "
    words += "--daily-usd $25.50 --expires-in 31d --priority -5 --role tester"
    assert run(words.split()) == 0
    captured = capsys.readouterr()
    assert captured.out == f"cpk_3f2a9c10ab54_{SECRET}\n" and "prod-eu" in captured.err
    assert current.requests[-1].body == {
        "name": "ci",
        "tenant": "search",
        "role": "tester",
        "models": ["chat", "rank"],
        "limits": {"requests_per_minute": 6000, "daily_usd": 25.5},
        "priority": -5,
        "expires_in": "31d",
    }


def test_limits_are_changed_one_by_one(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["POST /cp/v1/keys/3f2a9c10ab54/limits"] = (200, LIMITED)
    assert run(["keys", "limits", "3f2a9c10ab54", "--daily-usd", "none", "--concurrent", "8"]) == 0
    assert current.requests[-1].body == {"daily_usd": None, "concurrent": 8}
    assert "requests per minute: 6,000" in rows(capsys)


def test_a_change_without_a_limit_sends_nothing(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "limits", "3f2a9c10ab54"]) == 2
    assert "name at least one limit" in capsys.readouterr().err
    assert current.requests == []


def test_a_key_is_revoked(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["DELETE /cp/v1/keys/3f2a9c10ab54"] = (204, b"")
    assert run(["keys", "revoke", "3f2a9c10ab54"]) == 0
    assert capsys.readouterr().out == "key 3f2a9c10ab54 is revoked\n"


@pytest.mark.parametrize("verb", ["show", "revoke", "limits"])
def test_a_whole_key_is_never_sent(current: Any, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    more = ["--concurrent", "1"] if verb == "limits" else []
    assert run(["keys", verb, f"cpk_3f2a9c10ab54_{SECRET}", *more]) == 2
    assert "give the key's id" in capsys.readouterr().err
    assert SECRET not in str(current.requests)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--requests-per-minute 0", "expected a whole number from 1 to"),
        ("--requests-per-minute none", "expected a whole number"),
        (f"--requests-per-minute {10**20}", "expected a whole number"),
        ("--daily-usd inf", "expected US dollars above zero"),
        ("--daily-usd 0", "expected US dollars above zero"),
        ("--priority 101", "expected a whole number from -100 to 100"),
        ("--role admin", "expected one of user, tester"),
    ],
)
def test_wrong_values_are_named(current: Any, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert run(["keys", "create", "--tenant", "t", "--name", "n", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_numbers() -> None:
    assert (usd("25"), usd("$0.50"), usd(".5")) == (25.0, 0.5, 0.5)
    assert (priority("-100"), priority("0"), priority("100")) == (-100, 0, 100)
    for text in ("", "-1", "1e3", "1_0", "١"):
        with pytest.raises(ValueError, match="US dollars"):
            usd(text)
    for text in ("", "-", "--1", "-101", "x"):
        with pytest.raises(ValueError, match="whole number"):
            priority(text)
