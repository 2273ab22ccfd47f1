"""Sources of addresses of any kind: one that fails, one that has a bug, and one that never answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from collectors.discovery.answers import Answer
from collectors.discovery.asking import AFTER_BUG_S, Asker, Follower, Hears, ask_once
from collectors.discovery.entries import Entry
from collectors.discovery.group import SdConfig
from collectors.errors import DiscoveryError
from tests.patience import HANG_S

ONE, TWO = (Entry(["h:1"], {}),), (Entry(["h:2"], {}),)


@dataclass(frozen=True)
class Made:
    """Settings of a source that exists only here."""

    place: str
    credentials: str = ""

    @property
    def identity(self) -> str:
        return self.place


class Bench:
    """An asker of one kind of source, whose answers the test gives."""

    def __init__(self) -> None:
        self.changes = 0
        self.slept: list[float] = []
        self.heard: asyncio.Queue[Hears] = asyncio.Queue()
        self.bugs = 0
        self.asker = Asker(self._changed, self._follower_of, self._sleep)

    def _changed(self) -> None:
        self.changes += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _follower_of(self, _: SdConfig) -> Follower:
        async def follow(heard: Hears) -> None:
            if self.bugs:
                self.bugs -= 1
                raise KeyError("metadata")
            await self.heard.put(heard)
            await asyncio.Event().wait()

        return follow

    async def started(self) -> Hears:
        async with asyncio.timeout(HANG_S):
            return await self.heard.get()


async def test_a_list_stays_while_its_source_fails() -> None:
    bench, sd = Bench(), Made("a")
    await bench.asker.apply([sd])
    heard = await bench.started()
    assert bench.asker.list_of(sd) == Answer()
    heard.took(ONE, same_as=b"1")
    heard.took(ONE, same_as=b"1")
    assert (bench.asker.list_of(sd), bench.changes) == (Answer(1, ONE), 1)
    fault = DiscoveryError("a: away")
    heard.failed(fault)
    heard.failed(DiscoveryError("a: away"))
    assert (bench.asker.list_of(sd).entries, str(bench.asker.list_of(sd).error), bench.changes) == (ONE, "a: away", 2)
    heard.took(ONE, same_as=b"1")
    assert (bench.asker.list_of(sd), bench.changes) == (Answer(1, ONE), 3)
    heard.took(TWO)
    heard.took(TWO)
    assert (bench.asker.list_of(sd), bench.changes) == (Answer(3, TWO), 5)
    await bench.asker.close()
    assert bench.asker.list_of(sd) == Answer()


async def test_other_credentials_keep_the_list_and_drop_the_fault() -> None:
    bench, before, after = Bench(), Made("a", "old"), Made("a", "new")
    await bench.asker.apply([before])
    first = await bench.started()
    first.took(ONE)
    first.failed(DiscoveryError("a: 401"))
    await bench.asker.apply([after])
    second = await bench.started()
    assert bench.asker.list_of(after) == Answer(1, ONE)
    second.took(TWO)
    assert bench.asker.list_of(after) == Answer(2, TWO)
    await bench.asker.close()


async def test_a_source_with_a_bug_is_asked_again_later(caplog: pytest.LogCaptureFixture) -> None:
    bench, sd = Bench(), Made("a")
    bench.bugs = 2
    await bench.asker.apply([sd])
    heard = await bench.started()
    assert bench.slept == [AFTER_BUG_S, AFTER_BUG_S]
    assert str(bench.asker.list_of(sd).error) == "a: internal error (KeyError); see the log"
    heard.took(ONE)
    assert bench.asker.list_of(sd) == Answer(1, ONE)
    assert [record.message for record in caplog.records] == ["discovery: a: internal error"] * 2
    await bench.asker.close()


async def test_one_question_takes_the_first_answer_or_tells_that_none_came() -> None:
    ended = []

    def follower_of(sd: SdConfig) -> Follower:
        async def follow(heard: Hears) -> None:
            try:
                if sd.place == "good":
                    heard.took(ONE)
                if sd.place == "bad":
                    heard.failed(DiscoveryError("bad: away"))
                await asyncio.Event().wait()
            finally:
                ended.append(sd.place)

        return follow

    found = await ask_once([Made("good"), Made("bad"), Made("silent"), Made("good")], 0.05, follower_of)
    assert {sd.place: (answer.entries, str(answer.error or "")) for sd, answer in found.items()} == {
        "good": (ONE, ""),
        "bad": ((), "bad: away"),
        "silent": ((), "silent: no answer within 0.05 s"),
    }
    assert sorted(ended) == ["bad", "good", "silent"]


async def test_a_bug_in_one_question_is_raised() -> None:
    def follower_of(_: SdConfig) -> Follower:
        async def follow(_: Hears) -> None:
            raise KeyError("metadata")

        return follow

    with pytest.raises(KeyError):
        await ask_once([Made("a")], HANG_S, follower_of)
