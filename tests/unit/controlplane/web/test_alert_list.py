"""The console's list of alerts."""

from __future__ import annotations

from typing import Any

from controlplane.access.roles import Role


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
