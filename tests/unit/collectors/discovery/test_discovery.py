"""Discovery: static addresses, file_sd files as Prometheus reads them, and the effect of a bad file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery import files
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.errors import DiscoveryError
from collectors.target import Auth, Target


def write(path: Path, content: Any) -> Path:
    """Replace a file by one with a new inode, so that the change is seen whatever the file's time is."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(content if isinstance(content, str) else json.dumps(content))
    fresh.rename(path)
    return path


def entry(*targets: str, **labels: str) -> dict[str, Any]:
    return {"targets": list(targets), "labels": labels}


def from_file(tmp_path: Path, content: Any, name: str = "a.json", **group: Any) -> Discovery:
    write(tmp_path / name, content)
    return Discovery([DiscoveryGroup("vllm", file_sd=(name,), **group)], tmp_path)


def urls(targets: list[Target]) -> list[str]:
    return [target.url for target in targets]


def errors(found: Discovery) -> list[str]:
    return [str(error) for error in found.errors]


def test_static_addresses_become_targets() -> None:
    auth = Auth(credentials_file="/run/secrets/vllm")
    group = DiscoveryGroup(
        "triton",
        addresses=("10.0.0.5:8002", "[fd00::1]:8002"),
        labels=(("model", "chat"), ("empty", "")),
        models=(("llm", "chat"),),
        scheme="https",
        path="prom/metrics",
        interval_s=30,
        timeout_s=5,
        auth=auth,
    )
    assert Discovery([group]).refresh() == [
        Target(
            engine="triton",
            url=f"https://{address}/prom/metrics",
            job="triton",
            instance=address,
            labels=(("model", "chat"),),
            models=(("llm", "chat"),),
            interval_s=30,
            timeout_s=5,
            auth=auth,
        )
        for address in ("10.0.0.5:8002", "[fd00::1]:8002")
    ]


def test_job_and_instance_labels_name_the_target() -> None:
    labels = (("instance", "gpu-7"), ("job", "inference"), ("zone", "a"))
    (target,) = Discovery([DiscoveryGroup("vllm", addresses=("h:1",), labels=labels)]).refresh()
    assert (target.job, target.instance, target.labels) == ("inference", "gpu-7", (("zone", "a"),))
    assert target.key == "inference/gpu-7/http://h:1/metrics"


def test_whole_urls_are_taken_as_they_are() -> None:
    group = DiscoveryGroup("nvml", urls=("local:nvml", "http://user:pw@h:8000/v1?x=1"), interval_s=5, timeout_s=2)
    targets = Discovery([group]).refresh()
    assert [(t.url, t.instance, t.interval_s, t.timeout_s) for t in targets] == [
        ("local:nvml", "local:nvml", 5, 2),
        ("http://user:pw@h:8000/v1?x=1", "h:8000", 5, 2),
    ]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (DiscoveryGroup("vllm", addresses=("h",)), "'h' is not host:port"),
        (DiscoveryGroup("vllm", addresses=("h:0",)), "'h:0' is not host:port"),
        (DiscoveryGroup("vllm", addresses=("h:65536",)), "is not host:port"),
        (DiscoveryGroup("vllm", addresses=("http://h:1",)), "is not host:port"),
        (DiscoveryGroup("vllm", addresses=("::1:80",)), "is not host:port"),
        (DiscoveryGroup("vllm", addresses=("u@h:1",)), "is not host:port"),
        (DiscoveryGroup("vllm", addresses=("h:1",), labels=(("a-b", "c"),)), "'a-b' is not a label name"),
        (DiscoveryGroup("vllm", addresses=("h:1",), scheme="ftp"), "scheme 'ftp' is neither http nor https"),
    ],
)
def test_a_wrong_group_is_refused_at_once(group: DiscoveryGroup, message: str) -> None:
    with pytest.raises(DiscoveryError, match=f"targets of engine vllm: {message}|{message}"):
        Discovery([group])


def test_a_file_in_prometheus_json_format(tmp_path: Path) -> None:
    content = [
        entry("h1:8000", "h2:8000", model="chat", zone="b"),
        entry(
            "h3:8000",
            __metrics_path__="/prometheus/metrics",
            __scheme__="https",
            __scrape_interval__="1m30s",
            __scrape_timeout__="500ms",
            __param_module="a b",
            __param_Target="x&y",
            __meta_anything="dropped",
        ),
        {"targets": ["h4:8000"]},
        {"targets": []},
        {"targets": None, "labels": None},
    ]
    found = from_file(tmp_path, content, labels=(("model", "default"), ("fleet", "eu")))
    assert found.refresh() == [
        Target(
            "vllm", f"http://{h}:8000/metrics", "vllm", f"{h}:8000", (("fleet", "eu"), ("model", "chat"), ("zone", "b"))
        )
        for h in ("h1", "h2")
    ] + [
        Target(
            "vllm",
            "https://h3:8000/prometheus/metrics?Target=x%26y&module=a+b",
            "vllm",
            "h3:8000",
            (("fleet", "eu"), ("model", "default")),
            interval_s=90.0,
            timeout_s=0.5,
        ),
        Target("vllm", "http://h4:8000/metrics", "vllm", "h4:8000", (("fleet", "eu"), ("model", "default"))),
    ]
    assert found.errors == ()


