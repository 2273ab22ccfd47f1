"""The walk over JSON agrees with the standard library on what is JSON, and on where things end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.metrics.remote.json_walk import JsonWalk

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def walked(text: str) -> Any:
    """Read a whole text by walking every object and array of the outermost level."""
    walk = JsonWalk(text)
    found: Any
    match walk.peek():
        case "{":
            found = {key: walk.value() for key in walk.members()}
        case "[":
            found = [walk.value() for _ in walk.elements()]
        case _:
            found = walk.value()
    walk.end()
    return found


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_it_reads_what_the_standard_library_writes(value: Any, indent: int | None, ascii_only: bool) -> None:
    assert walked(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@given(JSON, st.data())
def test_what_is_cut_short_is_refused_as_the_standard_library_refuses_it(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    try:
        expected = json.loads(cut)
    except ValueError:
        with pytest.raises(ValueError):
            walked(cut)
    else:
        assert walked(cut) == expected


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "[1 2]", '{"a" 1}', '{"a":1,}', "{1:2}", "[NaN]", "[Infinity]", "[] []", "[" * 100_000]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        walked(text)


def test_elements_say_where_they_begin() -> None:
    walk = JsonWalk(' [ {"a": [1]} ,22 ] ')
    spans = []
    for start in walk.elements():
        walk.value()
        spans.append(walk.text[start : walk.at])
    assert spans == ['{"a": [1]}', "22"]
