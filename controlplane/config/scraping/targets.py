"""`targets:` of fleet.yaml: groups of scraped endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from collectors.engines.kinds import ENGINES
from controlplane.config.checking import Fault, check
from controlplane.config.engine_names import EngineName
from controlplane.config.scraping.probe import (
    MAX_QUESTIONS,
    ExpectSection,
    ProtocolName,
    QuestionSection,
    TensorsSection,
)
from controlplane.config.scraping.relabel import RelabelSection
from controlplane.config.vocabulary import (
    Access,
    HttpUrl,
    Interval,
    LabelName,
    Text,
    address,
    json_data,
    plain_path,
    whole_text,
)
from controlplane.config.wording import shown

PathPattern = Annotated[str, BeforeValidator(plain_path)]
"""A path, or a glob of paths."""

_PROBE_FIELDS = (
    "prompt",
    "max_tokens",
    "parameters",
    "expect",
    "tensors",
    "questions",
    "protocol",
    "model_name",
)


class TargetGroup(Access):
    """Targets of one engine kind that share labels and credentials."""

    engine: EngineName
    addresses: tuple[Text, ...] = ()
    file_sd: tuple[PathPattern, ...] = ()
    urls: tuple[HttpUrl, ...] = ()
    labels: dict[LabelName, Text] = Field(default={})
    path: Text | None = None
    """Default: /metrics; for trtllm /prometheus/metrics."""
    scheme: Literal["http", "https"] = "http"
    interval: Interval | None = None
    timeout: Interval | None = None
    relabel_configs: tuple[RelabelSection, ...] = ()
    """Applied to the labels of each address, before it becomes a target."""
    metric_relabel_configs: tuple[RelabelSection, ...] = ()
    """Applied to the labels of each sample, before it is stored and mapped."""
    prompt: Annotated[str, AfterValidator(whole_text)] = "ping"
    """probe only: the prompt of its requests."""
    max_tokens: int | None = Field(default=None, ge=1)
    """probe only: token budget of an answer. Default: 16; for Triton none is sent."""
    parameters: Annotated[dict[str, Any], AfterValidator(json_data)] = Field(default={})
    """probe only: added to the request's body. Null removes a field."""
    expect: ExpectSection | None = None
    """probe only: required properties of an answer."""
    tensors: TensorsSection | None = None
    """probe only: names of a Triton model's tensors."""
    questions: tuple[QuestionSection, ...] = Field(default=(), max_length=MAX_QUESTIONS)
    """probe only: several questions, asked in turn. Default: one of the fields above."""
    protocol: ProtocolName | None = None
    """probe only. Default: derived from the URL's path."""
    model_name: Text | None = None
    """probe only: the model to request. Default: the `model` label."""

    @check
    def _has_where(self) -> Iterator[Fault]:
        listed = self.addresses or self.file_sd
        if self.engine == "probe" and not self.urls:
            yield Fault((), "engine probe needs urls: [...]")
        if not (self.engine in ("probe", "nvml") or ENGINES[self.engine].hosted or listed):
            yield Fault((), f"engine {self.engine} needs addresses: [host:port] or file_sd: [files]")

    @check
    def _urls_are_for_probes_and_accounts(self) -> Iterator[Fault]:
        takes_urls = self.engine == "probe" or ENGINES[self.engine].hosted
        if self.urls and not takes_urls:
            yield Fault(("urls",), "is for engine probe; use addresses: [host:port]")
        if takes_urls and (self.addresses or self.file_sd):
            field = "addresses" if self.addresses else "file_sd"
            yield Fault((field,), f"is not for engine {self.engine}; use urls: [...]")

    @check
    def _questions_are_for_probes(self) -> Iterator[Fault]:
        for field in _PROBE_FIELDS:
            if self.engine != "probe" and field in self.model_fields_set:
                yield Fault((field,), f"is for engine probe, and has no effect on engine {self.engine}; remove it")

    @check
    def _accounts_have_keys(self) -> Iterator[Fault]:
        if ENGINES[self.engine].hosted and not self.authorization:
            yield Fault(
                (),
                f"engine {self.engine} needs a key: authorization: with credentials_file: or credentials_env:",
            )

    @check
    def _special_labels_complete_addresses(self) -> Iterator[Fault]:
        named = next((name for name in self.labels if name.startswith("__")), None)
        if named and not (self.addresses or self.file_sd):
            cure = "put the parameter into the URL" if named.startswith("__param_") else "remove it"
            yield Fault(("labels", named), f"has no effect on urls: and on this host's GPUs; {cure}")

    @check
    def _addresses_are_complete(self) -> Iterator[Fault]:
        if self.relabel_configs:  # which may read any text, and write the address
            return
        for number, each in enumerate(self.addresses):
            try:
                address(each)
            except ValueError as error:
                yield Fault(("addresses", number), f"{error}, got {shown(each)}")

    @check
    def _rules_have_addresses(self) -> Iterator[Fault]:
        if self.relabel_configs and not (self.addresses or self.file_sd):
            yield Fault(
                ("relabel_configs",),
                "has no effect on urls: and on this host's GPUs, which are complete; write labels: instead",
            )

    @property
    def account(self) -> str | None:
        """Name of the account that the target reads, which is its job. None: the engine is not a provider."""
        return (self.labels.get("job") or self.engine) if ENGINES[self.engine].hosted else None

    @property
    def metrics_path(self) -> str:
        """Effective path of the metrics."""
        return self.path or ENGINES[self.engine].metrics_path
