"""The questions that a server has answered once, as a metric: its stored series outlive the probe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

from collectors.probe.protocol import Dialect

ANSWERED = "probe_question_answered"
"""1 for each question that the server has answered with what is expected. Other questions have no series."""
MARK = "question"
"""Label with the mark of a question."""


def mark_of(dialect: Dialect) -> str:
    """Return 16 hexadecimal digits that stand for a request: its protocol, its model and its body."""
    content = json.dumps([type(dialect).__name__, dialect.body()], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def answered_family(marks: Iterable[str]) -> GaugeMetricFamily:
    """Return the metric of the answered questions, by their marks."""
    family = GaugeMetricFamily(ANSWERED, "The server has answered this question of the probe.", labels=[MARK])
    for mark in sorted(set(marks)):
        family.add_metric([mark], 1.0)
    return family
