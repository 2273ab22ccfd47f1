"""Which labels a result can have, by its syntax."""

from __future__ import annotations

import pytest

from controlplane.metrics.promql.syntax.tree import metric_name, parse
from controlplane.ruletest.result_labels import result_labels, selectors

RECORDED = {"rec": frozenset({"a", "b", "le"}), "any": None}
ANY = None


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("x", ANY),
        ("1", set()),
        ("time()", set()),
        ("vector(1)", set()),
        ("scalar(x)", set()),
        ("hour()", set()),
        ("sum(x)", set()),
        ("sum by (a, b) (x)", {"a", "b"}),
        ("sum by (a, z) (rec)", {"a"}),
        ("sum without (a) (x)", ANY),
        ("sum without (a) (rec)", {"b", "le"}),
        ("topk(3, x)", ANY),
        ("topk by (a) (3, rec)", {"a", "b", "le"}),
        ('count_values by (a) ("v", x)', {"a", "v"}),
        ("rate(x[5m])", ANY),
        ("rate(rec[5m])", {"a", "b", "le"}),
        ("max_over_time(sum by (a) (x)[5m:])", {"a"}),
        ("histogram_quantile(0.9, sum by (le, a) (x))", {"a"}),
        ("-sum by (a) (x)", {"a"}),
        ('label_replace(sum by (a) (x), "n", "$1", "a", "(.*)")', {"a", "n"}),
        ('label_join(sum by (a) (x), "n", "-", "a")', {"a", "n"}),
        ('label_replace(x, "n", "$1", "a", "(.*)")', ANY),
        ('absent(x{a="1",b=~"2",c!="3"})', {"a"}),
        ("sum by (a) (x) > 0", {"a"}),
        ("0 < bool sum by (a) (x)", {"a"}),
        ("x + on (a) y", {"a"}),
        ("x + ignoring (a) y", ANY),
        ("rec + ignoring (a) y", {"b", "le"}),
        ("rec * on (a, z) y", {"a"}),
        ("sum by (a) (x) * on (a) group_left (n) y", {"a", "n"}),
        ("y * on (a) group_right (n) sum by (a) (x)", {"a", "n"}),
        ("sum by (a) (x) and on (a) y", {"a"}),
        ("sum by (a) (x) unless y", {"a"}),
        ("sum by (a) (x) or sum by (b) (x)", {"a", "b"}),
        ("sum by (a) (x) or y", ANY),
        ("any", ANY),
    ],
)
def test_the_labels_of_a_result(expr: str, labels: set[str] | None) -> None:
    assert result_labels(parse(expr), RECORDED) == labels


def test_selectors_are_found_everywhere_and_named_where_they_are() -> None:
    node = parse('topk(scalar(k), a) + -b[5m:1m] offset 1m > bool rate(c[5m]) or {__name__=~"d.*"} or {__name__="e"}'
                 .replace("-b[5m:1m] offset 1m", "sum_over_time(b[5m:1m])"))  # fmt: skip
    assert [metric_name(selector) for selector in selectors(node)] == ["k", "a", "b", "c", None, "e"]
