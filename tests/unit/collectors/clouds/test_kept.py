"""A kept credential: renewed before its end, once for all who ask, and used to its end while the issuer is away."""

from __future__ import annotations

import asyncio

import pytest

from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from tests.patience import HANG_S


class Issuer(Kept[str]):
    """An issuer on a clock of its own: c1, c2, …"""

    def __init__(self) -> None:
        self.now, self.lasts_s = 1000.0, 3600.0
        super().__init__(lambda: self.now)
        self.given = 0
        self.fails: ScrapeError | None = None
        self.slow: asyncio.Event | None = None

    async def _fetch(self) -> Issued[str]:
        self.given += 1
        if self.slow:
            await self.slow.wait()
        if self.fails:
            raise self.fails
        return Issued(f"c{self.given}", self.now + self.lasts_s)


async def test_it_is_renewed_five_minutes_before_its_end() -> None:
    issuer = Issuer()
    assert await issuer.current() == "c1"
    issuer.now = 1000 + 3299
    assert await issuer.current() == "c1"
    issuer.now = 1000 + 3300
    assert await issuer.current() == "c2"


async def test_a_short_one_is_renewed_after_half_its_time() -> None:
    issuer = Issuer()
    issuer.lasts_s = 100.0
    await issuer.current()
    issuer.now += 49
    assert await issuer.current() == "c1"
    issuer.now += 1
    assert await issuer.current() == "c2"


async def test_while_the_issuer_fails_the_last_one_is_used_until_its_end() -> None:
    issuer = Issuer()
    await issuer.current()
    issuer.fails = UnexpectedStatus("away")
    issuer.now = 1000 + 3300
    assert await issuer.current() == "c1"
    issuer.now += 59
    assert (await issuer.current(), issuer.given) == ("c1", 2)  # it is left alone for a minute
    assert issuer.remark == "the credentials cannot be renewed, and the last ones are used to their end: away"
    issuer.now += 1
    assert (await issuer.current(), issuer.given) == ("c1", 3)
    issuer.now = 1000 + 3599
    assert await issuer.current() == "c1"
    issuer.now = 1000 + 3600
    with pytest.raises(UnexpectedStatus, match=r"^away$"):
        await issuer.current()
    issuer.fails = None
    assert await issuer.current() == f"c{issuer.given}"
    assert issuer.remark == ""


async def test_an_issuer_that_asks_to_wait_is_left_alone_for_so_long() -> None:
    issuer = Issuer()
    await issuer.current()
    issuer.fails = Limited("full", "120", issuer.now)
    issuer.now = 1000 + 3300
    await issuer.current()
    issuer.now += 119
    assert (await issuer.current(), issuer.given) == ("c1", 2)
    issuer.now += 1
    assert (await issuer.current(), issuer.given) == ("c1", 3)


async def test_a_clock_that_was_ten_days_ahead_does_not_put_the_renewal_off() -> None:
    issuer = Issuer()
    issuer.now = 1000 + 10 * 86_400.0
    await issuer.current()
    issuer.now = 1000.0
    assert (await issuer.current(), await issuer.current()) == ("c2", "c2")
    issuer.now = 900.0
    issuer.fails = UnexpectedStatus("away")
    assert (await issuer.current(), await issuer.current(), issuer.given) == ("c2", "c2", 3)


@pytest.mark.parametrize("fails", [None, UnexpectedStatus("away")])
async def test_all_who_ask_at_once_share_one_renewal(fails: ScrapeError | None) -> None:
    issuer = Issuer()
    issuer.slow, issuer.fails = asyncio.Event(), fails
    asking = [asyncio.create_task(issuer.current()) for _ in range(5)]
    await asyncio.sleep(0)
    issuer.slow.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert issuer.given == 1
    assert found == ([fails] * 5 if fails else ["c1"] * 5)


async def test_an_issuer_that_hangs_holds_up_nobody_while_the_last_one_is_good() -> None:
    issuer = Issuer()
    issuer.patience_s = 0.01
    await issuer.current()
    issuer.slow = asyncio.Event()
    issuer.now = 1000 + 3300
    assert [await issuer.current() for _ in range(3)] == ["c1", "c1", "c1"]
    assert issuer.given == 2, "one question is open"
    issuer.slow.set()
    issuer.patience_s = HANG_S
    assert (await issuer.current(), issuer.given) == ("c2", 2)


async def test_a_renewal_goes_on_when_the_one_who_began_it_gives_up() -> None:
    issuer = Issuer()
    issuer.slow = asyncio.Event()
    impatient = asyncio.create_task(issuer.current())
    await asyncio.sleep(0)
    patient = asyncio.create_task(issuer.current())
    await asyncio.sleep(0)
    impatient.cancel()
    issuer.slow.set()
    assert (await patient, issuer.given) == ("c1", 1)


async def test_a_source_that_is_closed_ends_the_renewal_and_tells_who_waits() -> None:
    issuer = Issuer()
    issuer.slow = asyncio.Event()
    waiting = asyncio.create_task(issuer.current())
    await asyncio.sleep(0)
    await issuer.close()
    with pytest.raises(ScrapeError, match="there is no credential: its source was closed"):
        await waiting


async def test_a_refused_one_is_not_used_again_though_the_issuer_fails() -> None:
    issuer = Issuer()
    await issuer.current()
    assert issuer.forget()
    issuer.fails = UnexpectedStatus("away")
    with pytest.raises(UnexpectedStatus):
        await issuer.current()


async def test_one_that_has_ended_when_it_is_given_is_told() -> None:
    issuer = Issuer()
    issuer.lasts_s = 0.0
    with pytest.raises(UnexpectedStatus, match="has ended; is this host's clock right"):
        await issuer.current()


@pytest.mark.parametrize(
    ("answer", "until"),
    [
        ({"access_token": "t", "expires_in": 60}, 160.0),
        ({"access_token": "t", "expires_in": "60", "expires_on": "9"}, 160.0),
        ({"access_token": "t", "expires_on": "170"}, 170.0),
    ],
)
def test_the_end_of_a_token_in_all_forms(answer: dict[str, object], until: float) -> None:
    assert bearer(answer, 100.0) == ("t", until)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "t"},
        {"access_token": "", "expires_in": 60},
        {"access_token": "a\nb", "expires_in": 60},
        {"access_token": 5, "expires_in": 60},
        {"access_token": "t", "expires_in": True},
        {"access_token": "t", "expires_in": "soon"},
        {"access_token": "t", "expires_in": -5},
        {"access_token": "t", "expires_on": "2026-11-28"},
    ],
)
def test_a_token_without_a_text_or_an_end_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(ExpositionError, match="the token: the answer has no access_token"):
        bearer(answer, 100.0)
