from __future__ import annotations

import math

import pytest

from controlplane.errors import QueryError
from tests.unit.controlplane.metrics.conftest import Ask, Promql

DATA = """
req{m="get",code="200"} 10
req{m="get",code="500"} 2
req{m="put",code="200"} 6
cap{m="get"} 20
cap{m="put"} 3
cap{m="del"} 1
dup{m="get"} 1
info{m="get",version="v1"} 1
info{m="put",version="v2"} 1
"""


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("1 + 2 * 3", 7),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("7 % -3", 1),
        ("-7 % 3", -1),
        ("1 / 0", math.inf),
        ("1 == bool 1", 1),
        ("1 > bool 2", 0),
        ("0 / 0 != bool 0 / 0", 1),
        ("-(3)", -3),
        ("1 atan2 1", math.pi / 4),
    ],
)
def test_scalars(ask: Ask, expr: str, value: float) -> None:
    assert ask(DATA, expr, 0) == value


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ("cap * 2", {'{m="del"}': 2, '{m="get"}': 40, '{m="put"}': 6}),
        ("2 - cap", {'{m="del"}': 1, '{m="get"}': -18, '{m="put"}': -1}),
        ("cap > 2", {'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        ("2 < cap", {'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        ("2 > bool cap", {'{m="del"}': 1, '{m="get"}': 0, '{m="put"}': 0}),
        ("-cap", {'{m="del"}': -1, '{m="get"}': -20, '{m="put"}': -3}),
        ("cap + cap", {'{m="del"}': 2, '{m="get"}': 40, '{m="put"}': 6}),
        ("cap == cap", {'cap{m="del"}': 1, 'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        ("cap > on (m) info", {'{m="get"}': 20, '{m="put"}': 3}),
        ("cap + on (m, __name__) cap", {'{m="del"}': 2, '{m="get"}': 40, '{m="put"}': 6}),
        ("cap == bool on (m, __name__) cap", {'{m="del"}': 1, '{m="get"}': 1, '{m="put"}': 1}),
        ("cap == on (m, __name__) cap", {'cap{m="del"}': 1, 'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        ("cap / ignoring (version) info", {'{m="get"}': 20, '{m="put"}': 3}),
        (
            "req / on (m) group_left cap",
            {'{code="200",m="get"}': 0.5, '{code="200",m="put"}': 2, '{code="500",m="get"}': 0.1},
        ),
        (
            "cap - on (m) group_right req",
            {'{code="200",m="get"}': 10, '{code="200",m="put"}': -3, '{code="500",m="get"}': 18},
        ),
        (
            "req * on (m) group_left (version) info",
            {
                '{code="200",m="get",version="v1"}': 10,
                '{code="200",m="put",version="v2"}': 6,
                '{code="500",m="get",version="v1"}': 2,
            },
        ),
        ("req < on (m) group_left cap", {'req{code="200",m="get"}': 10, 'req{code="500",m="get"}': 2}),
        ("cap > on (m) group_right req", {'req{code="200",m="get"}': 20, 'req{code="500",m="get"}': 20}),
        (
            "req < bool on (m) group_left cap",
            {'{code="200",m="get"}': 1, '{code="200",m="put"}': 0, '{code="500",m="get"}': 1},
        ),
        ("cap and on (m) info", {'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        ("cap unless on (m) info", {'cap{m="del"}': 1}),
        ("cap and nope", {}),
        ("cap unless nope", {'cap{m="del"}': 1, 'cap{m="get"}': 20, 'cap{m="put"}': 3}),
        (
            "info or on (m) cap",
            {'cap{m="del"}': 1, 'info{m="get",version="v1"}': 1, 'info{m="put",version="v2"}': 1},
        ),
        ("nope or vector(0)", {"{}": 0}),
        ("cap + nope", {}),
        ("nope + cap", {}),
        ('cap{m="del"} + on (m) info', {}),
        ("sum(cap) + on () sum(info)", {"{}": 26}),
    ],
)
def test_vectors(ask: Ask, expr: str, result: dict[str, float]) -> None:
    assert ask(DATA, expr, 0) == result


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("cap + on (m) req", 'match group {m="get"} on the right hand-side.*many-to-many'),
        ("req + on (m) cap", "many-to-one matching must be explicit"),
        ("req + on (m) group_left req", "many-to-many"),
        ("req + on (m) group_right req", "left hand-side"),
        ("req + on (m) group_left (code) info", "grouping labels must ensure unique matches"),
        ('abs({__name__=~"cap|dup"})', "same labelset"),
    ],
)
def test_ambiguous_matches_are_errors_of_execution(ask: Ask, expr: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        ask(DATA, expr, 0)
    assert caught.value.kind == "execution"


def test_partners_that_take_turns_are_no_ambiguity(promql: type[Promql]) -> None:
    engine = promql.load("""
    v{m="a"} 1x5
    info{m="a",version="1"} 1 1 stale
    info{m="a",version="2"} _ _ 2 2 2
    """)
    assert promql.range(engine, "v * on (m) info", 0, 240, 60) == {
        '{m="a"}': [(0, 1), (60, 1), (120, 2), (180, 2), (240, 2)]
    }
    assert promql.range(engine, "v * on (m) group_left (version) info", 0, 240, 60) == {
        '{m="a",version="1"}': [(0, 1), (60, 1)],
        '{m="a",version="2"}': [(120, 2), (180, 2), (240, 2)],
    }


def test_an_overlap_of_partners_is_an_error_even_if_brief(promql: type[Promql]) -> None:
    engine = promql.load('v{m="a"} 1x5\ninfo{m="a",n="1"} 1 1 1 stale\ninfo{m="a",n="2"} _ _ 2 2 2')
    with pytest.raises(QueryError, match="many-to-many"):
        promql.range(engine, "v * on (m) info", 0, 240, 60)


def test_filters_and_set_operators_work_at_each_step(promql: type[Promql]) -> None:
    engine = promql.load("a 1 2 3 4\nb 4 3 2 1")
    assert promql.range(engine, "a > on () b", 0, 180, 60) == {"{}": [(120, 3), (180, 4)]}
    assert promql.range(engine, "a > 2 or on () b", 0, 180, 60) == {
        "a": [(120, 3), (180, 4)],
        "b": [(0, 4), (60, 3)],
    }
    assert promql.range(engine, "a unless on () b > 2", 0, 180, 60) == {"a": [(120, 3), (180, 4)]}


def test_a_scalar_side_may_vary_over_time(promql: type[Promql]) -> None:
    engine = promql.load("a 100x3")
    assert promql.range(engine, "a > time()", 0, 180, 60) == {"a": [(0, 100), (60, 100)]}
