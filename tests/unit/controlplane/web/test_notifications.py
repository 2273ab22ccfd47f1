"""The page of notifications: where an alert with the labels of its address would go."""

from __future__ import annotations

import html
from typing import Any

import pytest

from alerts.dispatch import Stages
from alerts.routing.tree import Node, Receiver, Routing
from controlplane.access.roles import Role
from controlplane.fleet.rota.desk import RotaState
from controlplane.store.outbox import enqueue
from controlplane.web.alerting.notifications import labels_of
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.api.test_alert_route import stages
from tests.unit.controlplane.web.reading import words

__all__ = ["stages"]

SCRIPT = "<script>alert(1)</script>\x1b[2J"
SILENCE = {"matchers": ['model="chat"'], "for": "2h", "comment": "new driver"}


def way(page: str) -> str:
    """Return the text of the answer on where an alert goes."""
    return words(page.split('aria-label="Where this alert goes"')[1].split("</section>")[0])


async def test_the_way_of_an_alert_is_the_part_of_the_tree_that_it_takes(stages: Stages, console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/notifications?labels=team%3Da%2C+model%3D%22chat%22")
    assert 'value="team=a, model=&#34;chat&#34;"' in page
    assert 'hx-get="/notifications?labels=team%3Da%2C+model%3D%22chat%22"' in page
    told = way(page)
    assert told.index("route, line 2 every alert") < told.index('taken route.routes[0], line 4 team="a"')
    assert "Receiver ops Group model=chat Waits 30s before the first message, 5m between changes" in told
    assert "ops pager (ann), 15m after the group opened, unless somebody acknowledges it ops, 15m after" in told
    assert "not now, because ann is on call in primary until 2027-01-15 08:00 UTC" in told
    assert 'While it fires, an alert with alertname="Down" and the same model=chat (inhibition, line 7)' in told


async def test_the_root_alone_takes_what_no_route_below_matches(stages: Stages, console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        told = way(await browser.page("/notifications?labels=team=b"))
        assert "taken route, line 2 every alert" in told
        assert "routes[0]" not in told
        assert "No silence and no inhibition concerns it." in told
        told = way(await browser.page("/notifications?labels=severity=none"))
        assert "Nobody gets it: its severity is none" in told


async def test_an_active_silence_is_named_and_another_is_not(stages: Stages, console: Any) -> None:
    async with console.rig.client(Role.OPERATOR) as client:
        silence = (await client.post("/cp/v1/silences", json=SILENCE)).json()
        await client.post("/cp/v1/silences", json={**SILENCE, "matchers": ["model=code"]})
        await client.post("/cp/v1/silences", json={**SILENCE, "starts_in": "1h"})
    async with console.browser(Role.VIEWER) as browser:
        told = way(await browser.page("/notifications?labels=model=chat"))
    assert told.count("The silence") == 1
    assert f"The silence {silence['id']} of test-operator, until 2027-01-15 10:00:00: new driver" in told


async def test_a_muted_route_and_a_receiver_without_notifier_say_so(console: Any, monkeypatch: Any) -> None:
    node = Node("route", 0, (), "ops", (), 10, 60, 3600, active_intervals=("office",))
    routing = Routing(node, {"ops": Receiver("ops", 0, ())}, (), {"office": ()})
    monkeypatch.setattr(console.rig, "stages", lambda: Stages(routing, {}, ""))
    async with console.browser(Role.VIEWER) as browser:
        told = way(await browser.page("/notifications?labels=a=b"))
    assert "Group no labels: all its alerts are one group" in told
    assert "Nobody: receiver ops has no notifier." in told
    assert "It sends nothing: active only in office." in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("team", "'team': expected = and a value at the end. Write labels as severity=critical, model=chat."),
        ("team!=a", "'team!=a': expected = and a value, got '!=a'. Write labels as severity=critical"),
        ("a=b, a=c", "The label a is given twice. An alert has one value of each label."),
        ("{}", "0 labels: expected 1 to 30, such as severity=critical, model=chat."),
        (",".join(f"a{n}=b" for n in range(31)), "31 labels: expected 1 to 30"),
        ("a=" + "b" * 1999, "2001 characters: the most is 2000. Give only labels that routes match."),
        (f"a=b {SCRIPT} =~ [", None),
        (f'"{SCRIPT}"=~x', "expected = and a value, got '=~x'"),
    ],
)
async def test_a_bad_label_is_told_at_the_field(stages: Stages, console: Any, text: str, says: str | None) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = (await browser.client.get("/notifications", params={"labels": text})).text
    assert "<script>alert" not in page
    assert "\x1b" not in page
    if says is not None:
        assert 'aria-invalid="true" aria-describedby="labels-fault"' in page
        assert says in html.unescape(page.split('id="labels-fault" role="alert">')[1].split("</p>")[0])
        assert "Where this alert goes" not in page


async def test_an_empty_field_leads_to_the_messages(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        answer = await browser.client.get("/notifications?labels=+")
        assert (answer.status_code, answer.headers["location"]) == (303, "/notifications")
        page = await browser.page("/notifications")
        assert "Where this alert goes" not in page
        assert 'name="labels" value=""' in page


def test_labels_may_be_in_braces_and_in_quotes() -> None:
    assert labels_of('{severity=critical, "a b"="x, y"}') == {"severity": "critical", "a b": "x, y"}


async def test_the_age_of_a_calendar_and_the_last_error(console: Any) -> None:
    console.rig.rotas = {
        "fresh": RotaState("fresh", "url", "UTC", "ops", fetched_at=NOW - 3600),
        "old": RotaState("old", "url", "UTC", "ops", fetched_at=NOW - 90_000, fault="no answer from <host>"),
        "awaited": RotaState("awaited", "url", "UTC", "ops", awaited_since=NOW - 3601),
    }
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/notifications")
    assert "Calendar last read 1 h ago, at 2027-01-15 07:00:00." in words(page)
    assert (
        "Calendar last read 25 h ago, at 2027-01-14 07:00:00; shifts that changed since then are not known. "
        "The calendar cannot be read: no answer from <host>"
    ) in words(page)
    assert '<p class="warning">The calendar was never read.</p>' in page


async def test_what_was_not_delivered_comes_first_with_its_reason_and_next_try(console: Any) -> None:
    now, outbox = console.rig.clock.time, console.rig.outbox
    with console.rig.db.transaction() as session:
        for name in ("first", "second", "third"):
            enqueue(session, "alert", "ops", name, {"summary": f"the {name}"}, now)
    first, second, third = outbox.claim("me", now, 60.0, 3)
    outbox.done(first, None, now - 120)
    outbox.retry(second, "429 <slow down>", now + 30)
    outbox.dead(third, "channel_not_found", now + 1)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/notifications")
    troubles = words(page.split('aria-label="Not delivered"')[1].split("</section>")[0])
    assert "Not delivered 2" in troubles
    assert troubles.index("dead ops the third channel_not_found") < troubles.index(
        "retrying ops the second 429 <slow down>"
    )
    assert "2027-01-15 08:00:30" in troubles
    assert "none: given up" in troubles
    assert "the first" not in troubles
    assert "ops last delivery 2m ago 1 wait 1 given up" in words(page)


async def test_without_troubles_only_receivers_and_messages_are_there(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/notifications")
    assert "Not delivered" not in page
    assert "ops no delivery is stored" in words(page)
