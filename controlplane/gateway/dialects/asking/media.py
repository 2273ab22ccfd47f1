"""Images and sound within JSON bodies. Their base64 must not count as text in the estimate of tokens."""

from __future__ import annotations

LEAST_BODY = 16 * 2**10
"""Bytes of the smallest body that is looked at. The error of a smaller one is 4,000 tokens at most."""
LEAST_MEDIUM = 4 * 2**10
"""Bytes of the smallest run of base64 that is taken for an image or sound."""
MEDIUM = 4_000
"""Bytes of text that one image or piece of sound counts as: 1,000 tokens. Chosen: common vision models take 300 to
1,600 for an image."""
_BEGINS = (b";base64,", b'"data":"', b'"data": "', b'"images":["', b'"images": ["')
"""Texts before base64: OpenAI's data URLs; Anthropic's sources and OpenAI's input_audio; Ollama's first image."""


def text_bytes(body: bytes) -> int:
    """Return the length of a body in which each image or piece of sound counts as MEDIUM bytes."""
    size = len(body)
    if size < LEAST_BODY:
        return size
    for begin in _BEGINS:
        at = body.find(begin)
        while at >= 0:
            start = at + len(begin)
            end = body.find(b'"', start)
            if end - start >= LEAST_MEDIUM and body[start : start + LEAST_MEDIUM].isascii() and _is_base64(body, start):
                size -= end - start - MEDIUM
            at = body.find(begin, start)
    return max(size, MEDIUM)


def _is_base64(body: bytes, start: int) -> bool:
    sample = body[start : start + LEAST_MEDIUM]
    return b" " not in sample and b"\\" not in sample and b":" not in sample
