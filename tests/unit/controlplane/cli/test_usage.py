"""The verb `usage`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.cli.main import run

ROW = {
    "requests": 12,
    "prompt_tokens": 3400,
    "completion_tokens": 560,
    "cached_tokens": 1000,
    "estimated_requests": 0,
    "usd": 1.234567,
    "mean_duration_seconds": 1.5,
    "mean_first_token_seconds": 0.25,
}
FREE = {**ROW, "usd": None, "mean_first_token_seconds": None}


@pytest.fixture
def answered(current: Any) -> Any:
    def answer(*items: dict[str, Any], truncated: bool = False) -> None:
        page = {"since": "", "until": "", "by": [], "items": list(items), "truncated": truncated}
        current.replies["GET /cp/v1/usage"] = (200, page)

    return answer


def test_rows_are_names_tokens_and_money(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered({"tenant": "acme", "model": "chat", **ROW}, {"tenant": "beta", "model": "", **FREE})
    assert run(["usage"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "TENANT MODEL REQUESTS INPUT OUTPUT CACHED USD MEAN FIRST TOKEN",
        "acme chat 12 3400 560 1000 1.23 1.5 s 250 ms",
        "beta - 12 3400 560 1000 - 1.5 s -",
    ]


def test_times_are_short(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at = "2027-01-15T08:00:00.000Z"
    answered({"day": at, "hour": at, **ROW})
    assert run(["usage", "--by", "day,hour"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("2027-01-15  2027-01-15 08:00  12 ")


def test_csv_has_every_number_in_full(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered({"tenant": 'a"b', **ROW}, {"tenant": "beta", **FREE})
    assert run(["usage", "--by", "tenant", "-o", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tenant,requests,prompt_tokens,completion_tokens,cached_tokens,estimated_requests,usd,"
        "mean_duration_seconds,mean_first_token_seconds",
        '"a""b",12,3400,560,1000,0,1.234567,1.5,0.25',
        "beta,12,3400,560,1000,0,,1.5,",
    ]


def test_no_cell_of_csv_is_a_formula(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered({"tenant": "=cmd|' /C calc'!A0", **ROW})
    assert run(["usage", "--by", "tenant", "-o", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("'=cmd|' /C calc'!A0,12,")


def test_json_is_the_items(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered({"tenant": "acme", **ROW})
    assert run(["usage", "--by", "tenant", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"tenant": "acme", **ROW}]


def test_the_time_and_the_words_are_sent(answered: Any, current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered()
    assert run(["usage", "--by", "key", "--since", "2027-01-01T00:00:00Z", "--until", "1798765200"]) == 0
    assert capsys.readouterr().out == "no usage in this time\n"
    asked = current.requests[-1].query
    assert asked == {"by": ["key"], "limit": ["1000"], "since": ["1798761600.0"], "until": ["1798765200.0"]}


def test_more_rows_than_the_limit_are_told(answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answered({"tenant": "acme", **ROW}, truncated=True)
    assert run(["usage", "--by", "tenant", "--limit", "1"]) == 0
    assert capsys.readouterr().err == "there are more rows than --limit 1\n"


def test_a_wrong_word_is_named_with_the_right_ones(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usage", "--by", "tenant,colour"]) == 2
    assert "'colour' is not one of tenant, key, model, version, outcome, hour, day" in capsys.readouterr().err
