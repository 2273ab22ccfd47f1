"""The question of a probe: its text, its parameters, and the answer that it expects. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import re2

from collectors.errors import CollectorError


@dataclass(frozen=True)
class Tensor:
    """One input of an inference request, in the terms of KServe v2."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...]
    """The values, flat, in row-major order."""


@dataclass(frozen=True)
class Tensors:
    """Names of tensors, for Triton. An empty `output` accepts the first output of an inference."""

    input: str = "text_input"
    output: str = ""
    inputs: tuple[Tensor, ...] = ()
    """Inputs of `infer`, which has no prompt."""


@dataclass(frozen=True)
class Expectation:
    """Required properties of an answer. Everything that is set must hold."""

    contains: str = ""
    regex: str = ""
    """RE2, so that its time grows with the length of the answer only."""
    dimension: int | None = None
    """Length of an embedding."""

    def holds(self, text: str, dimension: int | None) -> bool:
        """Return whether an answer is the expected one. Raises CollectorError for an invalid expression."""
        if self.contains and self.contains not in text:
            return False
        if self.dimension is not None and self.dimension != dimension:
            return False
        return not self.regex or compiled(self.regex).search(text) is not None


@dataclass(frozen=True)
class Question:
    """One request, apart from the protocol. `max_tokens` of None is the protocol's default."""

    prompt: str = "ping"
    documents: tuple[str, ...] = ("ping", "pong")
    """Documents of a rerank."""
    instances: tuple[Any, ...] = ()
    """Instances of TensorFlow Serving's predict. Empty: the prompt is the only one."""
    max_tokens: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Added to the body. A null removes a field, and maps are merged."""
    expect: Expectation = Expectation()
    tensors: Tensors = Tensors()


def compiled(expression: str) -> Any:
    """Return an RE2 expression. Raises CollectorError for an invalid one."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        raise CollectorError(f"{expression!r} is no regular expression of RE2: {error}") from None


def merged(body: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with parameters: maps are merged, a null removes a field, other values replace it."""
    made = dict(body)
    for name, value in parameters.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(made.get(name), Mapping):
            made[name] = merged(made[name], value)
        else:
            made[name] = value
    return made
