"""The page of PromQL queries. The browser asks the query API; the page has the language's words."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.metrics.promql.syntax.vocabulary import EXPERIMENTAL_AGGREGATIONS, refusal
from controlplane.web.render import Renderer
from promql.signatures import AGGREGATIONS, FUNCTIONS

PATH = "/query"
KEYWORDS = ("and", "bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "or", "unless", "without")
WORDS = {
    "function": sorted(name for name in FUNCTIONS if refusal(name) is None),
    "aggregation": sorted(set(AGGREGATIONS) - EXPERIMENTAL_AGGREGATIONS),
    "keyword": list(KEYWORDS),
}
"""Words that completion offers beside metrics and labels, by kind: only those that this engine evaluates."""


class QueryPage:
    """The endpoint. It needs the role viewer, as the query API does."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    def page(self, request: Request) -> Response:
        """Show the form; the browser asks the query in the address."""
        return self._render.page(request, "models/query.html", words=WORDS)
