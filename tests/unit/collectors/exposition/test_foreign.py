"""Bodies that are no metrics: what they are is named, with what to check."""

from __future__ import annotations

import gzip

import pytest

from collectors.errors import ExpositionError
from collectors.exposition.parser import parse

HTML = "the body is a page of HTML, not metrics: check path:, and whether a proxy or a sign-in page answers"
JSON = "the body is JSON, not metrics: check path:"


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        (b"<!DOCTYPE html>\n<html lang=en>", 1, HTML),
        (b"\n\n  <HTML>", 3, HTML),
        (b"<!-- served by nginx\nfrom a cache -->\n<head>", 1, HTML),
        (b"\xef\xbb\xbf<html>", 1, HTML),
        (b"<?xml version='1.0'?><Error/>", 1, "the body is XML, not metrics: check path:"),
        (b'{"object": "list", "data": []}', 1, JSON),
        (b'{\n  "error": {"message": "no \\" such"}\n}\n', 1, JSON),
        (b"{ }\n", 1, JSON),
        (b"[]", 1, JSON),
        (gzip.compress(b"up 1", mtime=0), 1, "the body is compressed, and its Content-Encoding does not say so"),
    ],
)
def test_a_body_of_another_kind_is_named(body: bytes, line: int, words: str) -> None:
    with pytest.raises(ExpositionError) as caught:
        parse(body)
    assert caught.value.line == line
    assert f" ({words}" in str(caught.value)


@pytest.mark.parametrize(
    "body", [b'{"up",a="1"} x', b'{a="b"} 1', b"{} 1", b"Ollama is running", b"\xff\xfe", b"up <html>"]
)
def test_of_any_other_body_only_its_line_is_told(body: bytes) -> None:
    with pytest.raises(ExpositionError) as caught:
        parse(body)
    assert "the body is" not in str(caught.value)


def test_a_huge_body_is_looked_at_in_its_first_bytes_only() -> None:
    with pytest.raises(ExpositionError) as caught:
        parse(b"<!--" + b"-" * 10_000_000 + b"--><html>")
    assert str(caught.value).endswith("(the body is XML, not metrics: check path:)")