@pytest.mark.parametrize("name", ["a.yml", "a.yaml", "a.YAML"])
def test_a_file_in_prometheus_yaml_format(tmp_path: Path, name: str) -> None:
    content = """
- targets: ['h1:8000', h2:8000]
  labels:
    version: 1.10
    simulated: true
- targets:
  labels:
"""
    targets = from_file(tmp_path, content, name).refresh()
    assert urls(targets) == ["http://h1:8000/metrics", "http://h2:8000/metrics"]
    assert targets[0].labels == (("simulated", "true"), ("version", "1.10"))


@pytest.mark.parametrize(
    ("path", "labels", "asked"),
    [
        ("/metrics?model=x", {}, "/metrics?model=x"),
        ("metrics?model=a%20b&model=c", {}, "/metrics?model=a%20b&model=c"),
        ("/metrics?a=1 2#3", {}, "/metrics?a=1%202%233"),
        ("/metrics?", {}, "/metrics"),
        ("/metrics?model=x&format=text", {"__param_model": "y z"}, "/metrics?format=text&model=y+z"),
        ("/metrics?model=x", {"__metrics_path__": "/m?v=2", "__param_a": "1"}, "/m?v=2&a=1"),
    ],
)
def test_a_query_string_in_the_path_is_joined_with_parameters(path: str, labels: dict[str, str], asked: str) -> None:
    group = DiscoveryGroup("vllm", addresses=("h:1",), path=path, labels=tuple(sorted(labels.items())))
    (target,) = Discovery([group]).refresh()
    assert target.url == f"http://h:1{asked}"
    assert target.labels == ()


def test_an_interval_of_its_own_shortens_the_timeout_too(tmp_path: Path) -> None:
    (target,) = from_file(tmp_path, [entry("h:1", __scrape_interval__="5s")], timeout_s=10).refresh()
    assert (target.interval_s, target.timeout_s) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: not JSON: Expecting value"),
        ("[\n{]", ":2: not JSON: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, ": cannot be parsed (RecursionError)"),
        ("{}", ": expected a list of {targets, labels}"),
        (["h:1"], ": entry 1: expected a mapping with targets and labels"),
        ([entry("h:1"), {"target": ["h:1"]}], ": entry 2: unknown field 'target'; known are targets and labels"),
        ([{"targets": "h:1"}], ": entry 1: targets: expected a list of host:port"),
        ([{"targets": [1]}], ": entry 1: targets: expected a list of host:port"),
        ([{"targets": [], "labels": {"a": 1}}], ": entry 1: labels: expected names with texts"),
        ([{"targets": [], "labels": ["a"]}], ": entry 1: labels: expected names with texts"),
        ([entry("h")], ": entry 1: 'h' is not host:port (the port cannot be left out)"),
        ([entry("h:1", **{"a.b": "c"})], ": entry 1: 'a.b' is not a label name (letters, digits and _)"),
        ([entry("h:1", __scheme__="ws")], ": entry 1: scheme 'ws' is neither http nor https"),
        (
            [entry("h:1", __scrape_interval__="soon")],
            ": entry 1: __scrape_interval__: expected a duration such as 15s or 1m30s, got 'soon'",
        ),
        (
            [entry("h:1", __scrape_timeout__="0s")],
            ": entry 1: __scrape_timeout__: expected a duration such as 15s or 1m30s, got '0s'",
        ),
        ([entry("h:1", __scrape_timeout__="1m")], ": entry 1: scrape timeout 60s is longer than the interval 15s"),
    ],
)
def test_a_bad_json_file_is_named_and_its_last_good_list_stays(tmp_path: Path, content: Any, message: str) -> None:
    found = from_file(tmp_path, [entry("h:1")])
    good = found.refresh()
    path = write(tmp_path / "a.json", content)
    assert found.refresh() == good
    assert errors(found) == [f"{path}{message}"]
    assert found.refresh() == good  # unchanged, so not read again, but still in error
    assert errors(found) == [f"{path}{message}"]
    write(path, [entry("h:2")])
    assert urls(found.refresh()) == ["http://h:2/metrics"]
    assert found.errors == ()


