"""One suite that every driver passes: the verbs are idempotent, planning changes nothing, unknown is never a guess."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import BackendObservation, EngineRefused, Placement, TrafficObservation, VersionState
from tests.contract.drivers.cases import Case


def serves(version: str) -> Callable[[BackendObservation], bool]:
    return lambda seen: seen.serving == version and seen.versions[version] is VersionState.READY and not seen.pending


async def test_planning_changes_nothing(case: Case) -> None:
    before = await case.driver.observe()
    assert (await case.driver.prepare("v2")).config == case.config
    assert await case.driver.observe() == before == TrafficObservation("chat", before.backends)


async def test_every_declared_version_has_a_state(case: Case) -> None:
    seen = await case.observe()
    assert seen.reachable
    assert seen.error == ""
    assert seen.serving == "v1"
    assert set(seen.versions) >= set(case.names)
    assert VersionState.UNKNOWN not in seen.versions.values()


async def test_placing_is_idempotent_and_keeps_what_it_said_it_can_keep(case: Case) -> None:
    gone = VersionState.UNAVAILABLE if case.loads else VersionState.READY
    assert case.driver.can_keep("v2", "v1")
    for _ in range(2):
        await case.place("v2", "v1")
        seen = await case.until(serves("v2"))
        assert seen.versions["v1"] is VersionState.READY
    for _ in range(2):
        await case.place("v2")
        await case.until(lambda seen: serves("v2")(seen) and seen.versions["v1"] is gone)
    await case.place("v1")
    seen = await case.until(lambda seen: serves("v1")(seen) and seen.versions["v2"] is gone)
    assert case.loads or {"v1", "v2"} <= set(seen.stays)


async def test_a_version_that_cannot_start_is_refused_in_the_engines_words_and_the_old_one_serves(case: Case) -> None:
    never = case.names[-1]
    if case.versions is not None:  # its servers are started by somebody else: planning must refuse it
        case.versions.servers[never].health = 503
        with pytest.raises(Refused, match=f"{never} is not ready on http"):
            await case.driver.prepare(never)
        assert (await case.observe()).serving == "v1"
        return
    with pytest.raises(EngineRefused, match=case.cannot_start):
        await case.place(never, "v1")
    seen = await case.until(lambda seen: seen.versions[never] is VersionState.UNAVAILABLE)
    assert seen.serving == "v1"
    assert case.cannot_start != "out of memory" or "out of memory" in seen.reasons[never]


async def test_committing_is_idempotent_and_says_what_it_did(case: Case) -> None:
    placement = Placement("chat", "v1", (), case.config)
    await case.driver.commit(placement)
    again = await case.driver.commit(placement)
    assert again
    assert await case.driver.commit(placement) == again


async def test_a_backend_that_is_not_there_is_reported_not_raised_and_never_called_unavailable(case: Case) -> None:
    driver = case.gone(case.nowhere)
    try:
        (seen,) = (await driver.observe()).backends
        assert (seen.reachable, seen.versions, seen.serving) == (False, {}, None)
        assert case.nowhere in seen.error
        with pytest.raises(Refused, match=case.nowhere):
            await driver.prepare("v2")
        config = json.dumps({case.nowhere: next(iter(json.loads(case.config).values()))}) if case.config else ""
        with pytest.raises((Unavailable, EngineRefused), match=case.nowhere):
            await driver.place(seen.url, Placement("chat", "v2", (), config))
    finally:
        await driver.close()


async def test_another_process_sees_what_was_placed_and_a_driver_believes_nothing_it_ordered(case: Case) -> None:
    other = case.again()
    try:
        await case.place("v2", "v1")
        await case.until(serves("v2"))
        (seen,) = (await other.observe()).backends
        assert (seen.serving, seen.pending) == ("v2", "")
        await other.place(case.backend, Placement("chat", "v1", ("v2",) if not case.loads else (), case.config))
        await case.until(serves("v1"))
    finally:
        await other.close()
