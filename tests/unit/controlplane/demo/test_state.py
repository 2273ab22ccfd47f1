from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.config.context import Context, Contexts, read_contexts, write_contexts
from controlplane.demo.state import (
    DemoNotRunning,
    DemoState,
    find_state,
    read_state,
    remove_context,
    write_context,
    write_state,
)

GONE = 2**22 + 1
"""A process id beyond Linux's largest."""


def state(pid: int | None = None, url: str = "http://127.0.0.1:8080") -> DemoState:
    return DemoState(url, "http://127.0.0.1:1", "s3cret", "http://127.0.0.1:2", pid or os.getpid(), {}, None)


@pytest.fixture
def contexts(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


def test_the_state_is_its_owner_s_alone_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    write_state(path, state())
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_state(path) == state()
    assert "s3cret" not in repr(state())


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"url": 1}'])
def test_a_state_that_is_absent_or_broken_is_no_running_demo(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "demo.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DemoNotRunning, match="make demo"):
        read_state(path)


URL = "http://127.0.0.1:8080"


def test_the_context_becomes_current_where_none_was(contexts: Path, tmp_path: Path) -> None:
    assert write_context(contexts, URL, "cp_1_2", tmp_path / "demo.json") == ("demo", "demo")
    assert contexts.stat().st_mode & 0o777 == 0o600
    assert read_contexts(contexts).contexts == {"demo": Context(URL, "cp_1_2", str(tmp_path / "demo.json"))}
    remove_context(contexts, "demo")
    assert not contexts.exists()


def test_a_current_context_stays_current_while_the_demo_comes_and_goes(contexts: Path, tmp_path: Path) -> None:
    prod = Context("https://cp.example.com", "cp_a_b")
    write_contexts(contexts, Contexts("prod", {"prod": prod}))
    assert write_context(contexts, URL, "cp_1_2", tmp_path / "demo.json") == ("demo", "prod")
    assert sorted(read_contexts(contexts).contexts) == ["demo", "prod"]
    remove_context(contexts, "demo")
    assert read_contexts(contexts) == Contexts("prod", {"prod": prod})


def test_a_current_context_that_is_gone_is_none(contexts: Path, tmp_path: Path) -> None:
    prod = Context("https://cp.example.com", "cp_a_b")
    write_contexts(contexts, Contexts("gone", {"prod": prod}))
    assert write_context(contexts, URL, "t", tmp_path / "demo.json") == ("demo", "demo")
    remove_context(contexts, "demo")
    assert read_contexts(contexts) == Contexts("", {"prod": prod})


def test_a_context_chosen_meanwhile_stays_current(contexts: Path, tmp_path: Path) -> None:
    prod = Context("https://cp.example.com", "cp_a_b")
    write_context(contexts, URL, "t", tmp_path / "demo.json")
    write_contexts(contexts, Contexts("prod", {**read_contexts(contexts).contexts, "prod": prod}))
    remove_context(contexts, "demo")
    assert read_contexts(contexts) == Contexts("prod", {"prod": prod})


def test_a_second_demo_takes_another_name_and_leaves_the_first_one_current(contexts: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "first.json", state())
    assert write_context(contexts, URL, "t", tmp_path / "first.json") == ("demo", "demo")
    assert write_context(contexts, "http://127.0.0.1:8081", "t", tmp_path / "second.json") == ("demo-8081", "demo")
    remove_context(contexts, "demo")
    assert read_contexts(contexts).current == ""
    remove_context(contexts, "demo-8081")
    assert not contexts.exists()


def test_what_a_killed_demo_left_is_taken_over(contexts: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "dead.json", state(pid=GONE))
    write_context(contexts, URL, "t", tmp_path / "dead.json")
    assert write_context(contexts, "http://127.0.0.1:9090", "t", tmp_path / "new.json") == ("demo", "demo")


def test_a_killed_demo_under_another_name_is_current_no_more(contexts: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "dead.json", state(pid=GONE))
    write_contexts(contexts, Contexts("demo-9", {"demo-9": Context("http://a", "t", str(tmp_path / "dead.json"))}))
    assert write_context(contexts, URL, "t", tmp_path / "new.json") == ("demo", "demo")


def test_what_a_killed_demo_left_is_taken_over_by_the_next_in_its_folder(contexts: Path, tmp_path: Path) -> None:
    write_context(contexts, URL, "t", tmp_path / "demo.json")
    write_state(tmp_path / "demo.json", state())
    assert write_context(contexts, URL, "t", tmp_path / "demo.json") == ("demo", "demo")


def test_a_context_of_the_user_s_own_called_demo_is_not_overwritten(contexts: Path, tmp_path: Path) -> None:
    write_contexts(contexts, Contexts("demo", {"demo": Context("https://demo.example.com", "x")}))
    assert write_context(contexts, URL, "t", tmp_path / "demo.json") == ("demo-8080", "demo")


def test_demos_that_start_at_once_all_have_a_context(contexts: Path, tmp_path: Path) -> None:
    def start(number: int) -> None:
        state_file = tmp_path / f"{number}.json"
        write_state(state_file, state())
        write_context(contexts, f"http://127.0.0.1:{9000 + number}", "t", state_file)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(24)))
    assert len(read_contexts(contexts).contexts) == 24


def test_the_running_demo_is_found_through_the_contexts(contexts: Path, tmp_path: Path) -> None:
    with pytest.raises(DemoNotRunning, match="no demo is running"):
        find_state(contexts)
    write_state(tmp_path / "dead.json", state(pid=GONE))
    write_state(tmp_path / "live.json", state())
    dead, live = (Context("u", "t", str(tmp_path / f"{name}.json")) for name in ("dead", "live"))
    write_contexts(contexts, Contexts("dead", {"dead": dead}))
    with pytest.raises(DemoNotRunning):
        find_state(contexts)
    write_contexts(contexts, Contexts("prod", {"prod": Context("u", "t"), "dead": dead, "live": live}))
    assert find_state(contexts) == state()
    write_state(tmp_path / "other.json", state(url="http://127.0.0.1:7"))
    other = Context("u", "t", str(tmp_path / "other.json"))
    write_contexts(contexts, Contexts("live", {"live": live, "other": other}))
    assert find_state(contexts, "other").url == "http://127.0.0.1:7"
    assert find_state(contexts, "no such") == state()