def test_a_wrong_address_concerns_only_itself_and_is_named(tmp_path: Path) -> None:
    content = [{"targets": ["a:1", "b", "c:1"]}, entry("d:1", __scheme__="ws"), entry("e:1")]
    found = from_file(tmp_path, content)
    assert urls(found.refresh()) == [f"http://{host}:1/metrics" for host in "ace"]
    assert errors(found) == [
        f"{tmp_path}/a.json: entry 1: 'b' is not host:port (the port cannot be left out)",
        f"{tmp_path}/a.json: entry 2: scheme 'ws' is neither http nor https",
    ]
    write(tmp_path / "a.json", [entry("b"), entry("d:1", __scheme__="ws")])  # none of them is good
    assert urls(found.refresh()) == [f"http://{host}:1/metrics" for host in "ace"]
    assert errors(found) == [f"{tmp_path}/a.json: entry 1: 'b' is not host:port (the port cannot be left out)"]
    write(tmp_path / "a.json", [])
    assert (found.refresh(), found.errors) == ([], ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- targets: [h:1\n  labels: {}\n", ":2: not YAML: "),
        ("- targets: [h:1]\n- a: !!python/object/apply:os.system [x]\n", ": entry 2: unknown field 'a'"),
        ("- targets: [h:1]\n  targets: [h:2]\n", ":2: not YAML"),
        ("a: &a [*a]", ": expected a list"),
        ("- &a [*a]", ": entry 1: expected a mapping"),
        ("", ": expected a list"),
    ],
)
def test_a_bad_yaml_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    found = from_file(tmp_path, content, "a.yml")
    assert found.refresh() == []
    (error,) = errors(found)
    assert error.startswith(f"{tmp_path / 'a.yml'}{message}")


def test_a_bad_file_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path / "bad.json", "nonsense")
    write(tmp_path / "good.json", [entry("h:1")])
    found = Discovery([DiscoveryGroup("vllm", addresses=("s:1",), file_sd=("*.json",))], tmp_path)
    assert urls(found.refresh()) == ["http://s:1/metrics", "http://h:1/metrics"]
    assert len(found.errors) == 1


def test_globs_follow_files_that_come_and_go(tmp_path: Path) -> None:
    found = Discovery([DiscoveryGroup("vllm", file_sd=("sd/*.json", "sd/a*.json"))], tmp_path)
    assert found.refresh() == []
    assert found.errors == ()
    (tmp_path / "sd").mkdir()
    write(tmp_path / "sd" / "b.json", [entry("b:1")])
    write(tmp_path / "sd" / "a1.json", [entry("a:1")])
    assert urls(found.refresh()) == ["http://a:1/metrics", "http://b:1/metrics"]  # a1.json once, though matched twice
    (tmp_path / "sd" / "a1.json").unlink()
    assert urls(found.refresh()) == ["http://b:1/metrics"]
    assert found.errors == ()


def test_a_named_file_that_is_missing_is_an_error_and_keeps_its_list(tmp_path: Path) -> None:
    found = Discovery([DiscoveryGroup("vllm", file_sd=("a.json",))], tmp_path)
    assert found.refresh() == []
    assert errors(found) == [f"{tmp_path / 'a.json'}: cannot be read: No such file or directory"]
    write(tmp_path / "a.json", [entry("h:1")])
    good = found.refresh()
    (tmp_path / "a.json").unlink()
    assert found.refresh() == good
    assert len(found.errors) == 1


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = from_file(tmp_path, [entry("h:1")])
    good = found.refresh()
    monkeypatch.setattr(files, "made", lambda *_: pytest.fail("read again"))
    assert found.refresh() == good


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    found = from_file(tmp_path, [entry("h:1")])
    good = found.refresh()
    os.truncate(tmp_path / "a.json", files.MAX_FILE_BYTES + 1)
    assert found.refresh() == good
    assert errors(found) == [f"{tmp_path / 'a.json'}: 4194305 bytes, more than the 4194304 allowed"]


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "latin.json").write_bytes(b'["\xff"]')
    write(tmp_path / "a.txt", [entry("h:1")])
    found = Discovery([DiscoveryGroup("vllm", file_sd=("*.json", "a.txt"))], tmp_path)
    assert found.refresh() == []
    assert errors(found) == [
        f"{tmp_path / 'a.txt'}: the name ends in none of .json, .yml, .yaml",
        f"{tmp_path / 'folder.json'}: not a regular file",
        f"{tmp_path / 'latin.json'}: not UTF-8 text: invalid start byte at byte 2",
        f"{tmp_path / 'pipe.json'}: not a regular file",
    ]


def test_repeated_targets_collapse(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [entry("h:1"), entry("h:1"), entry("h:2")])
    group = DiscoveryGroup("vllm", addresses=("h:2",), file_sd=("a.json",))
    found = Discovery([group, group, DiscoveryGroup("vllm", addresses=("h:1",), labels=(("zone", "b"),))], tmp_path)
    assert [(t.url, t.labels) for t in found.refresh()] == [("http://h:2/metrics", ()), ("http://h:1/metrics", ())]
    assert errors(found) == [
        "http://h:1/metrics is listed twice as job 'vllm', instance 'h:1', with different settings;"
        " the first is used. Give one of them another job or instance label"
    ]


def test_one_file_may_serve_two_groups(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [entry("h:1")])
    groups = [DiscoveryGroup(engine, file_sd=("a.json",)) for engine in ("vllm", "dcgm")]
    assert [t.engine for t in Discovery(groups, tmp_path).refresh()] == ["vllm", "dcgm"]
