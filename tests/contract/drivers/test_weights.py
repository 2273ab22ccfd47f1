"""Every driver that takes weights: the split that clients see, its counts, drain, restarts and lost replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from controlplane.traffic.driver import BackendObservation, EngineRefused, Placement
from tests.contract.drivers.cases import Case
from tests.patience import HANG_S

REQUESTS = 400


def has(share: float, version: str = "v2") -> Callable[[BackendObservation], bool]:
    def reached(seen: BackendObservation) -> bool:
        return not seen.pending and abs(seen.weights.get(version, 0.0) - share) < 0.0005

    return reached


@pytest.mark.parametrize("share", [0.05, 0.5])
async def test_clients_get_the_ordered_share_and_it_is_counted(weighted: Case, share: float) -> None:
    assert weighted.clients is not None
    await weighted.place("v2", "v1", share=share)
    seen = await weighted.until(has(share))
    assert seen.requests == dict.fromkeys(weighted.names, 0)
    answered = await weighted.clients(REQUESTS)
    assert set(answered) == {"v1", "v2"}
    assert abs(answered["v2"] / REQUESTS - share) <= weighted.spread
    seen = await weighted.until(lambda seen: seen.requests == dict.fromkeys(weighted.names, 0) | answered)
    assert seen.served == f"v2 {100 * share:g}% and v1 {100 - 100 * share:g}%" or set(seen.weights) == {"v1", "v2"}


async def test_shares_are_absolute_whatever_came_before(weighted: Case) -> None:
    for share in (0.05, 0.5, 0.5, 0.05):
        await weighted.place("v2", "v1", share=share)
        seen = await weighted.until(has(share))
        assert set(seen.weights) == {"v1", "v2"}
    await weighted.place("v2", "v1", share=0.0)
    assert (await weighted.until(has(1.0, "v1"))).serving == "v1"
    await weighted.place("v1")
    assert (await weighted.until(has(1.0, "v1"))).serving == "v1"


async def test_a_new_share_is_counted_from_its_own_beginning(weighted: Case) -> None:
    assert weighted.clients is not None
    await weighted.place("v2", "v1", share=0.5)
    await weighted.until(has(0.5))
    await weighted.clients(20)
    await weighted.place("v2", "v1")
    seen = await weighted.until(has(1.0))
    assert seen.requests == dict.fromkeys(weighted.names, 0)
    await weighted.clients(3)
    await weighted.until(lambda seen: (seen.requests or {}).get("v2") == 3)


async def test_open_requests_of_the_old_version_end_by_themselves_and_are_counted_down(weighted: Case) -> None:
    assert weighted.clients is not None
    assert weighted.hold is not None
    async with asyncio.timeout(HANG_S):
        async with weighted.hold("v1") as (release, answered):
            await weighted.until(lambda seen: not weighted.counts_open or (seen.open or {}).get("v1") == 1)
            await weighted.place("v2")
            seen = await weighted.until(has(1.0))
            assert seen.open is None or seen.open["v1"] == 1
            assert await weighted.clients(5) == {"v2": 5}
            release()
            assert await answered == "v1"
        await weighted.until(lambda seen: seen.open is None or seen.open.get("v1") == 0)


async def test_orders_that_are_doubled_or_cut_off_end_in_the_state_of_the_last(weighted: Case) -> None:
    placement = Placement("chat", "v2", ("v1",), weighted.config, 0.5)
    await asyncio.gather(*(weighted.driver.place(weighted.backend, placement) for _ in range(3)))
    await weighted.until(has(0.5))
    for wait_s in (0.0, 0.001, 0.003, 0.01):
        cut = asyncio.create_task(weighted.driver.place(weighted.backend, Placement("chat", "v1", (), weighted.config)))
        await asyncio.sleep(wait_s)  # somewhere within the order
        cut.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cut
        await weighted.place("v2", "v1", share=0.5)
        await weighted.until(has(0.5))


async def test_a_restart_of_the_target_keeps_what_was_committed(weighted: Case) -> None:
    assert weighted.restart is not None
    assert weighted.clients is not None
    await weighted.place("v2")
    await weighted.until(has(1.0))
    await weighted.driver.commit(Placement("chat", "v2", (), weighted.config))
    await weighted.restart()
    await weighted.until(has(1.0))
    assert await weighted.clients(10) == {"v2": 10}


async def test_a_version_without_servers_gets_no_share(weighted: Case) -> None:
    with pytest.raises(EngineRefused, match="v9"):
        await weighted.place("v9", "v1", share=0.5)
    assert (await weighted.observe()).serving == "v1"
