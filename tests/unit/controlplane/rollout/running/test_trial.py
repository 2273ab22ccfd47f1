"""A trial whose questions are refused, with the stable version to compare."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controlplane.errors import Unavailable
from controlplane.rollout.model import Check, Trial
from controlplane.rollout.running import trial
from controlplane.traffic.driver import (
    Answer,
    BackendObservation,
    Question,
    ServerReply,
    TrafficObservation,
    VersionState,
)
from tests.fakes.asked_driver import AskedDriver, not_sent

A, B = "http://a:1", "http://b:1"
READY, GONE = VersionState.READY, VersionState.UNAVAILABLE


class TwoServers(AskedDriver):
    """A driver of two backends. `statuses` are the answers by backend and version; 0: it cannot be reached."""

    def __init__(self, statuses: Mapping[tuple[str, str], int], old: Mapping[str, VersionState] | None) -> None:
        """`old` is the state of v1 on each backend. None: they cannot be observed."""
        super().__init__(self._answer)
        self.statuses, self.old = statuses, old

    def _answer(self, backend: str, version: str, question: Question) -> Answer | Exception:
        status = self.statuses.get((backend, version), 200)
        fault = "" if status == 200 else f"answered {status}"
        return Answer(fault, 0.1, (ServerReply(backend, fault, 0.1, None, b"", status),)) if status else not_sent()

    async def observe(self) -> TrafficObservation:
        if self.old is None:
            raise Unavailable("the database is away")
        found = (BackendObservation(url, True, {"v1": state}, {}, {}) for url, state in self.old.items())
        return TrafficObservation("chat", tuple(found))

    @property
    def places(self) -> list[tuple[str, str]]:
        """Backend and version of each question, in order."""
        return [(backend, version) for backend, version, _ in self.asked]


async def tried(driver: TwoServers, *answered: bool, stable: str = "v1", requests: int = 2) -> Trial:
    """Return the trial of v2 on A at its end."""
    check = Check((Question("infer", timeout_s=1.0),), requests, 0, answered=answered)
    noted = [Trial(A, 0.0)]
    await trial.run(driver, "v2", check, noted[0], noted.append, stable)
    return noted[-1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422])
async def test_a_refusal_counts_against_it_only_if_the_stable_version_answers_well(status: int) -> None:
    well = TwoServers({(A, "v2"): status}, {A: READY, B: READY})
    found = await tried(well)
    assert (found.asked, found.failed, found.misfits) == (1, 1, 0)
    assert found.words == f"answered {status}; v1 answers it well"
    assert well.places == [(A, "v2"), (A, "v1")]
    both = TwoServers({(A, "v2"): status, (A, "v1"): 422}, {A: READY, B: READY})
    found = await tried(both)
    assert (found.asked, found.failed, found.misfits, found.finished) == (2, 0, 2, True)
    assert found.remark == f"answered {status}; v1 refuses it too"
    assert both.places == [(A, "v2"), (A, "v1"), (A, "v2")], "the stable version is asked once"


@pytest.mark.parametrize("status", [402, 429, 500, 503])
async def test_any_other_status_counts_against_it_whatever_the_stable_version_answers(status: int) -> None:
    driver = TwoServers({(A, "v2"): status, (A, "v1"): status}, {A: READY, B: READY})
    found = await tried(driver)
    assert (found.failed, found.words) == (1, f"answered {status}")
    assert driver.places == [(A, "v2")]


async def test_a_fault_of_the_stable_version_that_is_no_refusal_excuses_nothing() -> None:
    driver = TwoServers({(A, "v2"): 400, (A, "v1"): 500}, {A: READY, B: READY})
    found = await tried(driver, True)
    assert (found.failed, found.words) == (1, "answered 400; v1 answered it well before the rollout")
    assert driver.places == [(A, "v2"), (A, "v1")]
    found = await tried(TwoServers({(A, "v2"): 400, (A, "v1"): 500}, {A: READY, B: READY}))
    assert (found.failed, found.remark) == (0, "answered 400; v1 is not known to answer it well")


async def test_only_where_it_is_ready_the_stable_version_is_asked() -> None:
    elsewhere = TwoServers({(A, "v2"): 400, (A, "v1"): 404}, {A: GONE, B: READY})
    found = await tried(elsewhere)
    assert (found.failed, found.words) == (1, "answered 400; v1 answers it well")
    assert elsewhere.places == [(A, "v2"), (B, "v1")]
    silent = TwoServers({(A, "v2"): 400, (A, "v1"): 0}, {A: READY, B: READY})
    assert (await tried(silent)).failed == 1
    assert silent.places == [(A, "v2"), (A, "v1"), (B, "v1")]


@pytest.mark.parametrize("old", [{A: GONE, B: GONE}, None], ids=["it is gone", "nothing can be observed"])
@pytest.mark.parametrize(
    ("answered", "failed", "words"),
    [
        ((True,), 1, "answered 400; v1 answered it well before the rollout"),
        ((False,), 0, "answered 400; v1 did not answer it well before the rollout"),
        ((), 0, "answered 400; v1 is not known to answer it well"),
    ],
)
async def test_without_it_its_answer_at_planning_counts(
    old: Mapping[str, VersionState] | None, answered: tuple[bool, ...], failed: int, words: str
) -> None:
    found = await tried(TwoServers({(A, "v2"): 400}, old), *answered)
    assert (found.failed, found.words or found.remark) == (failed, words)


async def test_the_old_version_after_a_rollback_is_compared_with_none() -> None:
    driver = TwoServers({(A, "v2"): 400}, {A: READY, B: READY})
    found = await tried(driver, stable="")
    assert (found.failed, found.words, driver.places) == (1, "answered 400", [(A, "v2")])
