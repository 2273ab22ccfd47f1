"""Rules of a group apply to an address before it becomes a target."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup, DroppedTarget
from collectors.errors import DiscoveryError
from collectors.relabel import Action, RelabelRule
from collectors.samples import labels_of


def rule(action: str = "replace", *sources: str, **fields: Any) -> RelabelRule:
    return RelabelRule(Action(action), sources, **fields)


def group(*rules: RelabelRule, **fields: Any) -> DiscoveryGroup:
    return DiscoveryGroup("vllm", **{"addresses": ("a:1",), "relabel": rules, **fields})


def test_rules_see_the_settings_of_the_group_and_the_labels_of_the_address() -> None:
    labels = labels_of({"zone": "eu", "__param_model": "m", "__meta_rack": "r1"})
    copied = rule("labelmap", regex="__(.*)__", replacement="seen_$1")
    (found,) = Discovery([group(copied, labels=labels, path="/m?x=1", interval_s=30.0, timeout_s=2.5)]).refresh()
    assert dict(found.labels) == {
        "zone": "eu",
        "seen_address": "a:1",
        "seen_metrics_path": "/m?x=1",
        "seen_scheme": "http",
        "seen_scrape_interval": "30s",
        "seen_scrape_timeout": "2s500ms",
    }
    assert dict(found.discovered) == {
        "__address__": "a:1",
        "__metrics_path__": "/m?x=1",
        "__scheme__": "http",
        "__scrape_interval__": "30s",
        "__scrape_timeout__": "2s500ms",
        "__param_model": "m",
        "__meta_rack": "r1",
        "zone": "eu",
        "job": "vllm",
    }
    assert (found.job, found.instance, found.url) == ("vllm", "a:1", "http://a:1/m?x=1&model=m")


def test_rules_write_address_path_parameters_and_times() -> None:
    moved = [
        rule("replace", "__address__", target_label="__param_target"),
        rule("replace", "__param_target", target_label="instance"),
        rule(target_label="__address__", replacement="prober:9115"),
        rule(target_label="__metrics_path__", replacement="/probe"),
        rule(target_label="__scheme__", replacement="https"),
        rule(target_label="__scrape_interval__", replacement="1m"),
        rule(target_label="__scrape_timeout__", replacement="20s"),
        rule(target_label="job", replacement="box"),
    ]
    (found,) = Discovery([group(*moved, addresses=("http://x/y",))]).refresh()
    assert found.url == "https://prober:9115/probe?target=http%3A%2F%2Fx%2Fy"
    assert (found.job, found.instance) == ("box", "http://x/y")
    assert (found.interval_s, found.timeout_s) == (60.0, 20.0)


def test_instance_follows_the_address_and_a_removed_job_is_the_engine() -> None:
    rules = [
        rule(target_label="__address__", replacement="b:2"),
        rule("labeldrop", regex="job"),
        rule(target_label="__metrics_path__", replacement=""),
    ]
    (found,) = Discovery([group(*rules)]).refresh()
    assert (found.job, found.instance, found.url) == ("vllm", "b:2", "http://b:2/")


def test_dropped_addresses_are_listed_until_they_are_kept_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    entries = [{"targets": ["a:1"], "labels": {"env": "prod"}}, {"targets": ["b:1", "c:1"], "labels": {"env": "dev"}}]
    file.write_text(json.dumps(entries))
    kept = group(rule("keep", "env", regex="prod"), addresses=(), file_sd=("a.json",))
    found = Discovery([kept], tmp_path)
    assert not found.dropped
    assert [t.instance for t in found.refresh()] == ["a:1"]
    assert [dict(each.discovered)["__address__"] for each in found.dropped] == ["b:1", "c:1"]
    assert found.dropped[0] == DroppedTarget(
        "vllm",
        labels_of(
            {
                "__address__": "b:1",
                "__meta_filepath": str(file),
                "__metrics_path__": "/metrics",
                "__scheme__": "http",
                "__scrape_interval__": "15s",
                "__scrape_timeout__": "10s",
                "env": "dev",
                "job": "vllm",
            }
        ),
        kept.relabel,
    )
    # The same file, unchanged, under other rules.
    after = Discovery([replace(kept, relabel=(rule("drop", "env", regex="prod"),))], tmp_path)
    after.follow(found)
    assert [t.instance for t in after.refresh()] == ["b:1", "c:1"]
    assert len(after.dropped) == 1
    file.write_text("[]")
    assert (after.refresh(), list(after.dropped)) == ([], [])


def test_addresses_that_become_equal_are_one_target() -> None:
    found = Discovery([group(rule(target_label="__address__", replacement="x:1"), addresses=("a:1", "b:1"))])
    assert [t.url for t in found.refresh()] == ["http://x:1/metrics"]
    assert found.errors == ()


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("__address__", "", "'' is not host:port"),
        ("__address__", "b", "'b' is not host:port (the port cannot be left out)"),
        ("__scheme__", "ftp", "scheme 'ftp' is neither http nor https"),
        ("__scrape_interval__", "5s", "scrape timeout 10s is longer than the interval 5s"),
        ("__scrape_timeout__", "soon", "__scrape_timeout__: expected a duration such as 15s or 1m30s, got 'soon'"),
    ],
)
def test_a_result_that_is_no_target_names_the_address(tmp_path: Path, label: str, value: str, message: str) -> None:
    bad = rule(target_label=label, replacement=value)
    with pytest.raises(DiscoveryError) as caught:
        Discovery([group(bad)])
    assert str(caught.value).startswith(f"targets of engine vllm: 'a:1' after relabel_configs: {message}")
    (tmp_path / "a.json").write_text('[{"targets": ["a:1"]}]')
    found = Discovery([group(bad, addresses=(), file_sd=("a.json",))], tmp_path)
    assert found.refresh() == []
    assert [str(error).partition(": ")[2] for error in found.errors] == [
        str(caught.value).replace("targets of engine vllm", "entry 1")
    ]


def test_without_rules_a_target_has_no_discovered_labels_and_urls_are_as_written() -> None:
    (plain,) = Discovery([group()]).refresh()
    (whole,) = Discovery([group(rule("drop"), addresses=(), urls=("http://h:1/v1",))]).refresh()
    assert (plain.discovered, whole.discovered, whole.url) == ((), (), "http://h:1/v1")


def test_an_interval_of_the_address_shortens_the_timeout_that_rules_see() -> None:
    seen = rule("replace", "__scrape_timeout__", target_label="timeout")
    (found,) = Discovery([group(seen, labels=labels_of({"__scrape_interval__": "5s"}))]).refresh()
    assert (dict(found.labels), found.interval_s, found.timeout_s) == ({"timeout": "5s"}, 5.0, 5.0)
