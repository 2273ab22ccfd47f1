"""Escaped label names; the cases are those of prometheus/common's own table, and its edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.interop.label_names import unescape


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        ("job", "job"),
        ("U__", ""),
        ("U__job", "job"),
        ("U__http_2e_method", "http.method"),
        ("U__with__underscore", "with_underscore"),
        ("U___", "U___"),
        ("U__a_", "U__a_"),
        ("U___1F600_", "😀"),
        ("U___1f600_", "😀"),
        ("U___100000_", "U___100000_"),
        ("U___d800_", "U___d800_"),
        ("U___zz_", "U___zz_"),
        ("U__a_2e", "U__a_2e"),
        ("U__a_2e_b_2f_c", "a.b/c"),
        ("U__π", "π"),
        ("u__http_2e_method", "u__http_2e_method"),
    ],
)
def test_unescape(escaped: str, name: str) -> None:
    assert unescape(escaped) == name


@given(st.text(max_size=20, alphabet="U_2ea0f.π"))
def test_any_name_that_was_escaped_comes_back(name: str) -> None:
    escaped = "".join("__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)
    assert unescape(f"U__{escaped}") == name
