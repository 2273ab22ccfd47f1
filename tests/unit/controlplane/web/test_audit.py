"""The audit page: filters that are in the address, paging, and strangers' names as text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.store.audit import REFUSED, audit
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.reading import sections

HOSTILE = "<img src=x onerror=alert(1)>\"'\x1b[2J\u202e"


def act(console: Any, actor: str, action: str = "token.create", subject: str = "token/1", what: str = "so") -> None:
    with console.rig.db.transaction() as session:
        audit(session, actor, action, subject, what, NOW - 60)


def actors(page: str) -> list[str]:
    return re.findall(r'data-label="by"><a[^>]*>([^<]*)</a>', page)


async def test_it_is_in_the_navigation_of_those_who_may_read_it_and_of_no_other(console: Any) -> None:
    for role in (Role.OPERATOR, Role.ADMIN):
        async with console.browser(role) as browser:
            assert sections(await browser.page("/"))["/audit"] is False
            assert sections(await browser.page("/audit"))["/audit"] is True
    async with console.browser(Role.VIEWER) as browser:
        assert "/audit" not in await browser.page("/")
        await browser.page("/audit", 403)


async def test_filters_of_the_address_are_kept_by_form_links_and_refreshes(console: Any) -> None:
    act(console, "ana", subject="model/chat")
    act(console, "ana", subject="model/code")
    act(console, "bob", subject="model/chat")
    act(console, "203.0.113.7", REFUSED, "model/chat")
    address = "/audit?subject=model%2Fchat&since=2h&refusals=no"
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page(address)
    assert actors(page) == ["bob", "ana"]
    assert f'hx-get="{address.replace("&", "&amp;")}"' in page
    assert 'name="subject" value="model/chat"' in page
    assert 'name="since" value="2h"' in page
    assert 'value="no" checked' in page
    assert 'href="/audit?actor=ana&amp;subject=model%2Fchat&amp;since=2h&amp;refusals=no"' in page


async def test_fields_left_empty_are_not_in_the_address(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        answer = await browser.client.get("/audit?actor=+ana+&action=&subject=&since=&until=")
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit?actor=ana")


async def test_pages_go_back_to_the_first_act(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.web.operations.audit.ACTS", 2)
    for number in range(5):
        act(console, f"a{number}", "token.revoke")
    seen, path = list[str](), "/audit?action=token.revoke&since=30m"
    async with console.browser(Role.OPERATOR) as browser:
        while True:
            page = await browser.page(path)
            seen += actors(page)
            assert ("newest</a>" in page) == ("before=" in path)
            if not (older := re.search(r'href="([^"]+)" rel="next"', page)):
                break
            path = older[1].replace("&amp;", "&")
            act(console, "meanwhile", "token.revoke")
    assert seen == ["a4", "a3", "a2", "a1", "a0"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?actor=nobody", "No entry matches these filters."),
        ("?before=1", "There are no older entries."),
        ("?actor=nobody&before=1", "There are no older entries that match these filters."),
        (
            "?since=yesterday",
            "From: expected a time such as 2026-11-28T08:43:55Z (RFC 3339), unix seconds",
        ),
        (
            "?until=2026-99-99",
            "Until: expected a time such as 2026-11-28T08:43:55Z (RFC 3339), unix seconds",
        ),
        ("?actor=%00", "Actor: the character NUL is not allowed"),
    ],
)
async def test_an_empty_page_says_why(console: Any, query: str, says: str) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page(f"/audit{query}")
    assert says in page
    assert "<table" not in page


async def test_a_bad_page_number_or_a_huge_filter_is_refused(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        for query in ("before=x", "before=99999999999", f"actor={'x' * 201}"):
            await browser.page(f"/audit?{query}", 400)


async def test_a_name_without_an_end_is_cut(console: Any) -> None:
    act(console, "y" * 9999)
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/audit")
    assert actors(page)[0] == "y" * 79 + "…"


async def test_names_and_filters_of_strangers_stay_text(console: Any) -> None:
    act(console, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/audit")
        filtered = (await browser.client.get("/audit", params={"actor": HOSTILE})).text
    assert filtered.count(r"\x1b[2J\u202e") >= 4
    for text in (page, filtered):
        assert "<img" not in text
        assert "&lt;img src=x" in text
        assert all(line.isprintable() for line in text.split("\n"))
