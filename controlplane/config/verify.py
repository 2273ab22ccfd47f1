"""What a new version is asked, and what it is watched for, before the old one goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Duration, Interval, Model, json_data, whole_text

MAX_BODY_BYTES = 64 * 1024
"""Of one question: it is stored with every rollout, so that a changed fleet.yaml does not change a running one."""
Path = Literal["infer", "generate", "generate_stream"]


class Verify(Model):
    """How a candidate is verified. Without `body:` and `prompt:` it is asked what the model's probe asks."""

    path: Path | None = None
    """By default `infer` for a body with `inputs`, else `generate_stream`."""
    body: Annotated[dict[str, Any], AfterValidator(json_data)] | None = None
    """The JSON that is posted to the candidate."""
    prompt: Annotated[str, AfterValidator(whole_text)] | None = None
    """Instead of `body:`: the question as a probe would put it."""
    status: int = Field(default=200, ge=100, le=599)
    requests: int = Field(default=5, ge=0, le=100)
    """How many times each backend's candidate is asked, one question after another. 0: never."""
    failures: int = Field(default=0, ge=0)
    """So many questions may fail; one more turns the rollout back."""
    timeout: Interval = 10.0
    """A question that takes longer has failed."""
    latency: Interval | None = None
    """The median answer, and the mean of clients' requests, may take this long."""
    error_ratio: float = Field(default=0.05, ge=0, le=1)
    """The share of clients' requests to the candidate that may fail, as gateway, probe or engine count them."""
    for_: Duration | None = Field(default=None, alias="for")
    """How long the candidate is watched; by default two scrapes and a second, and at least 5s."""

    @check
    def _one_question(self) -> Iterator[Fault]:
        if self.body is not None and self.prompt is not None:
            yield Fault(("prompt",), "body: and prompt: cannot both be given")

    @check
    def _path_of_a_question(self) -> Iterator[Fault]:
        if self.path is not None and self.body is None and self.prompt is None:
            yield Fault(("path",), "says where body: or prompt: goes; give one of them")
        if self.prompt is not None and self.path == "infer":
            yield Fault(("path",), "infer takes a body: with inputs; a prompt: goes to generate or generate_stream")

    @check
    def _body_is_bounded(self) -> Iterator[Fault]:
        if self.body is not None and len(json.dumps(self.body)) > MAX_BODY_BYTES:
            yield Fault(("body",), f"is longer than {MAX_BODY_BYTES} bytes")

    @check
    def _some_question_must_succeed(self) -> Iterator[Fault]:
        if self.requests and self.failures >= self.requests:
            yield Fault(("failures",), f"must be less than requests, which is {self.requests}")
