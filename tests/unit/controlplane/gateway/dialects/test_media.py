"""Images and sound do not count as text."""

from __future__ import annotations

import base64
import json

import pytest

from controlplane.gateway.dialects.asking.media import MEDIUM, text_bytes

IMAGE = base64.b64encode(bytes(range(256)) * 400).decode()
BLOCKS = {
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
    "openai audio": {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}},
    "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
    "ollama": {"role": "user", "images": [IMAGE]},
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("count", [1, 3])
def test_an_image_counts_as_a_thousand_tokens(name: str, separators: tuple[str, str], count: int) -> None:
    body = json.dumps({"messages": [BLOCKS[name]] * count, "text": "x" * 500}, separators=separators).encode()
    assert text_bytes(body) == len(body) - count * (len(IMAGE) - MEDIUM)


@pytest.mark.parametrize("text", ["word " * 10_000, "line\\n" * 10_000, "x" * 3000, "data:" * 10_000, "ü" * 10_000])
def test_text_counts_as_text(text: str) -> None:
    body = json.dumps({"data": text, "images": [text], "more": "word " * 10_000}, ensure_ascii=False).encode()
    assert text_bytes(body) == len(body)


def test_a_small_body_is_not_looked_at() -> None:
    assert text_bytes(b'{"data":"' + b"A" * 8000 + b'"}') == 8011
