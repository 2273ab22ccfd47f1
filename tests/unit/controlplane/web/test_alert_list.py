"""The console's list of alerts: its tabs, filters, groups and pages, all in the address."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from alerts.interfaces import AlertInstance, AlertState, Transition
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.web.alerting import board
from controlplane.web.alerting.asked import Asked
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.reading import words


def names(page: str) -> list[str]:
    """Return the names of the alerts of a page, in their order, once for each row."""
    return re.findall(r'<a href="/alerts/[0-9a-f]{16}">([^<]+)</a>', page)


def counts(page: str) -> dict[str, int]:
    """Return the number on each tab."""
    return {name: int(n) for name, n in re.findall(r'data-state="(\w+)".*?<span class="count[^"]*">(\d+)<', page)}


def ended(console: Any, name: str, **labels: str) -> None:
    """Record an alert that fired and ended 60 s ago."""
    every = labels_of({"alertname": name, "severity": "warning"} | labels)
    past = AlertInstance(
        "f;g;past", every, (), AlertState.INACTIVE, 1.0, NOW - 90, fired_at=NOW - 80, resolved_at=NOW - 60
    )
    change = Transition(past, AlertState.FIRING, AlertState.INACTIVE, NOW - 60, f"{name} is over")
    console.rig.alert_log.record(f"f;past;{name}", [], [change])


async def test_the_list_of_alerts_takes_a_label_as_messages_of_storms_link_to_it(console: Any) -> None:
    console.alert("Hot", node="n1")
    console.alert("Down", instance="n1:9400")
    console.alert("Calm", node="n2")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?state=active&label=node%3Dn1")
        assert [name for name in ("Hot", "Down", "Calm") if f">{name}</a>" in page] == ["Hot", "Down"]
        assert 'href="/alerts?state=firing&amp;label=node%3Dn1"' in page
        assert 'href="/alerts?state=active">Show all</a>' in page
        assert "Calm" in await browser.page("/alerts?state=active")


async def test_what_somebody_must_look_at_comes_first_and_what_is_over_last_and_apart(console: Any) -> None:
    console.alert("Slow", AlertState.PENDING, severity="critical")
    console.alert("Warm", severity="info")
    console.alert("Hot", severity="critical")
    console.alert("Loud")
    ended(console, "Past")
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/alerts")
        assert names(page) == ["Hot", "Loud", "Warm", "Slow", "Past"]
        past = page.split('aria-label="Resolved alerts"')[1]
        assert names(past) == ["Past"]
        assert 'data-pick="' not in past, "what is over cannot be acknowledged"
        assert names(await browser.page("/alerts?state=resolved")) == ["Past"]


async def test_the_tabs_count_what_passes_the_filter(console: Any) -> None:
    held = console.alert("Hot", model="chat")
    console.alert("Hot", model="code")
    console.alert("Slow", AlertState.PENDING, model="chat")
    console.alert("Watchdog", severity="none")
    ended(console, "Past", model="chat")
    async with console.rig.client(Role.OPERATOR) as client:
        assert (await client.post(f"/cp/v1/alerts/{held}/acknowledge")).status_code == 200
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts")
        assert counts(page) == {"all": 4, "active": 3, "firing": 2, "pending": 1, "held": 1, "resolved": 1}
        page = await browser.page("/alerts?label=model%3D%22chat%22")
        assert counts(page) == {"all": 3, "active": 2, "firing": 1, "pending": 1, "held": 1, "resolved": 1}
        assert names(await browser.page("/alerts?state=held")) == ["Hot"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("severity=critical", ["Hot"]),
        ("label=model%3D~%22ch.%2B%22%2C+severity%21%3Dcritical", ["Slow"]),
        ("q=P99+chat", ["Slow"]),
        ("q=HOT", ["Hot"]),
        ("q=model%3Dcode", ["Odd"]),
        ("q=nothing", []),
    ],
)
async def test_filters_narrow_the_list(console: Any, query: str, found: list[str]) -> None:
    console.alert("Hot", severity="critical", model="chat")
    console.alert("Slow", model="chat", annotations={"summary": "P99 is 3 s"})
    console.alert("Odd", model="code", severity="info")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts?state=active&{query}")
    assert names(page) == found
    assert ("No alert passes this filter." in page) is (not found)


async def test_a_label_that_cannot_be_read_says_why_and_how_to_write_it(console: Any) -> None:
    console.alert("Hot")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?label=model")
        assert "Labels cannot be read: " in words(page)
        assert "expected one of =, !=, =~ and !~" in words(page)
        assert names(page) == []
        answer = await browser.client.get("/alerts?label=model&format=csv")
        assert answer.status_code == 400


async def test_groups_have_their_counts_and_are_folded_by_the_address(console: Any) -> None:
    console.alert("Hot", model="chat")
    console.alert("Slow", AlertState.PENDING, model="chat")
    console.alert("Odd", model="code", severity="critical")
    console.alert("Bare")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?state=active&group=model")
        told = words(page)
        assert told.index("code critical 1 firing") < told.index("chat warning 1 firing 1 pending")
        assert "without model warning 1 firing" in told
        folded = await browser.page("/alerts?state=active&group=model&open=chat")
        assert names(folded) == ["Hot", "Slow"]
        assert folded.count('data-stay aria-expanded="true"') == 1
        assert 'href="/alerts?state=active&amp;group=model&amp;open=code&amp;open=chat"' in folded, "opens code too"
        assert 'href="/alerts?state=active&amp;group=model&amp;open="' in folded, "folds chat"
        assert names(await browser.page("/alerts?state=active&group=model&open=")) == []
        by_node = await browser.page("/alerts?state=active&group=alertname")
        assert by_node.count('<section class="group"') == 4


async def test_an_alert_without_a_node_is_in_the_group_of_its_instances_host(console: Any) -> None:
    console.alert("Hot", node="n1")
    console.alert("Down", instance="n1:9400")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?state=active&group=node")
    assert page.count('<section class="group"') == 1
    assert "n1 warning 2 firing" in words(page)


async def test_a_long_list_has_pages(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "PAGE", 3)
    for n in range(7):
        console.alert("Hot", gpu=str(n))
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?state=firing&page=3")
        assert len(names(page)) == 1
        assert counts(page)["firing"] == 7
        assert 'rel="prev" href="/alerts?state=firing&amp;page=2"' in page
        assert 'rel="next"' not in page
        beyond = await browser.page("/alerts?state=firing&page=9")
        assert names(beyond) == names(page) and 'rel="prev" href="/alerts?state=firing&amp;page=2"' in beyond


async def test_a_storm_of_ten_thousand_is_a_page_of_one_screenful(console: Any) -> None:
    storm = [
        AlertInstance(
            "f;g;storm",
            labels_of({"alertname": "Hot", "severity": "warning", "model": f"m{n % 30}", "gpu": f"g{n}"}),
            (("summary", f"GPU g{n} of node n{n % 300} is at 93 °C"),),
            AlertState.FIRING,
            93.0,
            NOW - 20,
            fired_at=NOW - 10,
        )
        for n in range(10_000)
    ]
    console.rig.alert_log.record("f;g;storm", storm, [])
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/alerts")
        assert counts(page)["firing"] == 10_000
        assert len(names(page)) == 100
        assert "1–100 of 10000" in words(page)
        assert len(page.encode()) < 300_000
        grouped = await browser.page("/alerts?group=model")
        assert grouped.count('<section class="group"') == 30
        assert names(grouped) == [], "so many groups begin folded"
        assert len(grouped.encode()) < 300_000
        opened = await browser.page("/alerts?group=model&open=m1")
        assert len(names(opened)) == 100
        assert "100 of 334 are shown." in words(opened)


async def test_the_list_is_a_csv_file_that_no_spreadsheet_evaluates(console: Any) -> None:
    console.alert("Hot", model="chat", annotations={"summary": '=HYPERLINK("http://x")'})
    console.alert("Cold", model="code")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts?label=model%3Dchat")
        assert 'href="/alerts?state=all&amp;label=model%3Dchat&amp;format=csv"' in page
        answer = await browser.client.get("/alerts?state=all&label=model%3Dchat&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["alert"], row["labels"], row["value"]) == ("Hot", "model=chat", "93.0")
    assert row["summary"] == '\'=HYPERLINK("http://x")'


def test_the_address_of_another_filter_is_that_of_its_first_page() -> None:
    asked = Asked(state="firing", q="a b", group="model", open=("x", "y"), page=4)
    assert asked.address() == "/alerts?state=firing&q=a+b&group=model&open=x&open=y"
    assert asked.address(page=5).endswith("&page=5")
    assert replace(asked, open=()).address() == "/alerts?state=firing&q=a+b&group=model&open="
