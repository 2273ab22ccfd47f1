"""The questions of a probe in fleet.yaml: their text, parameters and the expected answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.verify import MAX_BODY_BYTES
from controlplane.config.vocabulary import Model, Text, json_data, whole_text

ProtocolName = Literal["openai", "fastchat", "embeddings", "rerank", "anthropic", "ollama", "triton", "tfserving"]
"""Protocols of probes, as collectors.probe.dialects.PROTOCOLS has them."""
Prompt = Annotated[str, AfterValidator(whole_text)]
MAX_QUESTIONS = 20
"""Maximum number of questions of a probe. Chosen: each waits for the turn of all others."""


class TensorSection(Model):
    """One input of an inference request."""

    name: Text
    datatype: Text
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    data: Annotated[tuple[Any, ...], AfterValidator(json_data)]


class TensorsSection(Model):
    """Names of the tensors of a Triton model, and the inputs of `infer`."""

    input: Text = "text_input"
    output: Text | None = None
    """Default: text_output; of infer the first output."""
    inputs: tuple[TensorSection, ...] = ()


class ExpectSection(Model):
    """Required properties of an answer. Any other answer is an error with the reason unexpected_answer."""

    contains: Prompt | None = None
    regex: Prompt | None = None
    """A regular expression of RE2."""
    dimension: int | None = Field(default=None, ge=1)
    """Length of an embedding."""

    @check
    def _regex_is_one(self) -> Iterator[Fault]:
        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(self.regex or "", options)
        except re2.error as error:
            yield Fault(("regex",), f"is no regular expression of RE2: {error}")


class QuestionSection(Model):
    """One question of a probe. Fields that it lacks are those of the target."""

    prompt: Prompt | None = None
    documents: tuple[Prompt, ...] | None = None
    instances: Annotated[tuple[Any, ...] | None, AfterValidator(json_data)] = None
    max_tokens: int | None = Field(default=None, ge=1)
    parameters: Annotated[dict[str, Any], AfterValidator(json_data)] = Field(default={})
    expect: ExpectSection | None = None
    tensors: TensorsSection | None = None

    @check
    def _question_is_bounded(self) -> Iterator[Fault]:
        if len(json.dumps([self.parameters, self.instances])) > MAX_BODY_BYTES:
            yield Fault(("parameters",), f"is longer than {MAX_BODY_BYTES} bytes")
