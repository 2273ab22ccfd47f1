"""Places of the tensors of a safetensors file: u64 length, JSON header, data without overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

HEADER_LIMIT: Final = 100_000_000
"""Largest JSON header in bytes: the limit of the reference implementation."""


def safetensors_header(size: int, read_at: Callable[[int, int], bytes]) -> tuple[int, dict[str, Any]] | None:
    """Return where the data begins, and a row for each tensor by name. None: it is no such file."""
    length = int.from_bytes(read_at(0, 8), "little")
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        return None
    try:
        header = orjson.loads(read_at(8, length))
        header.pop("__metadata__", None)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return None
    return 8 + length, header


def safetensors_tensors(size: int, read_at: Callable[[int, int], bytes]) -> list[int] | None:
    """Return the offsets in the file at which a tensor begins, ascending. None: it is no such file, or not whole."""
    found = safetensors_header(size, read_at)
    if found is None:
        return None
    data, header = found
    try:
        ranges = sorted((int(begin), int(end)) for begin, end in (row["data_offsets"] for row in header.values()))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    offsets, last = [], 0
    for begin, end in ranges:
        if not last <= begin <= end <= size - data:
            return None
        offsets.append(data + begin)
        last = end
    return offsets or None
