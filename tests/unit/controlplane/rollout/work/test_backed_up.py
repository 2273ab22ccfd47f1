"""A rollout waits for a fresh backup: as a timeline of looks at the stored runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.options import CheckItem, Options
from controlplane.rollout.work.backed_up import BackupWaiter
from controlplane.rollout.work.checks import Checks, CheckWorker
from controlplane.store.backups.runs import BackupOutcome, BackupResult, BackupRunStore
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated

CREATED = 1000.0
GOOD = BackupResult(BackupOutcome.SUCCEEDED, snapshot="abc")
FAILED, CUT = BackupResult(BackupOutcome.FAILED, "no space"), BackupResult(BackupOutcome.INTERRUPTED)


class Plane:
    """The runs of a control plane. Each look of the waiter is followed by the next act."""

    def __init__(self, db: Database) -> None:
        self.runs, self.now, self.acts = BackupRunStore(db), CREATED + 1, list[Callable[[], object]]()

    def begin(self) -> int:
        return self.runs.begin("models", None, self.now).id

    def end(self, result: BackupResult) -> None:
        opened = self.runs.jobs()["models"].open
        assert opened is not None
        self.runs.finish(opened.id, result, None, self.now)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.acts.pop(0)()

    async def wait(self, *acts: Callable[[], object]) -> Finding:
        self.acts = list(acts)
        found = await BackupWaiter(self.runs, lambda: self.now, self.sleep).fresh("models", CREATED, "rollout r-1")
        assert self.acts == []
        return found


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    db = Database(write_migrated(tmp_path / "a.db"))
    yield Plane(db)
    db.close()


async def test_it_asks_for_a_run_and_waits_for_its_good_end(plane: Plane) -> None:
    found = await plane.wait(plane.begin, lambda: plane.end(GOOD))
    assert found == Finding(Outcome.PASS, ("the backup models succeeded after the rollout was created: snapshot abc",))
    (run,) = plane.runs.runs("models", 9)
    assert run.asked_by == "rollout r-1"
    assert (await plane.wait()).outcome is Outcome.PASS  # after a crash the same run counts


async def test_a_run_that_fails_ends_the_wait_with_its_reason(plane: Plane) -> None:
    found = await plane.wait(plane.begin, lambda: plane.end(FAILED))
    assert found == Finding(Outcome.FAIL, ("the backup models failed: no space",))


async def test_runs_before_the_rollout_count_for_nothing(plane: Plane) -> None:
    for result in (GOOD, FAILED):
        plane.now = CREATED - 9
        plane.begin()
        plane.end(result)
    plane.begin()  # it still runs when the rollout is created
    plane.now = CREATED + 1
    found = await plane.wait(lambda: plane.end(GOOD), plane.begin, lambda: plane.end(GOOD))
    assert found.outcome is Outcome.PASS
    assert [run.asked_by for run in plane.runs.runs("models", 9)] == ["rollout r-1", "", "", ""]


async def test_a_scheduled_run_that_begins_meanwhile_counts_and_an_interrupted_one_is_repeated(plane: Plane) -> None:
    plane.begin()
    found = await plane.wait(lambda: plane.end(CUT), plane.begin, lambda: plane.end(GOOD))
    assert found.outcome is Outcome.PASS
    assert [run.asked_by for run in plane.runs.runs("models", 9)] == ["rollout r-1", ""]


async def test_a_wish_that_cannot_be_carried_out_fails(plane: Plane) -> None:
    found = await plane.wait(lambda: plane.end(BackupResult(BackupOutcome.FAILED, "fleet.yaml does not have this job")))
    assert found == Finding(Outcome.FAIL, ("the backup models failed: fleet.yaml does not have this job",))


async def test_the_worker_waits_for_the_backup_of_its_item_and_a_plan_does_not(plane: Plane) -> None:
    item = CheckItem("fresh", builtin="backup:models")
    plan = Plan(
        "chat", "v1", "v2", RolloutKind.PROMOTE, "canary", (), True, "", RolloutLimits(1, 1, 1), (), (),
        options=Options(checklist=(item,)),
    )  # fmt: skip
    rollout = Rollout("r-1", plan, Phase.PLANNED, "s", "ann", CREATED, 0, 0)
    plane.acts = [plane.begin, lambda: plane.end(GOOD)]

    class Nothing:
        async def instant_value(self, expr: str, at: float) -> object:
            raise AssertionError

    checks = Checks(Nothing(), Nothing(), lambda: plane.now)  # type: ignore[arg-type]
    planned = await checks.check(item, "chat", "v1", "v2")
    assert planned == Finding(Outcome.NOT_ENOUGH, ("fresh: a run of the backup models is made first",))
    assert plane.runs.jobs() == {}
    worker = CheckWorker(checks, BackupWaiter(plane.runs, lambda: plane.now, plane.sleep))
    assert (await worker.run(rollout, Work(WorkKind.CHECK, 0, "fresh"), 0.0, None)).outcome is Outcome.PASS
