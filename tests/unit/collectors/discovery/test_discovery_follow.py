"""A discovery that takes over from another, as at a reload of fleet.yaml."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup

GROUP = DiscoveryGroup("vllm", file_sd=("*.json",))


def write(path: Path, *addresses: str) -> None:
    path.write_text(json.dumps([{"targets": list(addresses)}]))


def follower(folder: Path, *groups: DiscoveryGroup, before: Discovery) -> Discovery:
    found = Discovery(groups, folder)
    found.follow(before)
    return found


def test_a_file_that_is_bad_when_the_configuration_changes_keeps_its_list(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "h:1", "h:2")
    first = Discovery([GROUP], tmp_path)
    before = first.refresh()
    (tmp_path / "a.json").write_text("[{")
    other = DiscoveryGroup("dcgm", addresses=("g:9400",))
    # A group in front moves the file's group to another place in the list.
    second = follower(tmp_path, other, GROUP, before=first)
    assert second.refresh()[1:] == before
    assert ["not JSON" in str(error) for error in second.errors] == [True]
    third = follower(tmp_path, GROUP, before=second)
    assert third.refresh() == before
    write(tmp_path / "a.json", "h:3")
    assert [target.instance for target in third.refresh()] == ["h:3"]
    assert third.errors == ()


def test_a_list_outlives_a_discovery_that_was_replaced_before_it_read_anything(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "h:1", "h:2")
    first = Discovery([GROUP], tmp_path)
    before = first.refresh()
    (tmp_path / "a.json").write_text("[{")
    unread = follower(tmp_path, GROUP, before=first)
    assert follower(tmp_path, GROUP, before=unread).refresh() == before


def test_a_bad_files_targets_take_over_what_changed_in_their_group(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "h:1")
    first = Discovery([GROUP], tmp_path)
    first.refresh()
    (tmp_path / "a.json").write_text("[{")
    slow = replace(GROUP, interval_s=60.0, labels=(("zone", "b"),))
    (target,) = follower(tmp_path, slow, before=first).refresh()
    assert (target.instance, target.interval_s, target.labels) == ("h:1", 60.0, (("zone", "b"),))


def test_a_good_file_is_read_again_where_its_group_changed(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "h:1")
    first = Discovery([GROUP], tmp_path)
    first.refresh()
    write(tmp_path / "a.json", "h:2")
    (target,) = follower(tmp_path, replace(GROUP, interval_s=60.0), before=first).refresh()
    assert (target.instance, target.interval_s) == ("h:2", 60.0)


def test_a_list_that_does_not_fit_the_changed_group_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"targets": ["h:1"], "labels": {"__scrape_timeout__": "12s"}}]))
    first = Discovery([replace(GROUP, interval_s=15.0)], tmp_path)
    assert len(first.refresh()) == 1
    (tmp_path / "a.json").write_text("[{")
    second = follower(tmp_path, replace(GROUP, interval_s=5.0, timeout_s=5.0), before=first)
    assert second.refresh() == []


def test_a_file_of_a_group_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "h:1")
    first = Discovery([GROUP], tmp_path)
    first.refresh()
    second = follower(tmp_path, before=first)
    assert second.refresh() == []
    (tmp_path / "a.json").write_text("[{")
    assert follower(tmp_path, GROUP, before=second).refresh() == []
