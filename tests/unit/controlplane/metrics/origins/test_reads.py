"""Selectors that an expression reads, and whether a series can contribute to a result."""

from __future__ import annotations

import pytest

from alerts.rules import RecordingRule
from collectors.samples import Labels, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.origins.reads import Read, reads

RULES = {
    "m:errors:ratio": [
        RecordingRule("1", "m:errors:ratio", 'sum by (model, source) (bad{kind="x"}) / m:all', (("kind", "ratio"),))
    ],
    "m:all": [RecordingRule("2", "m:all", "sum by (model) (good) or m:all")],
    "broken": [RecordingRule("3", "broken", "sum(")],
}


def shown(found: tuple[Read, ...]) -> list[tuple[str, dict[str, str], list[str]]]:
    return [
        (
            "{" + ",".join(str(m) for m in sorted(one.matchers, key=str)) + "}",
            dict(one.fixed),
            sorted(one.made - {"__name__"}),
        )
        for one in found
    ]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("vector(1)", []),
        ("up == 0 or up == 0", [('{__name__="up"}', {}, [])]),
        ('rate(a{b=~"c|d"}[5m]) > 1', [('{__name__="a",b=~"c|d"}', {}, [])]),
        ("max_over_time((a + b)[1h:1m] offset 5m)", [('{__name__="a"}', {}, []), ('{__name__="b"}', {}, [])]),
        ('label_replace(a, "node", "$1", "instance", "(.*):.*")', [('{__name__="a"}', {}, ["node"])]),
        (
            "max by (gpu) (a) * on (gpu) group_left (node) b",
            [('{__name__="a"}', {}, ["node"]), ('{__name__="b"}', {}, ["node"])],
        ),
        ('count_values("version", a)', [('{__name__="a"}', {}, ["version"])]),
        (
            'm:errors:ratio{source="gateway",kind="ratio"} > 0.1',
            [
                ('{__name__="bad",kind="x"}', {"source": "gateway"}, ["kind"]),
                ('{__name__="good"}', {"source": "gateway"}, ["kind"]),
            ],
        ),
        ("broken", []),
    ],
)
def test_recorded_series_are_followed_to_those_that_they_are_made_of(
    expr: str, found: list[tuple[str, dict[str, str], list[str]]]
) -> None:
    assert shown(reads(expr, RULES)) == found


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(QueryError):
        reads("sum(", {})


@pytest.mark.parametrize(
    ("series", "result", "fits"),
    [
        ({"model": "chat", "instance": "a"}, {"model": "chat"}, True),
        ({"model": "code", "instance": "a"}, {"model": "chat"}, False),
        ({"instance": "a"}, {"model": "chat"}, True),
        ({"model": "chat", "kind": "raw"}, {"model": "chat", "kind": "ratio"}, True),
        ({"model": "chat", "source": "engine"}, {"model": "chat"}, False),
    ],
)
def test_a_series_fits_unless_a_label_differs(series: dict[str, str], result: dict[str, str], fits: bool) -> None:
    read = Read((), (("source", "gateway"),), frozenset({"kind"}))
    assert read.fits(labels_of(series), labels_of(result)) is fits


def test_a_server_is_asked_for_the_series_that_fit() -> None:
    read = Read((), (("source", "gateway"),), frozenset({"kind"}))
    result: Labels = (("kind", "x"), ("model", "a.b|c"))
    assert [str(m) for m in read.narrowed(result)] == ['source=~"gateway|"', r'model=~"a\.b\|c|"']
