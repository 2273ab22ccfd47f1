"""The few members of a JSON body that the gateway reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.errors import Unreadable

SMALL = 128 * 2**10
"""Bytes up to which a body is parsed as a whole: 0.15 ms with orjson on the machine of the benchmarks."""
LONGEST_VALUE = 64 * 2**10
"""Bytes of the longest value that is read from a large body. A longer one is no setting."""
INPUTS = ("input", "documents", "text_2", "texts", "inputs")
"""Members that hold the inputs of embeddings, rerank and score requests: OpenAI, Jina and vLLM, vLLM, TEI, TEI."""
_MODEL = "model"
_WANTED = frozenset(
    (
        _MODEL,
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "temperature",
        "n",
        "best_of",
        "user",
        "prompt_cache_key",
        "metadata",
        "options",
        "parameters",
        "sampling_params",
        "previous_response_id",
        "conversation",
        "sequence_id",
    )
)


class Read(NamedTuple):
    """What was read of a body."""

    members: dict[str, object]
    """At least those that the gateway needs. The last of a repeated name counts."""
    inputs: int
    """Number of inputs of an embeddings, rerank or score request. 1 for another body."""


def read(body: bytes) -> Read:
    """Return the members of a JSON object that the gateway reads.

    Raises Unreadable when the body is no JSON object, or spells `model` in other letters: engines written in Go would
    take that for the model.
    """
    if len(body) > SMALL:
        return _scanned(body)
    if body.count(b"{") + body.count(b"[") > json_scan.MAX_DEPTH:
        json_scan.members(body)
    document = json_scan.parse(body)
    if not isinstance(document, dict):
        raise Unreadable("the body is no JSON object")
    for name in document:
        _check_name(name)
    return Read(document, _inputs(document))


def _scanned(body: bytes) -> Read:
    found: dict[str, object] = {}
    counted: dict[str, int] = {}
    for member in json_scan.members(body):
        _check_name(member.name)
        if member.name in _WANTED:
            short = member.end - member.start <= LONGEST_VALUE
            found[member.name] = json_scan.value(body, member) if short else None
        elif member.name in INPUTS:
            counted[member.name] = json_scan.elements(body, member)
    return Read(found, next((counted[name] for name in INPUTS if counted.get(name, 1) > 1), 1))


def _check_name(name: str) -> None:
    if len(name) == len(_MODEL) and name != _MODEL and name.lower() == _MODEL:
        raise Unreadable(f'the body has a member "{name}"; write "{_MODEL}" in small letters')


def _inputs(document: Mapping[str, object]) -> int:
    for name in INPUTS:
        listed = document.get(name)
        if isinstance(listed, list) and listed and isinstance(listed[0], str | list | dict):
            return len(listed)
    return 1
