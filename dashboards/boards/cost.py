"""The cost dashboard: spending against budgets, forecasts, providers' charges, and what a token costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.fleet import model_link
from dashboards.panels import GREEN, RED, YELLOW, Bars, Limit, Lines, Number, Panel, Query
from dashboards.settings import Settings

_MODEL = chosen("model")
_OUTPUT = select('type="output"', 'source="engine"', _MODEL)
_TODAY = select('window="day"', _MODEL)
_WHO = "{{model}}{{account}}"


def _sum(metric: str) -> str:
    return f"sum by (model, account) ({metric}{select(_MODEL)})"


def cost(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-cost",
        title="LLM cost",
        description="Budgets of fleet.yaml against the ledger, and what providers charge. Amounts are US dollars.",
        variables={"model": values_of("llm_budget_spent_usd", "model")},
        sections=[_now(settings), _months(settings), _providers(settings), _clouds()],
    )


def _now(settings: Settings) -> Section:
    return "This month", [
        Number(
            title="Spent",
            description="By all models and accounts with a budget, since the month began (UTC).",
            queries=[Query(f"sum(llm_budget_spent_usd{select(_MODEL)})")],
            unit="currencyUSD",
            width=6,
            height=6,
        ),
        Number(
            title="Forecast",
            description="Expected by the end of the month, at the pace so far.",
            queries=[Query(f"sum(llm_budget_forecast_usd{select(_MODEL)})")],
            unit="currencyUSD",
            width=6,
            height=6,
        ),
        Bars(
            title="Spent as a share of the budget so far",
            description="1 is on budget: the month's budget by the time that has passed. Red is where "
            "LLMCostOverBudget fires.",
            queries=[Query(f"{_sum('llm_budget_spent_usd')} / ({_sum('llm_budget_prorated_usd')} > 0)", _WHO)],
            unit="percentunit",
            minimum=0,
            limits=[Limit(1, YELLOW), Limit(settings.limit("cost_ratio"), RED)],
            width=12,
            height=6,
        ),
    ]


def _months(settings: Settings) -> Section:
    return "Over the month", [
        Lines(
            title="Spent against budget so far",
            description="Spending, and the share of the budget for the part of the month that has passed.",
            queries=[
                Query(_sum("llm_budget_spent_usd"), _WHO + " spent"),
                Query(_sum("llm_budget_prorated_usd"), _WHO + " budget so far"),
            ],
            unit="currencyUSD",
            minimum=0,
            width=12,
            links=model_link(settings),
        ),
        Lines(
            title="Forecast for the month",
            description="Expected spending by the end of the month, and the month's budget.",
            queries=[
                Query(_sum("llm_budget_forecast_usd"), _WHO + " forecast"),
                Query(_sum("llm_budget_limit_usd"), _WHO + " budget"),
            ],
            unit="currencyUSD",
            minimum=0,
            width=12,
            links=model_link(settings),
        ),
    ]


def _providers(settings: Settings) -> Section:
    return "Providers", [
        Lines(
            width=12,
            title="Charges of providers today",
            description="As the providers' reports say, since midnight UTC. They come hours late.",
            queries=[
                Query(f"sum by (job, model, project) (llm_account_cost_usd{_TODAY})", "{{job}} {{model}} {{project}}")
            ],
            unit="currencyUSD",
            minimum=0,
        ),
        Lines(
            width=12,
            title="Tokens that providers counted today",
            description="By kind, since midnight UTC. Cached input is a part of the input.",
            queries=[Query(f"sum by (job, model, type) (llm_account_tokens{_TODAY})", "{{job}} {{model}} {{type}}")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Cost of a million output tokens",
            description="Spending of the last day by the output tokens that the engines counted in it. Absent on the "
            "first day of a month, and where the engine counts no tokens.",
            queries=[
                Query(
                    f"1e6 * (sum by (model) (delta(llm_budget_spent_usd{select(_MODEL)}[1d])) > 0)"
                    f" / (sum by (model) (increase(llm_tokens_total{_OUTPUT}[1d])) > 0)",
                    "{{model}}",
                )
            ],
            unit="currencyUSD",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Rate limits left at hosted APIs",
            description="Share of the API's own limit that is left. LLMRateLimitNear fires below the line.",
            queries=[
                Query(
                    f"min by (instance, model, type) (llm_ratelimit_remaining{select(_MODEL)}) "
                    f"/ min by (instance, model, type) (llm_ratelimit_limit{select(_MODEL)})",
                    "{{instance}} {{model}} {{type}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            lowest=RED,
            limits=[Limit(settings.limit("rate_limit"), GREEN)],
            width=12,
        ),
    ]


def _clouds() -> Section:
    account = select('source="account"', _MODEL)
    return "What providers and clouds count", [
        Lines(
            title="Requests that providers counted today",
            description="As the providers' reports say, since midnight UTC.",
            queries=[
                Query(f"sum by (job, model, project) (llm_account_requests{_TODAY})", "{{job}} {{model}} {{project}}")
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Requests per second at clouds by outcome",
            description="As the clouds' own metrics count, over fifteen minutes: they grow once in five.",
            queries=[
                Query(
                    f"sum by (job, served_model, outcome) (rate(llm_requests_total{account}[15m]))",
                    "{{job}} {{served_model}} {{outcome}}",
                )
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="GPUs of hosted models",
            description="Utilization and used memory added up over an instance's GPUs: two whole GPUs are 2.",
            queries=[
                Query(
                    f"max by (job, served_model) (llm_account_gpu_{name}_ratio{select(_MODEL)})",
                    "{{job}} {{served_model}} " + words,
                )
                for name, words in (("utilization", "in use"), ("memory_utilization", "memory"))
            ],
            unit="percentunit",
            minimum=0,
        ),
        *_freshness(),
    ]


def _freshness() -> Sequence[Panel]:
    """Return the panels of how old the numbers are, and of limits that end soon."""
    return [
        Lines(
            title="Age of the providers' numbers",
            description="Time since the reports were last read, and since the end of the last whole period of a "
            "cloud's metrics.",
            queries=[
                Query(f"time() - max by (job) (llm_account_{name}_timestamp_seconds{select()})", "{{job}} " + words)
                for name, words in (("read", "read"), ("period_end", "period's end"))
            ],
            unit="s",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Time until rate limits are whole again",
            description="As the hosted APIs say in their answers.",
            queries=[
                Query(
                    f"max by (instance, model, type) (llm_ratelimit_reset_seconds{select(_MODEL)})",
                    "{{instance}} {{model}} {{type}}",
                )
            ],
            unit="s",
            minimum=0,
            width=12,
        ),
    ]
