"""Files of groups of targets: a change takes effect, and a bad file keeps its last good groups."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup, ListedGroups
from collectors.errors import DiscoveryError

WEB = DiscoveryGroup("custom", job="web", of_prometheus=True)


@dataclass(frozen=True)
class Listing:
    """A file with one job and one address on each line, or with the names of more such files."""

    path: Path
    engine: str = "custom"

    def read(self) -> ListedGroups:
        groups, patterns = [], []
        for line in self.path.read_text().splitlines():
            if line.startswith("more "):
                patterns.append(str(self.path.parent / line.removeprefix("more ")))
                continue
            job, _, address = line.partition(" ")
            if not address:
                raise DiscoveryError(f"{self.path}: {line!r} has no address")
            sd = (str(self.path.parent / address),) if address.endswith(".json") else ()
            addresses = () if sd else (address,)
            groups.append(replace(WEB, engine=self.engine, job=job, addresses=addresses, file_sd=sd))
        for pattern in patterns:
            more = [Listing(path).read() for path in sorted(self.path.parent.glob(Path(pattern).name))]
            groups += [group for each in more for group in each.groups]
        return ListedGroups(tuple(groups), (f"{len(groups)} jobs",), tuple(patterns))


def write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)


def told(found: Discovery) -> list[str]:
    return [f"{t.engine}/{t.job}/{t.url}" for t in found.refresh()]


def errors(found: Discovery) -> list[str]:
    return [str(error) for error in found.errors]


def test_a_change_takes_effect_and_a_bad_file_keeps_the_last_good_groups(tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    write(file, "web h:1\nweb h:2\n")
    found = Discovery([], tmp_path, [Listing(file)])
    before = ["custom/web/http://h:1/metrics", "custom/web/http://h:2/metrics"]
    assert (told(found), errors(found), found.remarks) == (before, [], ("2 jobs",))
    write(file, "web h:3\n")
    assert told(found) == ["custom/web/http://h:3/metrics"]
    write(file, "web\n")
    assert told(found) == ["custom/web/http://h:3/metrics"]
    assert errors(found) == [f"{file}: 'web' has no address"]
    file.unlink()
    assert told(found) == ["custom/web/http://h:3/metrics"]
    assert errors(found) == [f"{file}: cannot be read: No such file or directory"]
    write(file, "db h:4\n")
    assert (told(found), errors(found)) == (["custom/db/http://h:4/metrics"], [])


def test_a_change_of_a_file_that_it_names_takes_effect(tmp_path: Path) -> None:
    write(tmp_path / "jobs", "more *.part\n")
    found = Discovery([], tmp_path, [Listing(tmp_path / "jobs")])
    assert told(found) == []
    write(tmp_path / "a.part", "web h:1\n")
    assert told(found) == ["custom/web/http://h:1/metrics"]
    write(tmp_path / "a.part", "web h:2\n")
    assert told(found) == ["custom/web/http://h:2/metrics"]
    (tmp_path / "a.part").unlink()
    assert told(found) == []


def test_a_bad_file_keeps_its_groups_when_the_configuration_changes(tmp_path: Path) -> None:
    write(tmp_path / "jobs", "web h:1\n")
    first = Discovery([], tmp_path, [Listing(tmp_path / "jobs")])
    before = told(first)
    write(tmp_path / "jobs", "web\n")
    second = Discovery([], tmp_path, [Listing(tmp_path / "other"), Listing(tmp_path / "jobs", "vllm")])
    second.follow(first)
    assert told(second) == before
    assert len(errors(second)) == 2
    write(tmp_path / "jobs", "web h:1\n")
    assert told(second) == ["vllm/web/http://h:1/metrics"]


def test_a_list_that_is_bad_while_its_job_changes_keeps_its_targets(tmp_path: Path) -> None:
    write(tmp_path / "jobs", "web a.json\n")
    write(tmp_path / "a.json", json.dumps([{"targets": ["h:1"]}]))
    found = Discovery([], tmp_path, [Listing(tmp_path / "jobs")])
    assert told(found) == ["custom/web/http://h:1/metrics"]
    write(tmp_path / "a.json", "[")
    write(tmp_path / "jobs", "db a.json\n")
    assert told(found) == ["custom/db/http://h:1/metrics"]


def test_a_wrong_address_affects_only_itself(tmp_path: Path) -> None:
    write(tmp_path / "jobs", "web h:99999\nweb h:1\nweb a.json\n")
    write(tmp_path / "a.json", json.dumps([{"targets": ["a/b", "[::1]", "h"]}]))
    found = Discovery([], tmp_path, [Listing(tmp_path / "jobs")])
    assert told(found) == [f"custom/web/http://{host}/metrics" for host in ("h:1", "[::1]", "h")]
    assert errors(found) == [
        "job web: 'h:99999' is not host:port or a host",
        f"{tmp_path}/a.json: entry 1: 'a/b' is not host:port or a host",
    ]


def test_parameters_have_all_their_values_and_rules_the_first(tmp_path: Path) -> None:
    group = replace(WEB, addresses=("h:1",), params=(("m[]", ("a", "b")), ("x", ())), labels=(("__param_y", "1"),))
    (target,) = Discovery([group]).refresh()
    assert target.url == "http://h:1/metrics?m%5B%5D=a&m%5B%5D=b&y=1"
    assert dict(target.discovered) == {
        "job": "web",
        "__scheme__": "http",
        "__metrics_path__": "/metrics",
        "__scrape_interval__": "15s",
        "__scrape_timeout__": "10s",
        "__param_m[]": "a",
        "__param_y": "1",
        "__address__": "h:1",
    }
