"""`verify:` of fleet.yaml: the requests and limits that a new version must pass before it replaces the old one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Duration, Interval, Model, json_data, whole_text

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a body. Every rollout stores it, so that a changed fleet.yaml does not change a running rollout."""
Path = Literal["infer", "generate", "generate_stream", "chat/completions", "completions", "embeddings"]
OF_OPENAI = ("chat/completions", "completions", "embeddings")
"""Paths below /v1/ of engines with OpenAI's API. The others are Triton's."""


class Verify(Model):
    """Verification of a candidate. Without `body:` and `prompt:` it gets the requests of the model's probe."""

    path: Path | None = None
    """Default: by the API of the model's engines and the fields of `body`."""
    body: Annotated[dict[str, Any], AfterValidator(json_data)] | None = None
    """JSON that is posted to the candidate."""
    prompt: Annotated[str, AfterValidator(whole_text)] | None = None
    """Prompt of a request like a probe's, instead of `body:`."""
    status: int = Field(default=200, ge=100, le=599)
    requests: int = Field(default=5, ge=0, le=100)
    """Number of requests to the candidate on each backend, one after another. 0: none."""
    failures: int = Field(default=0, ge=0)
    """Number of requests that may fail. One more rolls back."""
    timeout: Interval = 10.0
    """Maximum duration of a request. A longer one has failed."""
    latency: Interval | None = None
    """Limit for the median duration of these requests, and for the mean duration of clients' requests."""
    error_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of clients' requests to the candidate that may fail, as counted by gateway, probe or engine."""
    for_: Duration | None = Field(default=None, alias="for")
    """Duration for which the candidate is watched. Default: two scrape intervals and a second, at least 5s."""

    @check
    def _one_question(self) -> Iterator[Fault]:
        if self.body is not None and self.prompt is not None:
            yield Fault(("prompt",), "body: and prompt: cannot both be given")

    @check
    def _path_of_a_question(self) -> Iterator[Fault]:
        if self.path is not None and self.body is None and self.prompt is None:
            yield Fault(("path",), "needs body: or prompt:; add one of them")
        if self.prompt is not None and self.path == "infer":
            yield Fault(("path",), "infer takes a body: with inputs; a prompt: goes to generate or generate_stream")
        if self.prompt is not None and self.path == "embeddings":
            yield Fault(("path",), "embeddings takes a body: with input; a prompt: goes to chat/completions")

    @check
    def _body_is_bounded(self) -> Iterator[Fault]:
        if self.body is not None and len(json.dumps(self.body)) > MAX_BODY_BYTES:
            yield Fault(("body",), f"is longer than {MAX_BODY_BYTES} bytes")

    @check
    def _some_question_must_succeed(self) -> Iterator[Fault]:
        if self.requests and self.failures >= self.requests:
            yield Fault(("failures",), f"must be less than requests, which is {self.requests}")
