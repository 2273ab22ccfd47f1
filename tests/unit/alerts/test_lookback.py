"""Lookbacks of rules, including those of the recorded series that they read."""

from __future__ import annotations

import json

from alerts.lookback import MAX_S, lookbacks
from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import parse_rules


def of(text: str) -> dict[str, float]:
    groups = parse_rules(text, "f")
    names = {rule.id: rule.name for group in groups for rule in group.rules}
    return {names[rule]: seconds for rule, seconds in lookbacks(groups, 15.0).items()}


def test_the_longest_range_counts_and_ranges_with_an_offset_do_not() -> None:
    found = of("""
        groups:
          - name: g
            rules:
              - {alert: Plain, expr: temp > 85}
              - {alert: Rate, expr: 'rate(a[2m]) > 0 and increase(b[5m]) > 1'}
              - {alert: Season, expr: 'rate(a[1m]) < avg_over_time(a[1h] offset 1w)'}
              - {alert: Sub, expr: 'max_over_time(rate(a[1m])[10m:30s]) > 1'}
              - {alert: Text, expr: 'a{b="[9m]"} > 1'}
              - {alert: Seconds, expr: 'rate(a[ 1_20 ]) > max_over_time(a[0x78:60])'}
              - {alert: Calculated, expr: 'rate(a[2m * (1 + 1)]) > rate(a[1h/2] offset (1h))'}
        """)
    expected = {"Plain": 0, "Rate": 300, "Season": 60, "Sub": 600, "Text": 0, "Seconds": 120, "Calculated": 240}
    assert found == expected


def test_recorded_series_bring_their_own_past_along_even_in_circles() -> None:
    found = of("""
        groups:
          - name: g
            rules:
              - {record: 'a:rate', expr: 'rate(a[4m])'}
              - {record: 'a:max', expr: 'max(a:rate) or a:max'}
              - {alert: Deep, expr: a:max > 1}
        """)
    assert found == {"Deep": 240}


def test_a_series_of_another_group_is_as_old_as_that_groups_interval() -> None:
    found = of("""
        groups:
          - name: slow
            interval: 1m
            rules:
              - {record: 'a:rate', expr: 'rate(a[4m])'}
              - {alert: Same, expr: a:rate > 1}
          - name: fast
            rules:
              - {record: b, expr: 'max(a:rate)'}
              - {alert: Other, expr: b > 1}
          - name: third
            rules: [{alert: Chain, expr: b > 2}]
        """)
    assert found == {"Same": 240, "Other": 300, "Chain": 315}


def test_a_recorded_info_series_is_not_waited_for() -> None:
    found = of("""
        groups:
          - name: g
            rules:
              - {record: 'gpu:node:info', expr: 'max_over_time(names[1h])'}
              - {record: 'gpu:node:infos', expr: 'max_over_time(names[5m])'}
              - {alert: Hot, expr: 'temperature > 85 and on (gpu) gpu:node:info'}
              - {alert: Many, expr: 'temperature > 85 and on (gpu) gpu:node:infos'}
        """)
    assert found == {"Hot": 0, "Many": 300}


def test_nothing_is_waited_for_longer_than_the_limit() -> None:
    assert of("groups: [{name: g, rules: [{alert: A, expr: 'changes(a[7d]) > 3'}]}]") == {"A": MAX_S}


def test_the_packs_look_back_over_their_windows() -> None:
    groups = [group for name in BUILTIN for group in load_pack(name, options=EXAMPLE)]
    names = {rule.id: rule.name for group in groups for rule in group.rules}
    found = {names[rule]: seconds for rule, seconds in lookbacks(groups).items()}
    assert (found["LLMErrorRateHigh"], found["GPUTemperatureHigh"], found["LLMModelDown"]) == (300, 0, 0)


def test_an_expression_of_any_length_has_its_longest_range() -> None:
    long = "x" * 10_001
    rule = {"alert": "Long", "expr": f'rate(a{{b="{long}"}}[2m])', "labels": {"a": f"{long}{{{{ $value }}}}"}}
    text = json.dumps({"groups": [{"name": "g", "rules": [rule]}]})
    assert of(text) == of(text) == {"Long": 120}
