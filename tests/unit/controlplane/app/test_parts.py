"""The list of parts: order, what is derived before anything changes, and the sentences on what was taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from controlplane.app.parts.part import Configuration, Part, Parts, difference
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.errors import ConfigError, ConfigErrors
from controlplane.pools import ThreadPool

Write = Callable[[str], LoadedFleet]
POOL = ThreadPool("parsing", 1)


class Scripted(Part[float]):
    """Is told the evaluation interval, and writes down what happens to it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log
        self.refuses = self.breaks = False

    def settings(self, config: Configuration) -> float:
        self._log.append(f"{self.name} derives")
        if self.refuses:
            raise ConfigErrors([ConfigError("it does not like it")])
        return config.fleet.evaluation_interval

    async def configure(self, settings: float) -> Sequence[str]:
        if self.breaks:
            raise OSError("no space")
        self._log.append(f"{self.name} takes {settings:g}")
        return [f"every {settings:g} s"]

    async def start(self) -> None:
        self._log.append(f"{self.name} starts")

    def not_ready(self) -> Mapping[str, str]:
        return {self.name: "not yet"}

    async def close(self) -> None:
        self._log.append(f"{self.name} closes")


class Silent(Part[Any]):
    """Needs nothing of the protocol."""

    name = "silent"


@pytest.fixture
def told(fleet: Write) -> Callable[[int], Configuration]:
    return lambda seconds: Configuration(fleet(f"evaluation_interval: {seconds}s\n"), "127.0.0.1:8080")


async def test_parts_derive_first_then_take_in_order_and_close_in_reverse(told: Callable[[int], Configuration]) -> None:
    log: list[str] = []
    parts = Parts([Scripted("one", log), Silent(), Scripted("two", log)])
    assert await parts.configure(told(5), POOL) == ["one: every 5 s", "two: every 5 s"]
    await parts.start()
    assert parts.not_ready() == {"one": "not yet", "two": "not yet"}
    await parts.close()
    assert log == [
        "one derives",
        "two derives",
        "one takes 5",
        "two takes 5",
        "one starts",
        "two starts",
        "two closes",
        "one closes",
    ]


async def test_equal_settings_are_not_taken_again(told: Callable[[int], Configuration]) -> None:
    log: list[str] = []
    parts = Parts([Scripted("one", log)])
    await parts.configure(told(5), POOL)
    assert await parts.configure(told(5), POOL) == []
    assert await parts.configure(told(6), POOL) == ["one: every 6 s"]
    assert [line for line in log if "takes" in line] == ["one takes 5", "one takes 6"]


async def test_a_refusal_of_one_part_leaves_all_as_they_were(told: Callable[[int], Configuration]) -> None:
    log: list[str] = []
    first, last = Scripted("first", log), Scripted("last", log)
    parts = Parts([first, last])
    await parts.configure(told(5), POOL)
    last.refuses = True
    with pytest.raises(ConfigErrors, match="does not like it"):
        await parts.configure(told(6), POOL)
    assert [line for line in log if "takes" in line] == ["first takes 5", "last takes 5"]


async def test_what_a_fault_interrupted_is_taken_at_the_next_call(told: Callable[[int], Configuration]) -> None:
    log: list[str] = []
    first, second, third = (Scripted(name, log) for name in ("first", "second", "third"))
    parts = Parts([first, second, third])
    await parts.configure(told(5), POOL)
    second.breaks = True
    with pytest.raises(OSError, match="no space"):
        await parts.configure(told(6), POOL)
    second.breaks = False
    assert await parts.configure(told(6), POOL) == ["second: every 6 s", "third: every 6 s"]


def test_two_parts_of_one_name_are_a_bug() -> None:
    with pytest.raises(ValueError, match="silent, silent"):
        Parts([Silent(), Silent()])


def test_a_difference_names_what_changed_and_counts_what_was_kept() -> None:
    before = {"a": 1, "b": 1, "c": 1}
    assert difference("things", before, dict(before)) == []
    assert difference("things", before, {"a": 1, "b": 2, "d": 1}) == [
        "things: 1 added (d), 1 changed (b), 1 removed (c), 1 kept"
    ]
    many = {f"n{number}": 1 for number in range(7)}
    assert difference("things", {}, many) == ["things: 7 added (n0, n1, n2, n3 and 3 more), 0 kept"]


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("{name: x}", "http://127.0.0.1:8080"),
        ("{name: x, external_url: 'https://cp.example/a/'}", "https://cp.example/a"),
    ],
)
def test_the_console_is_where_the_file_says_or_where_this_process_listens(
    fleet: Write, section: str, url: str, tmp_path: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(f"fleet: {section}\n")
    assert Configuration(load_fleet(tmp_path / "fleet.yaml"), "127.0.0.1:8080").console_url == url
