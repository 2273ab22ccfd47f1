"""The console's buttons on a rollout, its page as steps and verdicts, and the quarantine of a version."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from controlplane.access.roles import Role
from controlplane.rollout.findings import Finding, Outcome, Sample, Work, WorkKind, WorkState
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.stored.records import to_record
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from tests.fakes.canary import ANALYSE, APPROVE, at
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.conftest import HTMX

KEY = "0" * 32
PAGE = "/rollouts/r-11aa"
SAMPLE = Sample("errors", "ratio", 0.081, 0.0031, 812.0, 2440.0, 0.078, 15320.0, 600.0, Outcome.FAIL, "<b>too many</b>")
LOOK = Finding(
    Outcome.FAIL, ("8.1% against 0.31%", SAMPLE.words), (SAMPLE, replace(SAMPLE, metric="ttft", dry_run=True))
)
APPROVAL = Wait(WaitKind.APPROVAL, "Waiting for 1 approval by role operator")


def stored(console: Any, step: int, **changes: Any) -> Rollout:
    """Store a rollout that ann started; ended if `changes` says so."""
    fields = {"id": "r-11aa", "created_at": NOW, "updated_at": NOW, **changes}
    rollout = at(step, entered=NOW - 60, **fields)
    log = RolloutLog(console.rig.db)
    log.start(to_record(replace(rollout, phase=Phase.SWITCHING, finished_at=None)))
    if rollout.finished:
        kept = Quarantine("chat", "v2", NOW, rollout.id, rollout.reason) if rollout.phase is Phase.ROLLED_BACK else None
        log.save(to_record(rollout), [], None, None, quarantine=kept)
    return rollout


def failed(console: Any) -> Rollout:
    look = WorkState(Work(WorkKind.LOOK, ANALYSE, number=7), NOW - 2, LOOK, NOW - 1)
    return stored(
        console,
        ANALYSE,
        phase=Phase.ROLLED_BACK,
        reason="v2 fails more",
        sentence="v2 fails more. v1 serves again",
        turned_at=NOW - 1,
        finished_at=NOW,
        works=(look,),
    )


async def send(browser: Any, path: str, **data: str) -> httpx.Response:
    headers = {**HTMX, "X-CSRF-Token": await browser.csrf()}
    answer: httpx.Response = await browser.client.post(path, headers=headers, data={"key": KEY} | data)
    return answer


def buttons(page: str) -> list[str]:
    return re.findall(r'hx-get="(?:/rollouts/r-11aa|/models/chat)/(\w+)', page)


@pytest.mark.parametrize(
    ("step", "changes", "expected"),
    [
        (ANALYSE, {}, ["pause", "full", "abort"]),
        (APPROVE, {"wait": APPROVAL}, ["approve", "pause", "full", "abort"]),
        (ANALYSE, {"wait": Wait(WaitKind.OPERATOR, "a hook failed")}, ["resume", "full", "abort"]),
        (ANALYSE, {"phase": Phase.FAILED, "finished_at": NOW}, ["retry"]),
        (ANALYSE, {"phase": Phase.SUCCEEDED, "finished_at": NOW, "switched": True}, []),
    ],
    ids=["running", "waits for an approval", "waits for an operator", "failed", "succeeded"],
)
async def test_a_rollout_has_the_buttons_that_can_act_now(
    console: Any, step: int, changes: dict[str, Any], expected: list[str]
) -> None:
    stored(console, step, **changes)
    async with console.browser(Role.OPERATOR) as browser:
        assert buttons(await browser.page(PAGE)) == expected
    async with console.browser(Role.VIEWER) as viewer:
        assert buttons(await viewer.page(PAGE)) == []


async def test_the_steps_show_where_it_stands_and_what_it_waits_for(console: Any) -> None:
    stored(console, ANALYSE, wait=Wait(WaitKind.TIME, "v2 gets 5%; analysing", NOW + 450))
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(PAGE)
    steps = re.findall(r'<li class="(\w+)" ?(aria-current="step")?>', page)
    assert [state for state, _ in steps[:4]] == ["done", "done", "current", "ahead"]
    assert [bool(current) for _, current in steps] == [False, False, True] + [False] * 6
    assert 'data-left="450.0">about 7 min 30 s</span> left' in page
    assert "at least 8 min 40 s, and an approval" in page
    assert "<dt>A rollback now</dt>" in page


@pytest.mark.parametrize("action", ["pause", "full", "abort"])
async def test_a_button_asks_first_and_keeps_the_reason(console: Any, action: str) -> None:
    stored(console, ANALYSE)
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog(f"{PAGE}/{action}")
        assert f'hx-post="{PAGE}/{action}"' in dialog
        assert 'name="reason"' in dialog
        answer = await send(browser, f"{PAGE}/{action}", reason="incident 412")
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, PAGE)
        assert "incident 412" in await browser.page(PAGE)


async def test_an_approval_is_asked_for_and_recorded(console: Any) -> None:
    stored(console, APPROVE, wait=APPROVAL)
    async with console.browser(Role.OPERATOR) as browser:
        assert "It waits: Waiting for 1 approval by role operator." in await browser.dialog(f"{PAGE}/approve")
        assert (await send(browser, f"{PAGE}/approve")).status_code == 204
        assert "test-operator (operator) asked to approve at step 4" in await browser.page(PAGE)


async def test_a_refusal_is_shown_in_the_dialog(console: Any) -> None:
    stored(console, ANALYSE)
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, f"{PAGE}/approve")
    assert (answer.status_code, "Nothing was done" in answer.text, "approval" in answer.text) == (200, True, True)


async def test_what_has_ended_is_not_steered(console: Any) -> None:
    failed(console)
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog(f"{PAGE}/pause")
    assert "it has ended: v2 fails more. v1 serves again" in dialog
    assert "submit" not in dialog


async def test_a_failure_is_cause_consequence_and_next_step(console: Any) -> None:
    failed(console)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(PAGE)
    assert "<dt>Cause</dt><dd>v2 fails more</dd>" in page
    assert "v1 serves chat again; v2 is in quarantine" in page
    assert "<code>cp quarantine lift chat v2 --reason TEXT</code>" in page
    assert [state for state in re.findall(r'<li class="(\w+)"', page) if state != "ahead"][2:4] == [
        "stopped",
        "skipped",
    ]


async def test_a_verdict_shows_both_versions_and_the_engines_words_as_text(console: Any) -> None:
    failed(console)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(PAGE)
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    errors = " ".join(next(row for row in rows if "errors" in row).split())
    assert errors.startswith("errors 8.1 % 812 requests 0.31 % 2440 requests +7.8 points 15320 of 600 fail")
    assert "<li>8.1% against 0.31%</li>" in page
    assert page.count("&lt;b&gt;too many&lt;/b&gt;") == 2, "once for each metric, and not above the table"
    assert "ttft" in page and "dry run" in page


async def test_a_rollout_is_started_again_once(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        first = await browser.confirm("/models/chat/promote/v2", KEY)
        identifier = first.headers["HX-Redirect"].rpartition("/")[2]
        path = f"/rollouts/{identifier}/retry"
        assert "it is running" in await browser.dialog(path)
        rollout = (await console.rig.rollouts.show(identifier)).rollout
        ended = replace(rollout, phase=Phase.FAILED, finished_at=NOW, sentence="v2 failed")
        RolloutLog(console.rig.db).save(to_record(ended), [], None, None)
        assert "start a new rollout of chat to v2" in await browser.dialog(path)
        again, twice = await send(browser, path, key="1" * 32), await send(browser, path, key="1" * 32)
    assert again.headers["HX-Redirect"] == twice.headers["HX-Redirect"] != f"/rollouts/{identifier}"


async def test_a_quarantine_is_on_the_models_page_and_admins_lift_it(console: Any) -> None:
    failed(console)
    path = "/models/chat/quarantine/v2"
    async with console.browser(Role.OPERATOR) as operator:
        page = await operator.page("/models/chat")
        assert "v2 is in quarantine" in page and "An admin can lift it." in page
        assert 'hx-get="/models/chat/promote/v2"' not in page
        assert (await operator.client.get(path, headers=HTMX)).status_code == 403
    async with console.browser(Role.ADMIN) as admin:
        assert f'hx-get="{path}"' in await admin.page("/models/chat")
        assert "because of rollout r-11aa: v2 fails more" in await admin.dialog(path)
        assert "a reason is needed" in (await send(admin, path)).text
        lifted = await send(admin, path, reason="mended")
        assert (lifted.status_code, lifted.headers["HX-Redirect"]) == (204, "/models/chat")
        assert "is in quarantine" not in await admin.page("/models/chat")
        assert "v2 is not in quarantine" in await admin.dialog(path)
