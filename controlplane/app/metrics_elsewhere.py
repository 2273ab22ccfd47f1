"""From fleet.yaml's `metrics:` to the parts that ask and feed servers that are not ours."""

from __future__ import annotations

from collections.abc import Iterable

from alerts.rules import RecordingRule, RuleGroup
from controlplane.config.auth import auth_of
from controlplane.config.model import Metrics
from controlplane.errors import QueryError
from controlplane.metrics.names import metric_names
from controlplane.metrics.remote_querier import RemoteQuerier


def remote_querier(metrics: Metrics) -> RemoteQuerier | None:
    """Return what asks `query_url`, or None without one. Nothing is asked yet."""
    if metrics.query_url is None:
        return None
    query = metrics.query
    return RemoteQuerier(metrics.query_url, auth_of(query), query.headers, query.timeout)


def unshipped(metrics: Metrics, groups: Iterable[RuleGroup]) -> list[str]:
    """Return a sentence if rules read, from `query_url`, series that rules record here and that are not sent there."""
    if metrics.query_url is None or any("recorded" in endpoint.send for endpoint in metrics.remote_write):
        return []
    groups = list(groups)
    recorded = {rule.record for group in groups for rule in group.rules if isinstance(rule, RecordingRule)}
    read: set[str] = set()
    for group in groups:
        for rule in group.rules:
            try:
                read |= metric_names(rule.expr)
            except QueryError:  # said by the check of the rules
                continue
    if not (missing := sorted(recorded & read)):
        return []
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return [
        f"metrics.query_url: rules read {missing[0]}{more}, which is recorded here and not sent there: "
        "add metrics.remote_write with send: [recorded], or load the recording rules into that server"
    ]
