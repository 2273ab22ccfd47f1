"""Differences between two configurations. They contain no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.config.difference import HIDDEN, MAX_SHOWN, differences
from tests.fakes.fleet_text import parse_fleet

HEAD = "fleet: {name: x}\n"


def compared(before: str, after: str) -> list[tuple[Any, ...]]:
    old, new = (parse_fleet(HEAD + text, Path("fleet.yaml")) for text in (before, after))
    return [tuple(change) for change in differences(old, new)]


def test_the_same_is_nothing_however_it_is_written() -> None:
    assert compared("scrape: {interval: 15s}\n", "") == []
    assert compared("scrape: {interval: 1m}\n", "scrape: {interval: 60s}\n") == []


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("", "scrape: {interval: 90s}", [("scrape.interval", '"15s"', '"1m30s"', "at the reload")]),
        ("", "evaluation_interval: 1m", [("evaluation_interval", '"15s"', '"1m"', "at the reload")]),
        ("", "metrics: {max_series: 7}", [("metrics.max_series", "1000000", "7", "at the next start")]),
        ("scrape: {timeout: 5s}", "", [("scrape.timeout", '"5s"', "null", "at the reload")]),
        (
            "thresholds: {latency_p99: {value: 1}}",
            "thresholds: {vram_ratio: {for: 5m}}",
            [
                ("thresholds.latency_p99", '{"value": 1.0}', None, "at the reload"),
                ("thresholds.vram_ratio", None, '{"for": "5m"}', "at the reload"),
            ],
        ),
        (
            "notifiers: [{name: a, type: log}, {name: b, type: log}]",
            "notifiers: [{name: b, type: log}, {name: c, type: log}]",
            [
                ("notifiers[a]", '{"name": "a", "type": "log"}', None, "at the reload"),
                ("notifiers[c]", None, '{"name": "c", "type": "log"}', "at the reload"),
            ],
        ),
        (
            "targets: [{engine: vllm, addresses: ['a:1']}, {engine: dcgm, addresses: ['b:1']}]",
            "targets: [{engine: nvml}, {engine: vllm, addresses: ['a:1']}, {engine: dcgm, addresses: ['b:1']}]",
            [("targets[0]", None, '{"engine": "nvml"}', "at the reload")],
        ),
        (
            "targets: [{engine: vllm, addresses: ['a:1']}, {engine: dcgm, addresses: ['b:1']}]",
            "targets: [{engine: vllm, addresses: ['a:1']}, {engine: dcgm, addresses: ['b:2']}]",
            [("targets[1].addresses", '["b:1"]', '["b:2"]', "at the reload")],
        ),
    ],
)
def test_each_field_that_differs_is_named_with_both_values(before: str, after: str, changes: list[Any]) -> None:
    assert compared(before + "\n", after + "\n") == changes


def test_values_that_may_be_secret_are_compared_and_hidden() -> None:
    write = "metrics: {{remote_write: [{{url: 'http://m', headers: {{X-Scope-OrgID: {0}, X-Key: {0}}}}}]}}\n"
    shown = compared(write.format("hunter1"), write.format("hunter2"))
    assert {c[0].rpartition(".")[2] for c in shown} == {"X-Scope-OrgID", "X-Key"}
    database = "database: 'postgresql+psycopg://u:hunter2@h/d'\n"
    shown += compared("", database) + compared(database, "") + compared("", write.format("hunter2"))
    assert HIDDEN in str(shown) and "hunter" not in str(shown)


def test_credentials_inside_an_address_are_hidden() -> None:
    text = "notifiers: [{{name: a, type: slack, channel: c, token_env: T, base_url: 'http://u:{}@h/'}}]\n"
    (change,) = compared(text.format("hunter1"), text.format("hunter2"))
    assert change[1:3] == (f'"http://{HIDDEN}@h/"', f'"http://{HIDDEN}@h/"')


def test_the_query_string_of_an_address_is_hidden() -> None:
    text = "targets: [{{engine: vllm, http_sd: [{{url: 'http://h/list?token={}&team=a#top'}}]}}]\n"
    shown = [change[1:3] for change in compared(text.format("hunter1"), text.format("hunter2"))]
    assert shown and "hunter" not in str(shown) and f"http://h/list?{HIDDEN}#top" in str(shown)


def test_names_of_files_and_variables_are_no_secrets() -> None:
    text = "notifiers: [{{name: a, type: slack, channel: c, token_env: {}}}]\n"
    assert compared(text.format("A"), text.format("B")) == [("notifiers[a].token_env", '"A"', '"B"', "at the reload")]


def test_a_long_value_is_cut() -> None:
    (change,) = compared("", f"rules: [{'r' * 500}.yml]\n")
    assert len(change[2]) == MAX_SHOWN
