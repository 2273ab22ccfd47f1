"""The section of proxies of others: LiteLLM, the routers of vLLM and SGLang, Envoy AI Gateway."""

from __future__ import annotations

from dashboards.board import Section, chosen
from dashboards.boards.common import ERRORS, quantiles, rate, share
from dashboards.panels import Limit, Lines, Query
from dashboards.settings import Settings

_SEEN = ('source="proxy"', chosen("model"))
_BY = "model, engine"
_LEGEND = "{{model}} ({{engine}})"


def proxies(settings: Settings) -> Section:
    """Return the section. A proxy knows no versions, so its lines are of all versions of a model."""
    return "Proxies of others", [
        Lines(
            title="Requests per second at proxies by outcome",
            description="As LiteLLM, routers and other proxies count. They know the models' names and no versions.",
            queries=[
                Query(rate("llm_requests_total", f"{_BY}, outcome", *_SEEN), "{{model}} {{outcome}} ({{engine}})")
            ],
            unit="reqps",
            minimum=0,
            width=6,
        ),
        Lines(
            title="Errors at proxies",
            description="Errors, rejections and answers that broke off, as a share of all. The line is the limit of "
            "LLMErrorRateHigh, which takes a proxy where a model has no gateway.",
            queries=[Query(share(ERRORS, _BY, *_SEEN), _LEGEND)],
            unit="percentunit",
            minimum=0,
            limits=[Limit(settings.limit("error_rate"))],
            width=6,
        ),
        Lines(
            title="Duration of requests at proxies",
            description="From arrival at the proxy to the end. The line is the limit of LLMLatencyP99High.",
            queries=quantiles("llm_request_duration_seconds", _BY, _LEGEND, *_SEEN),
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("latency_p99"))],
            width=6,
        ),
        Lines(
            title="Tokens per second at proxies",
            description="By kind, as the proxies count. Cached input is a part of the input.",
            queries=[Query(rate("llm_tokens_total", f"{_BY}, type", *_SEEN), "{{model}} {{type}} ({{engine}})")],
            unit="none",
            minimum=0,
            width=6,
        ),
    ]
