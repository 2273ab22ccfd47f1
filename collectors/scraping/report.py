"""The series that describe a target's scrapes, beside those that it exposes."""

from __future__ import annotations

from collections.abc import Sequence

from collectors.samples import Layout, Metadata, Series, View, labels_of
from collectors.target import Target

REPORT: dict[str, Metadata] = {
    "up": Metadata("gauge", "1 if the last scrape of the target succeeded, 0 if it failed."),
    "scrape_duration_seconds": Metadata("gauge", "Duration of the scrape."),
    "scrape_samples_scraped": Metadata("gauge", "Samples that the target exposed."),
    "scrape_samples_post_metric_relabeling": Metadata("gauge", "Samples that metric_relabel_configs left."),
    "scrape_series_added": Metadata("gauge", "Series that the previous good scrape lacked."),
    "scrape_body_size_bytes": Metadata("gauge", "Size of the body, inflated; 0 if none came."),
}
"""Series that every scrape yields, successful or not."""
PRESENT = "collector_metric_present"
_PRESENT = Metadata(
    "gauge", "1 if the last good scrape had the canonical metric, which the engine should expose; else 0."
)
TARGET_UP = Metadata("gauge", "The value of up, with the target's kind of engine as the label engine.")
"""`target_up`, a view of `up`. Raw series have an engine's own labels, so `up` cannot carry the kind (ADR 0034)."""


def report_layout(target: Target, expected: Sequence[str] = ()) -> Layout:
    """Return the layout of a target's report.

    Its columns are REPORT in that order, then PRESENT for each of the expected canonical metrics. It has one view:
    `target_up`.
    """
    named = {**dict(target.labels), "job": target.job, "instance": target.instance}
    raw = [Series(name, labels_of(named)) for name in REPORT]
    raw += [Series(PRESENT, labels_of({**named, "metric": metric})) for metric in expected]
    kind = View(Series("target_up", labels_of({**named, "engine": target.engine})), (0,))
    told = {**REPORT, "target_up": TARGET_UP}
    return Layout(tuple(raw), (kind,), {**told, PRESENT: _PRESENT} if expected else told)


def report_key(target: Target) -> str:
    """Return the source name of a target's report series (`up`, `scrape_…`)."""
    return f"{target.key}#report"
