"""The refreshes of open pages: one answer for all browsers that see the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from controlplane.access.roles import Role
from controlplane.fleet.reader import FleetReader
from controlplane.web import live
from controlplane.web.live import MOST_PARTS, PartKey, Parts

REFRESH = {"HX-Request": "true", "HX-Target": "live", "Accept": "*/*"}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that grows by one whenever the fleet is read for a page."""
    found: list[float] = []
    read = FleetReader.fleet

    async def counted(self: FleetReader) -> Any:
        found.append(1.0)
        return await read(self)

    monkeypatch.setattr(FleetReader, "fleet", counted)
    return found


async def refreshed(client: httpx.AsyncClient, path: str = "/", **headers: str) -> httpx.Response:
    return await client.get(path, headers=REFRESH | headers)


async def test_a_refresh_gets_the_live_part_alone(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        answer = await refreshed(browser.client)
        page = await browser.page("/")
    assert answer.text.startswith('<div id="live"') and answer.text.rstrip().endswith("</div>")
    assert "X-CSRF-Token" not in answer.text and "test-viewer" not in answer.text
    assert "".join(answer.text.split()) in "".join(page.split())


async def test_browsers_of_one_role_share_a_part_for_a_second(console: Any, reads: list[float]) -> None:
    app = console.app()
    async with console.browser(Role.VIEWER, app) as one, console.browser(Role.VIEWER, app) as two:
        first = await refreshed(one.client)
        assert (await refreshed(two.client)).text == first.text
        assert len(reads) == 1
        console.rig.clock.time += 0.9
        await refreshed(one.client)
        assert len(reads) == 1
        console.rig.clock.time += 0.2
        await refreshed(one.client)
        assert len(reads) == 2


async def test_a_hundred_at_once_wait_for_one_rendering(console: Any, reads: list[float]) -> None:
    async with console.browser(Role.VIEWER) as browser:
        answers = await asyncio.gather(*(refreshed(browser.client) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(reads) == 1


async def test_those_who_wait_for_a_slow_rendering_share_it(
    console: Any, reads: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FleetReader.fleet

    async def slow(self: FleetReader) -> Any:
        await asyncio.sleep(0)  # the others arrive
        console.rig.clock.time += 3.0
        return await read(self)

    monkeypatch.setattr(FleetReader, "fleet", slow)
    async with console.browser(Role.VIEWER) as browser:
        await asyncio.gather(*(refreshed(browser.client) for _ in range(20)))
    assert len(reads) == 1


async def test_events_during_a_rendering_begin_no_second_one_beside_it(
    console: Any, reads: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, gate, at_once, most = FleetReader.fleet, asyncio.Event(), 0, 0

    async def gated(self: FleetReader) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return await read(self)

    monkeypatch.setattr(FleetReader, "fleet", gated)
    app = console.app()
    async with console.browser(Role.VIEWER, app) as browser:
        first = asyncio.create_task(refreshed(browser.client))
        later = []
        for rev in range(1, 6):
            await until(lambda: at_once == 1)
            monkeypatch.setattr(app.state.events, "_rev", rev)
            later.append(asyncio.create_task(refreshed(browser.client)))
        gate.set()
        answers = await asyncio.gather(first, *later)
    assert {answer.status_code for answer in answers} == {200}
    assert most == 1
    assert len(reads) == 2, "one for the first, one for all that were told of something newer"


async def test_a_changed_part_rests_and_an_act_ends_the_rest(
    console: Any, reads: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REST_SHARE", 1e9)
    monkeypatch.setattr(live, "LONGEST_REST_S", 1e9)
    app = console.app()
    async with console.browser(Role.OPERATOR, app) as browser:
        await refreshed(browser.client)
        monkeypatch.setattr(app.state.events, "_rev", 7)
        waiting = asyncio.create_task(refreshed(browser.client))
        await until(lambda: next(iter(app.state.parts._parts.values())).lock.locked())
        assert len(reads) == 1
        app.state.parts.forget()
        await waiting
    assert len(reads) == 2


async def until(true: Callable[[], bool]) -> None:
    """Wait for what comes within some turns of the loop."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - any state of the application
            await asyncio.sleep(0.001)


async def test_another_role_address_or_language_has_a_part_of_its_own(console: Any) -> None:
    app = console.app()
    async with console.browser(Role.VIEWER, app) as viewer, console.browser(Role.OPERATOR, app) as operator:
        seen = (await refreshed(viewer.client)).text
        assert "/promote/" not in seen and "/promote/" in (await refreshed(operator.client)).text
        assert (await refreshed(viewer.client, "/alerts?state=firing")).text != (
            await refreshed(viewer.client, "/alerts?state=pending")
        ).text
        await refreshed(viewer.client, **{"Accept-Language": "zh"})
    assert {key.language for key in app.state.parts._parts} == {"en", "zh"}


async def test_an_event_or_an_action_ends_every_part(
    console: Any, reads: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = console.app()
    async with console.browser(Role.OPERATOR, app) as browser:
        await refreshed(browser.client)
        monkeypatch.setattr(app.state.events, "_rev", 7)
        await refreshed(browser.client)
        assert len(reads) == 2
        await refreshed(browser.client)
        assert len(reads) == 2
        await browser.client.post("/sign-out", headers={"X-CSRF-Token": await browser.csrf()})
    async with console.browser(Role.OPERATOR, app) as browser:
        await refreshed(browser.client)
    assert len(reads) == 3


async def test_a_stranger_ends_no_part(console: Any, reads: list[float]) -> None:
    app = console.app()
    async with console.browser(Role.OPERATOR, app) as browser, console.browser(None, app) as stranger:
        await refreshed(browser.client)
        assert (await stranger.client.post("/sign-in", data={"token": "cp_none"})).status_code == 401
        cross = {"Sec-Fetch-Site": "cross-site"}
        assert (await stranger.client.post("/sign-in", data={"token": "x"}, headers=cross)).status_code == 403
        assert (await stranger.client.post("/sign-in", data={"token": "x" * 3000})).status_code == 400
        assert (await stranger.client.post("/sign-out")).status_code == 401
        assert (await browser.client.post("/sign-out")).status_code == 403, "without a CSRF token"
        await refreshed(browser.client)
    assert len(reads) == 1


async def test_a_sign_in_ends_every_part(console: Any, reads: list[float]) -> None:
    app = console.app()
    async with console.browser(Role.OPERATOR, app) as browser:
        await refreshed(browser.client)
        async with console.browser(Role.VIEWER, app):
            await refreshed(browser.client)
    assert len(reads) == 2


async def test_a_part_is_for_those_who_are_signed_in(console: Any) -> None:
    app = console.app()
    async with console.browser(Role.OPERATOR, app) as browser, console.browser(None, app) as stranger:
        assert (await refreshed(browser.client, "/audit")).status_code == 200
        assert (await refreshed(stranger.client, "/audit")).status_code == 401
    async with console.browser(Role.VIEWER, app) as viewer:
        assert (await refreshed(viewer.client, "/audit")).status_code == 403


async def test_an_answer_that_failed_is_not_kept(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console.browser(Role.VIEWER) as browser:
        assert (await refreshed(browser.client, "/models/none")).status_code == 404
        assert (await refreshed(browser.client, "/models/none")).status_code == 404


def test_the_oldest_part_goes_when_there_are_too_many() -> None:
    parts = Parts()
    keys = [PartKey(f"/?n={n}", Role.VIEWER, "en") for n in range(MOST_PARTS + 1)]
    first = parts.part(keys[0])
    for key in keys[1:MOST_PARTS]:
        parts.part(key)
    assert parts.part(keys[0]) is first  # looked at again: now the second is the oldest
    parts.part(keys[MOST_PARTS])
    assert parts.part(keys[0]) is first
    assert len(parts._parts) == MOST_PARTS and keys[1] not in parts._parts
