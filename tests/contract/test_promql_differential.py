"""Our PromQL against a real Prometheus on the same samples: what people write, and what a grammar makes up."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.evaluation.aggregate import AGGREGATIONS
from controlplane.metrics.promql.evaluation.binary import OPERATORS
from controlplane.metrics.promql.functions.registry import FUNCTIONS
from tests.contract.promql_grammar import nested, systematic
from tests.contract.promql_reference import (
    AT,
    NEWER,
    Refusal,
    ask_whole,
    compare,
    compare_annotations,
    fleet,
    our_engine,
    prometheus,
)

pytestmark = pytest.mark.needs("prometheus")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as address:
        yield address


@pytest.fixture(scope="module")
def engine() -> PromqlEngine:
    return our_engine(fleet())


QUERIES = """
1 + 2 * 3 ^ 2 - 4 % 3
-temperature
time() - 1.7e9
vector(1) + 1
scalar(info{instance="a:1"})
scalar(info)
requests_total
requests_total{status=~"4..|5.."}
requests_total{status!~"4.*", job="api"}
{__name__=~"requests_.+", instance="a:1"}
sum by (__name__, instance, status, le) ({__name__=~"requests_total|uneven_bucket", instance=~".+", canary=~"|no"})
requests_total{nope=""}
requests_total offset 7m
requests_total offset -3m
requests_total @ 1700001000
sum(requests_total @ end() - requests_total @ start())
late
rate(requests_total[5m])
rate(requests_total[1m])
rate(requests_total[20s])
rate(late[10m])
increase(requests_total[7m])
increase(late[30m])
irate(requests_total[2m])
delta(temperature[6m])
idelta(temperature[6m])
deriv(temperature[10m])
deriv(special[10m])
predict_linear(temperature[10m], 600)
changes(temperature[10m])
changes(special[10m])
resets(requests_total[30m])
avg_over_time(temperature[5m])
sum_over_time(temperature[5m])
min_over_time(special[5m])
max_over_time(special[5m])
count_over_time(temperature[5m])
last_over_time(late[30m])
present_over_time(late[10m])
stddev_over_time(temperature[10m])
stdvar_over_time(temperature[10m])
quantile_over_time(0.3, temperature[10m])
quantile_over_time(1.5, temperature[10m])
quantile_over_time(0.5, special[4m])
absent_over_time(late{kind="stops"}[10m])
absent_over_time(nope{a="b", c!="d"}[10m])
absent(nope{a="b"})
absent(sum(nope))
absent(requests_total)
sum(requests_total)
sum by (job) (rate(requests_total[5m]))
avg by (status, job) (requests_total)
min without (instance, node) (temperature)
max by (instance) (special or temperature)
count by (job) (requests_total)
group by (status) (requests_total)
stddev by (job) (temperature)
stdvar(temperature)
sum(special)
avg(special)
min(special)
max(special)
quantile(0.9, requests_total)
quantile by (job) (0.25, temperature)
quantile(-1, temperature)
topk(3, requests_total)
topk by (job) (1, temperature)
bottomk(2, temperature)
topk(2, special)
bottomk(2, special)
topk(0, temperature)
count_values("value", info)
count_values by (job) ("status", round(temperature, 50))
temperature + temperature
temperature - on (instance, job) temperature
requests_total / ignoring (status) group_left sum without (status) (requests_total)
temperature * on (instance) group_left (version) info
info * on (instance) group_right (version) temperature
temperature > 50
temperature > bool 50
50 < temperature
temperature != 50 < bool 60
1 > bool 2
temperature > on (instance, job) (temperature offset 5m)
temperature == temperature
temperature and temperature > 60
temperature and on (instance) info
temperature unless on (instance) info
temperature or info
late or special
temperature % 7
-temperature % 7
2 ^ (temperature / 10)
abs(temperature) atan2 10
temperature / 0
histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))
histogram_quantile(0.5, sum by (le) (rate(latency_seconds_bucket[5m])))
histogram_quantile(1.2, latency_seconds_bucket)
histogram_quantile(0.99, latency_seconds_bucket{le!="0.5"})
histogram_quantile(0.99, latency_seconds_bucket{le!="+Inf"})
rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])
abs(special)
ceil(temperature)
floor(-temperature)
round(temperature)
round(temperature, 0.1)
exp(special)
ln(special)
log2(temperature)
log10(special)
sqrt(special)
sgn(special)
clamp(temperature, 30, 60)
clamp(temperature, 60, 30)
clamp_min(special, 3)
clamp_max(special, 3)
timestamp(temperature)
timestamp(temperature offset 2m)
timestamp(temperature + 1)
label_replace(temperature, "host", "$1-x", "instance", "(.*):(.*)")
label_replace(temperature, "instance", "", "instance", ".*")
label_replace(temperature, "host", "${2}_$1", "instance", "(?P<name>.):(.)")
label_join(temperature, "both", "-", "job", "instance", "nope")
sort(temperature)
sort_desc(temperature)
minute()
hour(vector(1700000000))
day_of_week(vector(1709164800))
day_of_month(vector(1709164800))
days_in_month(vector(1709164800))
month()
year(temperature * 1e8)
day_of_year(vector(1709164800))
max_over_time(rate(requests_total[2m])[10m:1m])
avg_over_time(temperature[10m:40s])
sum_over_time((temperature > 60)[15m:1m])
rate(sum by (job) (requests_total)[10m:1m])
max_over_time(temperature[10m:1m] offset 4m)
max_over_time(temperature[10m:1m] @ 1700001030)
min_over_time(vector(time())[10m:1m])
deriv(rate(requests_total[2m])[10m:])
quantile_over_time(0.5, late[20m:1m])
(sum by (job) (rate(requests_total{status="7"}[5m])) or 0 * sum by (job) (rate(requests_total[5m]))) > bool 0.01
"""

OF_PROMETHEUS_3 = r"""
temperature[0.5:1]
count_over_time(temperature[1m])
count_over_time(temperature[59s999ms])
count_over_time(temperature[1m1ms])
rate(requests_total[75])
rate(fresh_total[5m])
increase(fresh_total[20m])
increase(fresh_total[1m])
max_over_time(temperature[2m:23s])
predict_linear(temperature[10m] @ 1700001030, 600)
temperature atan2 10
10 atan2 temperature
stddev by (kind) (special)
count_values by (job, instance, node) ("value", round(temperature, 50))
histogram_fraction(0.1, 0.8, rate(latency_seconds_bucket[5m]))
rate(requests_total[5m * 2])
rate(requests_total[(1h - 30m) / 6] offset (1m + 30s))
temperature offset -(1m * 2) + 1
temperature offset (1m) * 2
temperature offset --1m + 1
temperature offset -(2m) - temperature
temperature offset (1m) > 3
sum_over_time(temperature[10m % 7m : 2 ^ 5])
sum_over_time(temperature[-2 ^ 2 + 1m])
temperature offset 1m + 1m
temperature offset -2 ^ 2
rate(requests_total[5m]) > 5m
temperature == bool on (__name__, job, instance) temperature
temperature + on (__name__, job, instance) temperature
temperature > on (__name__, job, instance) temperature - 1
{job="api", instance="a:1"} * on (__name__, status) {job="api", instance="a:1"}
temperature * on (__name__, job, instance) group_left (node) temperature
sum by (smoothed, anchored, step, fill) (temperature)
sum by ("job", "k8s.pod") (temperature)
sum by (job:x) (temperature)
smoothed or anchored{job="api"} or step or range
{"temperature", "job"=~"api.*"}
temperature{job="\x61\160\u0069"}
temperature{job="\xff"}
"\xc3\xa9\xff"
label_replace(temperature, "added", "\xc3\xa9$1", "instance", `(\w):\d`)
temperature{instance=~`[[:alpha:]]:\d`}
temperature{instance=~"(?i)A:.|(?i:B):2"}
temperature{instance=~"(?U)a.*|b(?i):2"}
temperature{instance=~`\Qa:1\E|\pL:[^\PN]\z`}
temperature{instance=~"(a+)+:1|(b|bb)*:2|c{,3}"}
temperature{instance!~"^a:1$|b:2"}
temperature{__type__="", __unit__=""}
sum by (__type__) (temperature)
label_replace(temperature, "__type__", "gauge", "", "")
"""
"""What 2.42 does not know, or does otherwise."""

ANNOTATED = r"""
increase(temperature[5m]) + rate(temperature[5m])
rate(((temperature[5m])))
rate(temperature[1s])
rate({__name__=~"temperature|requests_total"}[5m])
max_over_time(rate(temperature[2m])[5m:1m])
rate((temperature)[10m:1m])
rate(temperature[10m:1m] @ end())
rate((-temperature)[10m:1m])
quantile(2, absent_metric)
quantile(((-2)), temperature)
quantile by (job) (NaN, temperature) + quantile without (job) (+3, temperature)
quantile(-1e-7, temperature) or quantile(1.5e8, temperature) or quantile(Inf, temperature)
quantile((time() / 60) % 17 - 2, temperature)
quantile((time() / 60) % 17 - 2 + scalar(absent_metric), temperature)
quantile(scalar(count(rate(temperature[5m]))), rate(temperature[5m]))
quantile_over_time((time() / 60) % 5 - 2, temperature[5m])
quantile_over_time(7, absent_metric[5m])
quantile_over_time(time(), temperature[5m])
histogram_quantile(2, absent_metric)
histogram_quantile((time() / 60) % 5 - 2, uneven_bucket)
histogram_quantile(0.5, uneven_bucket)
histogram_quantile(0.5, (rate(uneven_bucket[5m])))
histogram_quantile(0.5, sum by (le) (rate(uneven_bucket[5m])))
histogram_fraction(1, 2, odd_bucket)
histogram_quantile(0.5, odd_bucket)
histogram_quantile(-(1), -odd_bucket)
histogram_quantile(0.5, temperature)
topk(1, label_replace(rate(temperature[5m]), "a", "(rate(", "", "")) # rate(x[1m])
"""
"""What Prometheus 3 says something of."""

WRITTEN = [line for line in (QUERIES + (OF_PROMETHEUS_3 + ANNOTATED) * NEWER).strip().splitlines() if line]
MADE_UP = list(dict.fromkeys([*systematic(seed=20261120, newer=NEWER), *nested(seed=3, count=240, newer=NEWER)]))
ON_EDGES = list(range(-23, 8, 15)) if NEWER else []
"""Seconds from AT to times at which samples are."""

ORDERED = ("sort", "sort_desc", "topk", "bottomk")


def _same_at(engine: PromqlEngine, reference: str, expr: str, at: float) -> None:
    theirs = ask_whole(reference, "query", query=expr, time=at)
    if isinstance(theirs, Refusal):
        with pytest.raises(QueryError) as caught:
            engine.instant(expr, at)
        assert caught.value.kind == theirs.kind, (caught.value, theirs)
        return
    told = Annotations()
    ours = engine.instant(expr, at, annotations=told).to_prometheus_json()
    compare(ours, theirs["data"])
    if NEWER:
        compare_annotations(told, theirs, over_time=False)
    if expr.startswith(ORDERED) and " by " not in expr and expr in WRITTEN:
        assert [r["metric"] for r in ours["result"]] == [r["metric"] for r in theirs["data"]["result"]]


def _same_over(engine: PromqlEngine, reference: str, expr: str, start: float, end: float) -> None:
    theirs = ask_whole(reference, "query_range", query=expr, start=start, end=end, step=60)
    if isinstance(theirs, Refusal):
        with pytest.raises(QueryError) as caught:
            engine.range(expr, start, end, 60)
        assert caught.value.kind == theirs.kind, (caught.value, theirs)
        return
    told = Annotations()
    compare(engine.range(expr, start, end, 60, annotations=told).to_prometheus_json(), theirs["data"])
    if NEWER:
        compare_annotations(told, theirs, over_time=True)


@pytest.mark.parametrize("expr", WRITTEN)
def test_answers_as_prometheus_does(engine: PromqlEngine, reference: str, expr: str) -> None:
    for at in (AT, AT - 25 * 60, AT + 13 * 60, *(AT + seconds for seconds in ON_EDGES)):
        _same_at(engine, reference, expr, at)
    _same_over(engine, reference, expr, AT - 45 * 60, AT + 15 * 60)


@pytest.mark.parametrize("expr", MADE_UP)
def test_answers_made_up_queries_as_prometheus_does(engine: PromqlEngine, reference: str, expr: str) -> None:
    _same_at(engine, reference, expr, AT)
    _same_over(engine, reference, expr, AT - 30 * 60, AT + 5 * 60)
    for seconds in ON_EDGES[:1]:
        _same_at(engine, reference, expr, AT + seconds)
        _same_over(engine, reference, expr, AT - 30 * 60 + seconds, AT + 5 * 60)


def test_there_are_enough_queries_and_every_function_and_operator_is_among_them() -> None:
    assert len(WRITTEN) >= 120 and len(MADE_UP) >= 300
    text = "\n".join([*WRITTEN, *MADE_UP])
    words = set(re.findall(r"[a-z_0-9]+", text))
    # 2.42 knows histogram_fraction for native histograms only; first_over_time is newer than 3.5.
    assert set(FUNCTIONS) - words == {"first_over_time"} | (set() if NEWER else {"histogram_fraction"})
    assert set(AGGREGATIONS) - words == set()
    assert {op for op in OPERATORS if op not in words and f" {op} " not in text} == set()
