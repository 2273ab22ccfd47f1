"""Bounds on PromQL before it is parsed."""

from __future__ import annotations

import re

MAX_EXPRESSION = 32_768
"""Longest expression accepted, in characters. Chosen."""

MAX_OPERATORS = 1_500
"""Most operators and brackets accepted. Each costs a node to parse and time to evaluate. Chosen."""

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*', re.DOTALL)
_OPERATORS = re.compile(r"[-+*/%^=!<>(\[{]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


def without_strings(expr: str) -> str:
    """Return the expression with each string and each comment replaced by `""`: `x{a="b"}` → `x{a=""}`."""
    return _STRINGS.sub('""', expr)


def check_size(expr: str) -> str:
    """Return the expression without its strings. Raises ValueError when it is too large to be parsed."""
    if len(expr) > MAX_EXPRESSION:
        raise ValueError(f"the expression has {len(expr)} characters, {MAX_EXPRESSION} are allowed")
    bare = without_strings(expr)
    if len(_OPERATORS.findall(bare)) > MAX_OPERATORS:
        raise ValueError(f"the expression has more than {MAX_OPERATORS} operators and brackets")
    return bare
