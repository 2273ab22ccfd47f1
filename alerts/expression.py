"""Bounds on PromQL before it reaches the parser, a Rust wheel that recurses on the machine's stack and overflows it."""

from __future__ import annotations

import re

MAX_EXPRESSION = 32_768
"""Longest expression taken, in characters."""

MAX_OPERATORS = 1_500
"""Most operators and brackets taken: the parser's stack overflows at some 10,000, and takes the process with it."""

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*', re.DOTALL)
_OPERATORS = re.compile(r"[-+*/%^=!<>(\[{]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


def without_strings(expr: str) -> str:
    """Return the expression with strings emptied and comments gone: what is left is structure."""
    return _STRINGS.sub('""', expr)


def check_size(expr: str) -> str:
    """Return the expression without its strings. Raises ValueError when it is too large to be parsed safely."""
    if len(expr) > MAX_EXPRESSION:
        raise ValueError(f"the expression has {len(expr)} characters, {MAX_EXPRESSION} are allowed")
    bare = without_strings(expr)
    if len(_OPERATORS.findall(bare)) > MAX_OPERATORS:
        raise ValueError(f"the expression has more than {MAX_OPERATORS} operators and brackets")
    return bare
