"""The page of cost and usage: budgets with their forecast, usage by its filters, and what must be configured."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest

from alerts.interfaces import VectorSample
from collectors.samples import Layout, Series, labels_of
from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from controlplane.cost.reckoning import BudgetReport
from controlplane.fleet.operations.costs import cost_view
from controlplane.store.usage import UsageBatch, UsageSums
from controlplane.web.operations.bars import columns
from controlplane.web.operations.cost import part_of_month, span_of
from tests.unit.controlplane.api.conftest import CONFIG, NOW
from tests.unit.controlplane.api.test_rule_trials import measured
from tests.unit.controlplane.web.reading import sections, words

__all__ = ["measured"]

DAY = 86_400
PAST = 1_700_000_000
"""2023-11-14T22:13:20Z. Usage from after the database's clock gets the time of its arrival."""
PRICED = Fleet.model_validate(
    {
        **CONFIG.model_dump(mode="json", exclude_unset=True),
        "cost": {"gpu_hour_usd": 2.5, "budgets": [{"model": "chat", "monthly_usd": 100}]},
    }
)


def used(console: Any, ago_s: int, model: str, tenant: str, tokens: int, usd: float | None) -> None:
    """Store usage of one request, `ago_s` before PAST, which becomes now."""
    console.rig.clock.time = PAST
    at = PAST - ago_s
    counts = (1, tokens, 0, 0, 0, 2.0, 0.5, 1)
    sums = UsageSums(at, tenant, "0123456789ab", model, "v1", "success", *counts)
    batch = UsageBatch("g1", f"j{ago_s}{model}{tenant}".replace("-", ""), 1, 1, [sums])
    console.rig.usage.take(batch, lambda _: usd)


async def test_without_prices_and_usage_the_page_says_what_to_configure(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/cost")
    shown = words(page)
    assert "GPUs have no price, so the control plane keeps no cost ledger." in shown
    assert "gpu_hour_usd: 2.5" in shown and "No usage in this period." in shown
    assert "Without a price, tokens cost nothing here: chat." in shown
    assert sections(page)["/cost"] is True


async def test_usage_is_filtered_by_the_address_and_links_keep_the_filters(console: Any) -> None:
    used(console, 60, "chat", "acme", 2_000_000, 8.0)
    used(console, 2 * DAY, "chat", "beta", 1_000_000, 4.0)
    used(console, 2 * DAY, "free", "acme", 500_000, None)
    async with console.browser(Role.VIEWER) as browser:
        everything = await browser.page("/cost?period=7d")
        of_acme = words(await browser.page("/cost?period=24h&tenant=acme"))
        await browser.page("/cost?period=1y", 400)
    shown = words(everything)
    assert "$12.00 charged for tokens 3 requests 3.5 M prompt tokens" in shown
    assert "chat v1 $12.00 3.0 M" in shown and "free v1 no price 500,000" in shown
    assert 'href="/cost?period=7d&amp;model=free#usage"' in everything
    assert 'href="/cost?period=24h#usage"' in everything and 'href="/cost#usage"' in everything
    assert "$8.00 charged for tokens 1 requests" in of_acme and "beta" not in of_acme


async def test_csv_has_the_usage_by_day_and_disarms_formulas(console: Any) -> None:
    used(console, 60, "chat", "=cmd()", 10, 1.0)
    async with console.browser(Role.VIEWER) as browser:
        answer = await browser.client.get("/cost?format=csv")
    header, row = csv.reader(answer.text.splitlines())
    found = dict(zip(header, row, strict=True))
    assert found["tenant"] == "'=cmd()" and found["usd"] == "1.0" and found["day"] == "2023-11-14T00:00:00.000Z"


def budget(spent: float, limit: float | None, forecast: float | None) -> BudgetReport:
    return BudgetReport("chat", "2027-01", spent, limit, limit and limit / 2, forecast, 3600.0, 60.0)


@pytest.mark.parametrize(
    ("spent", "limit", "forecast", "state"),
    [(120, 100, 240, "over"), (60, 100, 130, "ahead"), (40, 100, 90, "good"), (40, None, None, "none")],
)
def test_a_budget_is_judged_by_spending_and_forecast(
    spent: float, limit: float | None, forecast: float | None, state: str
) -> None:
    view = cost_view(PRICED, [budget(spent, limit, forecast)], [], None, NOW).budgets[0]
    assert view.state == state


def test_idle_gpus_and_accounts_come_from_samples() -> None:
    gpus = [VectorSample((), 0.01), VectorSample((), 0.6), VectorSample((), float("nan"))]
    names = {"spent": 30.0, "limit": 20.0}
    accounts = [
        VectorSample(labels_of({"__name__": f"llm_budget_{name}_usd", "account": "openai"}), value)
        for name, value in names.items()
    ]
    view = cost_view(PRICED, [], accounts, gpus, NOW)
    assert (view.gpus, view.idle_gpus, view.idle_usd_per_hour) == (2, 1, 2.5)
    (account,) = view.budgets
    assert (account.kind, account.name, account.spent_usd, account.state) == ("account", "openai", 30.0, "over")
    assert cost_view(CONFIG, [], [], None, NOW).idle_usd_per_hour is None


async def test_an_account_is_shown_whose_budget_is_nothing_or_whose_spending_is_unknown(
    console: Any, measured: Any
) -> None:
    for account, name, value in (("free", "spent", 3.0), ("free", "limit", 0.0), ("dark", "limit", 50.0)):
        series = Series(f"llm_budget_{name}_usd", labels_of({"account": account}))
        measured.series_store.append(f"{account} {name}", Layout((series,)), round(NOW * 1000), np.array([value]))
    async with console.browser(Role.VIEWER) as browser:
        shown = words(await browser.page("/cost"))
    assert "free account is spent $3.00 – $0.00 –" in shown
    assert "dark account unknown – – $50.00 –" in shown


def test_lengths_of_bars() -> None:
    view = cost_view(PRICED, [budget(50, 100, 200)], [], None, NOW).budgets[0]
    assert span_of(view) == (0.25, 1.0, 0.5, 0.25)
    first, second, third = columns([("a", 2.0), ("b", None), ("c", 4.0)])
    assert (first.height, second.height, third.height, third.y) == (50.0, 0.0, 100.0, 0.0)
    assert columns([("a", 1.0)], places=10)[0].width == 8.0
    assert part_of_month(NOW) == pytest.approx((14 + 8 / 24) / 31)
