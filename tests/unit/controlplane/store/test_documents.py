from __future__ import annotations

import json
import math
from typing import Any

import pytest

from controlplane.store.documents import dumps, loads


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {
            "labels": {"model": "模型", "quote": 'a"b', "nul": "\x00", "line": "\u2028"},
            "values": [1, -0.5, 1e300, True],
        },
        {"huge": 2**70},
        {"half": "\ud83d"},
    ],
)
def test_a_document_is_read_as_it_was_written(document: Any) -> None:
    assert loads(dumps(document)) == document
    assert loads(json.dumps(document)) == document, "as an earlier release wrote it"


def test_keys_that_are_no_text_become_text() -> None:
    assert loads(dumps({1: "a", None: "b"})) == {"1": "a", "null": "b"}


def test_what_is_no_number_is_null_and_is_read_where_it_was_written_before() -> None:
    assert loads(dumps([math.nan, math.inf, -math.inf])) == [None, None, None]
    (found,) = loads("[NaN]")
    assert math.isnan(found)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1,}', "nope"])
def test_a_damaged_document_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)
