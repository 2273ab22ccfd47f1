"""A tiny random Llama in llama.cpp's file format (GGUF 3), written without its libraries: 380 KB.

Its tokens are the printable ASCII characters, so whatever it says is valid text.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_WIDTH, _INNER, _LAYERS, _HEADS, _CONTEXT = 64, 128, 2, 2, 16384
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
"""Types of values, from the format's specification (ggml, docs/gguf.md)."""
_ALIGNMENT = 32
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write(path: Path) -> None:
    """Write the model."""
    tokens = ["<s>", "</s>", "<pad>", *map(chr, range(33, 127)), "Ġ", "Ċ"]
    metadata = [
        *(_text("general.architecture", "llama"), _text("general.name", "tiny")),
        *(_number("llama.context_length", _CONTEXT), _number("llama.embedding_length", _WIDTH)),
        *(_number("llama.block_count", _LAYERS), _number("llama.feed_forward_length", _INNER)),
        *(_number("llama.attention.head_count", _HEADS), _number("llama.attention.head_count_kv", _HEADS)),
        _pair("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        *(_number("llama.rope.dimension_count", _WIDTH // _HEADS), _number("llama.vocab_size", len(tokens))),
        *(_text("tokenizer.ggml.model", "gpt2"), _text("tokenizer.ggml.pre", "gpt-2")),
        _array("tokenizer.ggml.tokens", _STRING, [_string(token) for token in tokens]),
        _array("tokenizer.ggml.token_type", _INT32, [struct.pack("<i", 3 if i < 3 else 1) for i in range(len(tokens))]),
        _array("tokenizer.ggml.merges", _STRING, [_string("a b")]),
        *(_number("tokenizer.ggml.bos_token_id", 0), _number("tokenizer.ggml.eos_token_id", 1)),
        _number("tokenizer.ggml.padding_token_id", 2),
        _pair("tokenizer.ggml.add_bos_token", _BOOL, b"\0"),
        _text("tokenizer.chat_template", _TEMPLATE),
    ]
    tensors = _tensors(len(tokens))
    infos, offset = [], 0
    for name, values in tensors:
        shape = struct.pack(f"<{values.ndim}Q", *reversed(values.shape))
        infos.append(_string(name) + struct.pack("<I", values.ndim) + shape + struct.pack("<IQ", 0, offset))
        offset += _padded(values.nbytes)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + b"".join(infos)
    with path.open("wb") as file:
        file.write(head.ljust(_padded(len(head)), b"\0"))
        for _, values in tensors:
            file.write(values.tobytes().ljust(_padded(values.nbytes), b"\0"))


def _tensors(vocabulary: int) -> list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return (random.standard_normal((rows, columns)) * 0.02).astype(np.float32)

    ones = np.ones(_WIDTH, np.float32)
    tensors = [("token_embd.weight", matrix(vocabulary, _WIDTH)), ("output.weight", matrix(vocabulary, _WIDTH))]
    tensors.append(("output_norm.weight", ones))
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        tensors += [(f"{block}{name}.weight", ones) for name in ("attn_norm", "ffn_norm")]
        attention = ("attn_q", "attn_k", "attn_v", "attn_output")
        tensors += [(f"{block}{name}.weight", matrix(_WIDTH, _WIDTH)) for name in attention]
        tensors += [(f"{block}{name}.weight", matrix(_INNER, _WIDTH)) for name in ("ffn_gate", "ffn_up")]
        tensors.append((f"{block}ffn_down.weight", matrix(_WIDTH, _INNER)))
    return tensors


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _text(key: str, value: str) -> bytes:
    return _pair(key, _STRING, _string(value))


def _number(key: str, value: int) -> bytes:
    return _pair(key, _UINT32, struct.pack("<I", value))


def _array(key: str, kind: int, values: list[bytes]) -> bytes:
    return _pair(key, _ARRAY, struct.pack("<IQ", kind, len(values)) + b"".join(values))
