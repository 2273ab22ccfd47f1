"""The pages of runbooks: what fires now, and where its rule is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from alerts.evaluate import GroupReport, RuleHealth
from alerts.packs import EXAMPLE, load_pack
from controlplane.access.roles import Role
from controlplane.errors import Unavailable
from controlplane.store.alert_log import SqlAlertLog
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.reading import words


def row(page: str, name: str) -> str:
    """Return the text of a runbook's row."""
    return words(page.split(f'id="runbook-{name}"')[1].split("</tr>")[0]).partition("> ")[2]


@pytest.fixture
def gpus(console: Any) -> None:
    """Let the pack gpu be loaded, and no other."""
    for group in load_pack("gpu", options=EXAMPLE):
        healths = tuple(RuleHealth(rule) for rule in group.rules)
        console.rig.reports.append(GroupReport(replace(group), healths, NOW, 0.1))


async def test_the_list_is_by_pack_and_says_what_fires(console: Any, gpus: None) -> None:
    console.alert("GPULost", gpu="g1")
    console.alert("GPULost", gpu="g2")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/runbooks?q=gpu")
    assert re.search(r'name="q" value="gpu" data-filters="#live tbody tr"', page)
    assert page.index("Runbooks of llm") < page.index("Runbooks of gpu")
    assert row(page, "GPULost").startswith("GPULost critical 2 firing The driver reports")
    assert "pack not loaded" in row(page, "LLMStalled")
    assert "pack not loaded" not in row(page, "GPUMemoryHigh")


async def test_a_runbook_links_to_its_alerts_and_its_rule(console: Any, gpus: None) -> None:
    fingerprint = console.alert("GPULost", gpu="g1")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/runbooks/GPULost")
        assert f'<a href="/alerts/{fingerprint}">' in page
        assert 'href="/rules?q=GPULost"' in page
        assert "It does not fire now." in await browser.page("/runbooks/GPUMemoryHigh")
        assert "No configured rule raises this alert." in await browser.page("/runbooks/LLMStalled")


async def test_runbooks_are_there_when_the_alerts_cannot_be_read(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(SqlAlertLog, "active", away)
    async with console.browser(Role.VIEWER) as browser:
        assert "Whether it fires now is not known." in await browser.page("/runbooks/GPULost")
        assert "GPULost" in await browser.page("/runbooks")
