"""Own metrics of rule groups and of the outbox."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane.api.services import Services


def rule_metrics(services: Services) -> Iterable[Metric]:
    """Yield the duration, time and failures of each rule group's evaluations."""
    of_group = ("rule_group",)
    duration = GaugeMetricFamily(
        "controlplane_rule_group_duration_seconds", "Duration of a rule group's last evaluation.", labels=of_group
    )
    last = GaugeMetricFamily(
        "controlplane_rule_group_last_evaluation_timestamp_seconds",
        "Time of a rule group's last evaluation.",
        labels=of_group,
    )
    failures = CounterMetricFamily(
        "controlplane_rule_evaluation_failures", "Rule evaluations that failed.", labels=of_group
    )
    for report in services.rules():
        if report.last_evaluation is not None:
            group = (report.group.key,)
            duration.add_metric(group, report.evaluation_s)
            last.add_metric(group, report.last_evaluation)
            failures.add_metric(group, float(sum(rule.failures for rule in report.rules)))
    yield from (duration, last, failures)


def outbox_metrics(services: Services) -> Iterable[Metric]:
    """Yield the number of messages of each status. Raises Unavailable."""
    family = GaugeMetricFamily(
        "controlplane_outbox_messages", "Notifications in the outbox by status.", labels=("status",)
    )
    for status, count in sorted(services.outbox.depth().items()):
        family.add_metric((status,), float(count))
    yield family
