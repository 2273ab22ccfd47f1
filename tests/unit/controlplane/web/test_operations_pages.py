"""What all pages of operations promise: a part for refreshes, CSV, and every language."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.web.languages import translations
from tests.unit.controlplane.web.conftest import HTMX
from tests.unit.controlplane.web.reading import words

PAGES = {
    "/gateway": "Gateway",
    "/cost": "Cost and usage",
    "/keys": "API keys of the gateways' clients",
    "/backups": "Backups",
    "/access": "Access",
    "/audit": "Audit",
    "/system": "System",
}
CSV = {
    "/gateway": "model,version,weight,",
    "/cost": "day,tenant,key,",
    "/keys": "id,tenant,name,",
    "/backups": "job,source,subject,",
    "/access": "id,name,role,",
    "/audit": "id,at,actor,",
    "/system": "at,level,logger,",
}


@pytest.mark.parametrize("path", PAGES)
async def test_a_refresh_gets_the_live_part_alone(console: Any, path: str) -> None:
    async with console.browser(Role.ADMIN) as browser:
        page = await browser.page(path)
        part = (await browser.client.get(path, headers={**HTMX, "HX-Target": "live"})).text
    assert part.lstrip().startswith('<div id="live"') and "<html" not in part
    assert words(f"<main>{part}</main>") in words(page)


@pytest.mark.parametrize("path", CSV)
async def test_every_table_has_csv(console: Any, path: str) -> None:
    async with console.browser(Role.ADMIN) as browser:
        answer = await browser.client.get(f"{path}?format=csv")
        assert (await browser.client.get(f"{path}?format=xml")).status_code == 400
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.startswith(CSV[path])


async def test_pages_are_in_chinese(console: Any) -> None:
    chinese = translations("zh")
    async with console.browser(Role.ADMIN) as browser:
        browser.client.cookies.set("cp_language", "zh")
        for path, title in PAGES.items():
            page = await browser.page(path)
            assert f"<h1>{chinese.gettext(title)}" in page and chinese.gettext(title) != title, path
