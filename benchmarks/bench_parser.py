"""Time of the PromQL parser for an expression, against `promql-parser`, a Rust wheel, in the same run.

The expressions are those of the shipped packs. Prints microseconds an expression, the least of several rounds. The
wheel does not record positions, and converts its tree at every access.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import promql_parser

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from promql.parser import parse_tree

ROUNDS = 20


def microseconds(parse: Callable[[str], object], exprs: Sequence[str]) -> float:
    """Parse all expressions once, and return the mean microseconds of one."""
    before = time.perf_counter()
    for expr in exprs:
        parse(expr)
    return (time.perf_counter() - before) / len(exprs) * 1e6


def main() -> None:
    """Measure and print."""
    exprs = [rule.expr for name in BUILTIN for group in load_pack(name, options=EXAMPLE) for rule in group.rules]
    rounds = [(microseconds(parse_tree, exprs), microseconds(promql_parser.parse, exprs)) for _ in range(ROUNDS)]
    ours, theirs = (min(column) for column in zip(*rounds, strict=True))
    length = sum(map(len, exprs)) / len(exprs)
    print(f"{len(exprs)} expressions of {length:.0f} characters each")
    print(f"ours {ours:.0f} µs, the wheel {theirs:.0f} µs, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
