"""The OpenAPI document of Prometheus's routes: their parameters, and the shape of their errors.

FastAPI cannot derive these parameters: `prometheus_params.py` parses them itself, as Go does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Schema = dict[str, Any]

EXPRESSION: Schema = {"type": "string", "minLength": 1, "format": "promql"}
SELECTOR: Schema = {"type": "string", "minLength": 1, "format": "promql-selector"}
TIME: Schema = {"type": "string", "format": "prometheus-time", "description": "Unix seconds, or RFC 3339."}
DURATION: Schema = {
    "type": "string",
    "format": "prometheus-duration",
    "description": "Seconds, or a duration such as 15s or 1h30m.",
}
MOST = 10**18 - 1
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": MOST, "description": "0: no limit."}
FAMILIES: Schema = {"type": "integer", "minimum": -MOST, "maximum": MOST, "description": "Below 0: no limit."}
TEXT: Schema = {"type": "string"}


class Parameter(NamedTuple):
    """One parameter. `repeated`: it may occur several times."""

    name: str
    schema: Schema
    required: bool = False
    repeated: bool = False

    @property
    def full_schema(self) -> Schema:
        """The schema; for a repeated parameter a list of it."""
        return {"type": "array", "items": self.schema, "minItems": 1} if self.repeated else self.schema


QUERY = Parameter("query", EXPRESSION, required=True)
MATCH = Parameter("match[]", SELECTOR, repeated=True)
START, END = Parameter("start", TIME), Parameter("end", TIME)
LIMIT = Parameter("limit", COUNT)
TIMEOUT, LOOKBACK = Parameter("timeout", DURATION), Parameter("lookback_delta", DURATION)
METRIC = Parameter("metric", TEXT)

PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "/api/v1/query": (QUERY, Parameter("time", TIME), TIMEOUT, LIMIT, LOOKBACK),
    "/api/v1/query_range": (
        QUERY,
        START._replace(required=True),
        END._replace(required=True),
        Parameter("step", DURATION, required=True),
        TIMEOUT,
        LIMIT,
        LOOKBACK,
    ),
    "/api/v1/query_exemplars": (QUERY, START, END),
    "/api/v1/format_query": (QUERY,),
    "/api/v1/parse_query": (QUERY,),
    "/federate": (MATCH,),
    "/api/v1/status/tsdb": (Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}),),
    "/api/v1/series": (MATCH._replace(required=True), START, END, LIMIT),
    "/api/v1/labels": (MATCH, START, END, LIMIT),
    "/api/v1/label/{name}/values": (MATCH, START, END, LIMIT),
    "/api/v1/metadata": (METRIC, Parameter("limit", FAMILIES)),
    "/api/v1/targets": (
        Parameter("state", {"type": "string", "enum": ["any", "active", "dropped"]}),
        Parameter("scrapePool", TEXT),
    ),
    "/api/v1/targets/metadata": (
        Parameter("match_target", {"type": "string", "format": "promql-selector"}),
        METRIC,
        Parameter("limit", FAMILIES),
    ),
    "/api/v1/rules": (
        Parameter("type", {"type": "string", "enum": ["alert", "record"]}),
        Parameter("rule_name[]", TEXT, repeated=True),
        Parameter("rule_group[]", TEXT, repeated=True),
        Parameter("file[]", TEXT, repeated=True),
        MATCH,
        Parameter("exclude_alerts", {"type": "boolean"}),
        Parameter("group_limit", {"type": "integer", "minimum": 1, "maximum": MOST}),
        Parameter("group_next_token", {**TEXT, "description": "`groupNextToken` of an earlier answer."}),
    ),
}

ERROR: dict[str, Any] = {
    "description": "Prometheus's error envelope.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["status", "errorType", "error"],
                "properties": {
                    "status": {"const": "error"},
                    "errorType": {"type": "string"},
                    "error": {"type": "string"},
                },
            }
        }
    },
}

PLAIN_ERROR: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A sentence for remote writers and readers, as Prometheus answers them; else the envelope.",
        "content": {"text/plain; charset=utf-8": {}, **ERROR["content"]},
    }
}


def operation(path: str, methods: set[str]) -> dict[str, Any]:
    """Return the parts of an operation's document that FastAPI lacks: the form of a POST, the query string of a GET."""
    parameters = PARAMETERS.get(path)
    if not parameters:
        return {}
    if "POST" in methods:
        return {"requestBody": _form(parameters)}
    return {"parameters": [_in_query(parameter) for parameter in parameters]}


def _in_query(parameter: Parameter) -> dict[str, Any]:
    found = {"name": parameter.name, "in": "query", "required": parameter.required, "schema": parameter.full_schema}
    return {**found, "style": "form", "explode": True} if parameter.repeated else found


def _form(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    required = [parameter.name for parameter in parameters if parameter.required]
    schema: Schema = {
        "type": "object",
        "properties": {parameter.name: parameter.full_schema for parameter in parameters},
        **({"required": required} if required else {}),
    }
    return {"required": bool(required), "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
