"""Facts of a version's files: format, quantisation, number of tensors. They are read from headers, never from weights.

A fact that cannot be found out is left out. No fact is a reason to refuse a version: only the digest is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import orjson

from controlplane.backup.content.files import ContentFile
from controlplane.backup.sources.gguf import gguf_facts
from controlplane.backup.sources.safetensors import safetensors_header

CONFIG_LIMIT: Final = 16 << 20
"""Largest configuration file that is read, in bytes."""
WORDS: Final = 200
"""Most characters of one fact. Texts come from files of others."""
FORMATS: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors",
    ".gguf": "GGUF",
    ".onnx": "ONNX",
    ".onnx_data": "ONNX",
    ".plan": "TensorRT",
    ".engine": "TensorRT",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".bin": "PyTorch",
    ".pb": "TensorFlow",
    ".xml": "OpenVINO",
    ".py": "Python",
}
"""Formats by the suffix of a file's name."""
ADAPTER: Final = "adapter_config.json"


@dataclass
class _Seen:
    """Sums over the headers of all files."""

    tensors: int = 0
    parameters: int = 0
    types: Counter[str] = field(default_factory=Counter)
    """Number of elements by the type of a tensor."""
    architecture: str = ""
    quantised: str = ""


def facts_of(files: Sequence[ContentFile]) -> dict[str, str]:
    """Return the facts of a version's files: `format`, `quantisation`, `tensors`, `parameters`, `architecture`."""
    seen = _Seen()
    for one in files:
        _header(one, seen)
    config = document(files, "config.json")
    found = {
        "format": _format(files),
        "quantisation": _quantisation(config, document(files, "hf_quant_config.json"), seen),
        "tensors": str(seen.tensors) if seen.tensors else "",
        "parameters": str(seen.parameters) if seen.parameters else "",
        "architecture": seen.architecture or _first(config.get("architectures")),
    }
    return {name: text[:WORDS] for name, text in found.items() if text}


def document(files: Sequence[ContentFile], name: str) -> dict[str, Any]:
    """Return the JSON object of the file of this name that is nearest to the root; empty: there is none."""
    found = sorted((len(PurePosixPath(f.path).parts), f.path, f) for f in files if PurePosixPath(f.path).name == name)
    if not found or found[0][2].mark.size > CONFIG_LIMIT:
        return {}
    try:
        with found[0][2].where.open("rb") as file:
            read = orjson.loads(file.read(CONFIG_LIMIT))
    except (OSError, orjson.JSONDecodeError):
        return {}
    return read if isinstance(read, dict) else {}


def _format(files: Sequence[ContentFile]) -> str:
    sizes: Counter[str] = Counter()
    for one in files:
        suffix = PurePosixPath(one.path).suffix.lower()
        if (name := FORMATS.get(suffix)) is not None:
            sizes[name] += one.mark.size
    if len(sizes) > 1:  # code beside weights is no format of the weights
        del sizes["Python"]
    words = " + ".join(name for name, _ in sizes.most_common(3))
    adapter = any(PurePosixPath(one.path).name == ADAPTER for one in files)
    return f"LoRA adapter, {words}" if adapter and words else "LoRA adapter" if adapter else words


def _header(one: ContentFile, seen: _Seen) -> None:
    suffix = PurePosixPath(one.path).suffix.lower()
    if suffix not in (".safetensors", ".gguf"):
        return
    try:
        with one.where.open("rb") as file:

            def read_at(offset: int, length: int) -> bytes:
                return os.pread(file.fileno(), length, offset)

            if suffix == ".gguf":
                _gguf(one.mark.size, read_at, seen)
            elif (header := safetensors_header(one.mark.size, read_at)) is not None:
                for kind, count in _tensors(header[1]):
                    seen.tensors += 1
                    seen.parameters += count
                    seen.types[kind] += count
    except OSError:
        return  # the digest was read: the header is missing only for a moment


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield type and number of elements of each tensor of a header. A row of another shape is left out."""
    for row in header.values():
        if not isinstance(row, dict) or not isinstance(row.get("dtype"), str) or not isinstance(row.get("shape"), list):
            continue
        count = 1
        for length in row["shape"]:
            count *= length if isinstance(length, int) and 0 <= length < 1 << 48 else 1
        yield row["dtype"][:20], count


def _gguf(size: int, read_at: Any, seen: _Seen) -> None:
    found = gguf_facts(size, read_at)
    if found is not None:
        seen.tensors += found.tensors
        seen.parameters += found.parameters
        seen.architecture = seen.architecture or found.architecture
        seen.quantised = seen.quantised or found.file_type


def _quantisation(config: Mapping[str, Any], modelopt: Mapping[str, Any], seen: _Seen) -> str:
    """Return the quantisation by the first source that names it: the configuration, GGUF, the types of tensors."""
    given = config.get("quantization_config")
    if isinstance(given, dict):
        method = str(given.get("quant_method") or "quantised")
        bits = given.get("bits") or (4 if given.get("load_in_4bit") else 8 if given.get("load_in_8bit") else None)
        kind = given.get("bnb_4bit_quant_type") or given.get("format") or ""
        return " ".join(part for part in (method, f"{bits} bit" if bits else "", str(kind)) if part)
    inner = modelopt.get("quantization")
    if isinstance(inner, dict) and inner.get("quant_algo"):
        return str(inner["quant_algo"])
    if seen.quantised:
        return seen.quantised
    total = seen.types.total()
    kinds = [kind for kind, count in seen.types.most_common(3) if count * 100 >= total]
    return " + ".join(kinds)


def _first(names: Any) -> str:
    return str(names[0]) if isinstance(names, list) and names else ""
