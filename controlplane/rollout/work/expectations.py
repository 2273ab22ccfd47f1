"""Whether an answer has the expected properties. Pure; bounded in time whatever the answer, the regex or the schema is.

Sentences name a property and never quote an answer: answers are private.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import re2

from controlplane.rollout.options import Expected

MOST_JSON = 256 * 1024
"""Most characters of an answer that is compared with a JSON schema. Chosen: some rules take the square of it."""


def missing(expected: Expected, text: str) -> str:
    """Return the first property that an answer lacks, in words; "" when it has all of them. The judge is left out.

    Regular expressions and patterns of schemas run in time that grows with the length of the answer (RE2, and Rust's
    regex). White space around the answer does not count for `exact` and `json_schema`.
    """
    return next(_missing(expected, text), "")


def _missing(expected: Expected, text: str) -> Iterator[str]:
    for number, part in enumerate(expected.contains):
        if part not in text:
            yield f"lacks contains[{number}]"
    for number, part in enumerate(expected.lacks):
        if part in text:
            yield f"contains lacks[{number}]"
    if expected.exact is not None and text.strip() != expected.exact.strip():
        yield "is not exact"
    if expected.at_least_characters is not None and len(text) < expected.at_least_characters:
        yield f"has {len(text)} characters, at least {expected.at_least_characters} are expected"
    if expected.at_most_characters is not None and len(text) > expected.at_most_characters:
        yield f"has {len(text)} characters, at most {expected.at_most_characters} are expected"
    if expected.regex and not _matches(expected.regex, text):
        yield "does not match regex"
    if expected.json_schema is not None and (fault := _against(expected.json_schema, text)):
        yield fault


def _matches(expression: str, text: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(expression, options).search(text) is not None


def _against(schema: dict[str, Any], text: str) -> str:
    """Return why a text is no JSON of a schema, or "". References to other documents are not followed."""
    if len(text) > MOST_JSON:
        return f"is too long to be compared with json_schema ({len(text)} characters, at most {MOST_JSON})"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    validator = jsonschema_rs.validator_for(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    error = next(iter(validator.iter_errors(value)), None)
    return "" if error is None else f"breaks json_schema at {'/'.join(map(str, error.schema_path))}"
