from __future__ import annotations

import os
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


def state(pid: int | None = None) -> DemoState:
    return DemoState(
        "http://127.0.0.1:8080", "http://127.0.0.1:1", "s3cret", "http://127.0.0.1:2", pid or os.getpid(), {}, None
    )


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


def test_the_context_becomes_current_and_the_one_before_comes_back(contexts: Path, tmp_path: Path) -> None:
    prod = Context("https://cp.example.com", "cp_a_b")
    write_contexts(contexts, Contexts("prod", {"prod": prod}))
    name, before = write_context(contexts, "http://127.0.0.1:8080", "cp_1_2", tmp_path / "demo.json")
    assert (name, before) == ("demo", "prod")
    assert contexts.stat().st_mode & 0o777 == 0o600
    held = read_contexts(contexts)
    assert (held.current, sorted(held.contexts)) == ("demo", ["demo", "prod"])
    remove_context(contexts, name, before)
    assert read_contexts(contexts) == Contexts("prod", {"prod": prod})


def test_a_context_chosen_meanwhile_stays_current(contexts: Path, tmp_path: Path) -> None:
    prod = Context("https://cp.example.com", "cp_a_b")
    name, before = write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "demo.json")
    write_contexts(contexts, Contexts("prod", {**read_contexts(contexts).contexts, "prod": prod}))
    remove_context(contexts, name, before)
    assert read_contexts(contexts) == Contexts("prod", {"prod": prod})


def test_a_file_that_only_the_demo_wrote_goes_with_it(contexts: Path, tmp_path: Path) -> None:
    remove_context(contexts, *write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "demo.json"))
    assert not contexts.exists()


def test_a_second_demo_takes_another_name(contexts: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "first.json", state())
    assert write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "first.json") == ("demo", "")
    assert write_context(contexts, "http://127.0.0.1:8081", "t", tmp_path / "second.json") == ("demo-8081", "demo")
    remove_context(contexts, "demo", "")
    remove_context(contexts, "demo-8081", "demo")
    assert not contexts.exists()


def test_what_a_killed_demo_left_is_taken_over(contexts: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "dead.json", state(pid=GONE))
    write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "dead.json")
    assert write_context(contexts, "http://127.0.0.1:9090", "t", tmp_path / "new.json") == ("demo", "")


def test_what_a_killed_demo_left_is_taken_over_by_the_next_in_its_folder(contexts: Path, tmp_path: Path) -> None:
    write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "demo.json")
    write_state(tmp_path / "demo.json", state())
    assert write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "demo.json") == ("demo", "")


def test_a_context_of_the_user_s_own_called_demo_is_not_overwritten(contexts: Path, tmp_path: Path) -> None:
    write_contexts(contexts, Contexts("demo", {"demo": Context("https://demo.example.com", "x")}))
    assert write_context(contexts, "http://127.0.0.1:8080", "t", tmp_path / "demo.json") == ("demo-8080", "demo")


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
