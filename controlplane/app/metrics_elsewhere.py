"""Other metrics servers: creates the clients of `metrics.query_url` and `metrics.remote_write` from fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from alerts.interfaces import Clock
from alerts.rules import RecordingRule, RuleGroup
from collectors.catalogue.model import Catalogue
from controlplane.config.auth import auth_of
from controlplane.config.model import Metrics
from controlplane.config.remote import RemoteWrite, endpoint_name
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.metric_names import metric_names
from controlplane.metrics.remote.remote_querier import RemoteQuerier
from controlplane.metrics.write.shipping.queue import Former, ShipQueue
from controlplane.metrics.write.shipping.selection import Selection
from controlplane.metrics.write.shipping.sender import Policy, RowSender
from controlplane.metrics.write.shipping.shipper import Shipper
from controlplane.remote_client import RemoteClient

QUEUES = "remote-write"
"""Folder of the queues, in the data folder."""
MAX_REPLY_BYTES = 16 * 2**10
"""Bytes that are read of a reply to a remote write. Chosen: only its error message is used, for the log."""


def remote_querier(metrics: Metrics) -> RemoteQuerier | None:
    """Return the client of `query_url`, or None when it is not set. The client sends nothing yet."""
    if metrics.query_url is None:
        return None
    query = metrics.query
    return RemoteQuerier(metrics.query_url, auth_of(query), query.headers, query.timeout)


def left_queues(endpoints: Iterable[RemoteWrite], data_dir: Path) -> list[str]:
    """Return a sentence for each queue on disk that belongs to none of these endpoints. Blocking."""
    known = {_folder_of(endpoint) for endpoint in endpoints}
    try:
        left = sorted(path for path in (data_dir / QUEUES).iterdir() if path.name not in known)
    except OSError:
        return []
    return [
        f"{path}: samples for a remote_write endpoint that fleet.yaml no longer has; delete the folder" for path in left
    ]


def _folder_of(endpoint: RemoteWrite) -> str:
    return quote(endpoint_name(endpoint), safe="")


def shipper_to(
    endpoint: RemoteWrite,
    data_dir: Path,
    catalogue: Catalogue,
    clock: Clock,
    former: Mapping[str, Former] | None = None,
) -> Shipper:
    """Return the shipper of an endpoint of `remote_write`. It opens nothing yet.

    `former` are the sources of earlier runs without an end, by name.
    """
    folder = data_dir / QUEUES
    name, config = endpoint_name(endpoint), endpoint.queue_config
    client = RemoteClient(
        endpoint.url, auth_of(endpoint), endpoint.headers, max_reply_bytes=MAX_REPLY_BYTES, whole=False
    )
    policy = Policy(endpoint.remote_timeout, config.min_backoff, config.max_backoff, config.sample_age_limit)
    selection = Selection(endpoint.send, catalogue.family)
    queue = ShipQueue(folder / _folder_of(endpoint), selection, config.max_bytes, former)
    return Shipper(
        name,
        queue,
        RowSender(name, client, policy, clock),
        clock,
        shards=config.max_shards,
        samples_per_send=config.max_samples_per_send,
        deadline_s=config.batch_send_deadline,
        age_limit_s=config.sample_age_limit,
        on_close=client.close,
    )


def unshipped(metrics: Metrics, groups: Iterable[RuleGroup]) -> list[str]:
    """Return a sentence if rules read from `query_url` series that are recorded here and not sent to that server."""
    if metrics.query_url is None or any("recorded" in endpoint.send for endpoint in metrics.remote_write):
        return []
    groups = list(groups)
    recorded = {rule.record for group in groups for rule in group.rules if isinstance(rule, RecordingRule)}
    read: set[str] = set()
    for group in groups:
        for rule in group.rules:
            try:
                read |= metric_names(rule.expr)
            except QueryError:  # the check of the rules reports it
                continue
    if not (missing := sorted(recorded & read)):
        return []
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return [
        f"rules read {missing[0]}{more} from that server, but the series are recorded here and not sent to it; "
        "add metrics.remote_write with send: [recorded], or load the recording rules into that server"
    ]
