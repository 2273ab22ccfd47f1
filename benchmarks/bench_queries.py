"""Latency of queries: the control plane and a real Prometheus with the same live data.

    python benchmarks/bench_queries.py [--minutes 3] [--targets 300]

Both scrape one fleet and run the shipped rule packs. Prometheus gets the canonical series as files, under the same
labels as in the control plane. Queries are sent by HTTP to one program after the other. A rate over five minutes
reads the samples of `--minutes`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
import urllib.parse
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench_scrape import settle
from common.contenders import Contender, control_plane, prometheus
from common.fleet_of_files import fleet_of_files

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import AlertingRule, RecordingRule
from collectors.durations import format_duration

PORT = 9932
INTERVAL_S = 5.0
REPEATS = 41
EVALUATIONS = 4
RULES_S = 15.0
QUERIES = (
    "histogram_quantile(0.99, sum by (le, model_name) (rate(vllm:e2e_request_latency_seconds_bucket[5m])))",
    "sum by (model_name) (rate(vllm:request_success_total[5m]))",
    'count({__name__=~"vllm:.*"})',
    'sum(count by (__name__) ({job="vllm",instance=~".*7[0-9]?:.*"}))',
)
OURS_S = "controlplane_rule_group_duration_seconds"
THEIRS_S = "prometheus_rule_group_last_duration_seconds"


def rule_file() -> str:
    """Return the shipped rule packs with their default thresholds, as a plain Prometheus rule file."""
    groups = [group for pack in BUILTIN for group in load_pack(pack, options=EXAMPLE)]
    written = [{"name": group.name, "rules": [_rule(rule) for rule in group.rules]} for group in groups]
    return json.dumps({"groups": written})


def _rule(rule: RecordingRule | AlertingRule) -> dict[str, object]:
    if isinstance(rule, RecordingRule):
        labels = {**dict(rule.labels), **dict.fromkeys(rule.removed, "")}
        return {"record": rule.record, "expr": rule.expr, "labels": labels}
    texts = {"labels": rule.labels, "annotations": rule.annotations}
    written = {kind: {name: template.text for name, template in templates} for kind, templates in texts.items()}
    holds = {"for": format_duration(rule.for_s), "keep_firing_for": format_duration(rule.keep_firing_for_s)}
    return {"alert": rule.alert, "expr": rule.expr, **holds, **written}


class Asker:
    """Sends queries to one contender over a connection that stays open."""

    def __init__(self, contender: Contender) -> None:
        self._connection = http.client.HTTPConnection(contender.address)
        self._headers = {"Authorization": f"Bearer {contender.token}"} if contender.token else {}

    def ask(self, query: str, at: float) -> tuple[float, object]:
        """Return the seconds of an instant query, and its result. Raises SystemExit when it fails."""
        path = f"/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': at})}"
        started = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(f"{query}: {body[:500]!r}")
        return seconds, json.loads(body)["data"]["result"]


def compare_queries(ours: Contender, theirs: Contender, queries: Iterable[str]) -> None:
    """Print the median milliseconds of each query in both programs, and the ratio.

    Raises SystemExit when the answers differ.
    """
    print(f"{'ours ms':>9}{'prom ms':>9}{'ratio':>7}   (target <= 0.7; median of {REPEATS}, in turn)")
    askers = Asker(ours), Asker(theirs)
    at = time.time() - INTERVAL_S
    for query in queries:
        results = [asker.ask(query, at)[1] for asker in askers]
        if not results[0] or len(results[0]) != len(results[1]):  # type: ignore[arg-type]
            raise SystemExit(f"{query}: not the same answer: {str(results[0])[:300]} and {str(results[1])[:300]}")
        rounds = [[asker.ask(query, at)[0] for asker in askers] for _ in range(REPEATS)]
        mine, other = (statistics.median(column) * 1e3 for column in zip(*rounds, strict=True))
        print(f"{mine:9.2f}{other:9.2f}{mine / other:7.2f}   {query}", flush=True)


def compare_rules(ours: Contender, theirs: Contender) -> None:
    """Print the median milliseconds of one evaluation of all groups."""
    mine, other = [], []
    for _ in range(EVALUATIONS):
        time.sleep(RULES_S)
        mine.append(_sum_of(ours, OURS_S))
        other.append(_sum_of(theirs, THEIRS_S))
    first, second = (statistics.median(column) * 1e3 for column in (mine, other))
    recorded = [contender.number('count({__name__=~".+:.+:.+"})') for contender in (ours, theirs)]
    print(f"rule packs, one evaluation: {first:.1f} ms ours, {second:.1f} ms Prometheus")
    print(f"ratio {first / second:.2f} (target <= 0.5); recorded series: {recorded[0]:g} and {recorded[1]:g}")


def _sum_of(contender: Contender, metric: str) -> float:
    lines = contender.raw("/metrics").decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric + "{"))


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes of samples before the first query")
    parser.add_argument("--targets", type=int, default=300)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = fleet_of_files(given.targets, INTERVAL_S, PORT, created=False, canonical=True)
        addresses = stack.enter_context(fleet)
        ours = stack.enter_context(control_plane(folder / "ours", addresses, INTERVAL_S))
        theirs = stack.enter_context(
            prometheus(folder / "theirs", addresses, INTERVAL_S, rules=rule_file(), canonical=True)
        )
        for contender in (ours, theirs):
            settle(contender, given.targets, INTERVAL_S)
        time.sleep(given.minutes * 60)
        compare_queries(ours, theirs, QUERIES)
        compare_rules(ours, theirs)


if __name__ == "__main__":
    main()
