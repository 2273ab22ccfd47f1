"""`targets:` of fleet.yaml: groups of scraped endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from collectors.engines.kinds import AUTO, ENGINES
from controlplane.config.checking import Fault, check
from controlplane.config.names.engine_names import EngineName
from controlplane.config.scraping.clouds import AwsSection, AzureSection, GoogleSection
from controlplane.config.scraping.kubernetes_sd import KubernetesSdSection
from controlplane.config.scraping.probe import (
    MAX_QUESTIONS,
    ExpectSection,
    ProtocolName,
    QuestionSection,
    TensorsSection,
)
from controlplane.config.scraping.prometheus_operator import PrometheusOperatorSection
from controlplane.config.scraping.relabel import RelabelSection
from controlplane.config.scraping.sd_sections import ConsulSdSection, DnsSdSection, DockerSdSection
from controlplane.config.vocabulary import (
    FilePath,
    HttpUrl,
    Interval,
    IssuedAccess,
    LabelName,
    Text,
    address,
    json_data,
    plain_path,
    whole_text,
)
from controlplane.config.wording import one_of, shown

PathPattern = Annotated[str, BeforeValidator(plain_path)]
"""A path, or a glob of paths."""
_PROBE_FIELDS = ("prompt", "max_tokens", "parameters", "expect", "tensors", "questions", "protocol", "model_name")
_PLACES = {"bedrock": "aws", "sagemaker": "aws", "azure-openai": "azure", "vertex": "google"}
"""Engines of a cloud, and the field that says where the cloud keeps their metrics."""
_OWN_KEYS = {"aws": "aws: with credentials_file:", "google": "google: with key_file:"}
"""Those of these fields that name the key, and how."""
_OF_JOBS = {
    "prometheus_config": ("engine", "engines"),
    "prometheus_operator": ("engine", "engines", "interval", "timeout"),
}
"""Fields whose content says what jobs there are, and the fields that may stand beside each."""
_WITHOUT_ADDRESSES = ("probe", "nvml", *(kind.name for kind in ENGINES.values() if kind.hosted))
"""Engines that are not scraped at a `host:port`."""
SD_FIELDS = ("http_sd", "dns_sd", "consul_sd", "docker_sd", "kubernetes_sd")
"""Fields that list sources of addresses other than files."""
JOB_ENGINE = AUTO
"""Engine of a job of a prometheus.yml or a monitor for which fleet.yaml names none."""


class HttpSdSection(IssuedAccess):
    """A server that answers with a list of addresses, as in Prometheus's `http_sd_configs`."""

    url: HttpUrl
    refresh_interval: Interval = 60.0


class TargetGroup(IssuedAccess):
    """Targets of one engine kind that share labels and credentials."""

    engine: EngineName | None = None
    """Required, except of jobs of a prometheus.yml."""
    prometheus_config: FilePath | None = None
    """A prometheus.yml, of which each job is a group of targets."""
    engines: dict[Text, Text] = Field(default={})
    """prometheus_config and prometheus_operator only: engines of single jobs, by their name."""
    addresses: tuple[Text, ...] = ()
    file_sd: tuple[PathPattern, ...] = ()
    http_sd: tuple[HttpSdSection, ...] = ()
    dns_sd: tuple[DnsSdSection, ...] = ()
    consul_sd: tuple[ConsulSdSection, ...] = ()
    docker_sd: tuple[DockerSdSection, ...] = ()
    kubernetes_sd: tuple[KubernetesSdSection, ...] = ()
    prometheus_operator: PrometheusOperatorSection | None = None
    """A cluster, of which each endpoint of a ServiceMonitor or PodMonitor is a group of targets."""
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
    aws: AwsSection | None = None
    """bedrock and sagemaker only: the region, and the key."""
    azure: AzureSection | None = None
    """azure-openai only: the resource, and the application whose secret authorization: names."""
    google: GoogleSection | None = None
    """vertex only: the project, and the key of a service account."""

    @check
    def _names_its_engine(self) -> Iterator[Fault]:
        if self.engine is None and not self.lists_jobs:
            yield Fault(("engine",), "is required")

    @check
    def _jobs_stand_alone(self) -> Iterator[Fault]:
        jobs = self.lists_jobs
        if not jobs:
            if self.engines:
                yield Fault(("engines",), "is for prometheus_config and prometheus_operator; write engine:")
            return
        says = "the jobs in that file say it" if jobs == "prometheus_config" else "the monitors say it"
        for name, field in type(self).model_fields.items():
            if name not in (jobs, *_OF_JOBS[jobs]) and getattr(self, name) != field.get_default(
                call_default_factory=True
            ):
                yield Fault((name,), f"is not for {jobs}; {says}")
        for loc, engine in ((("engine",), self.engine), *((("engines", j), e) for j, e in self.engines.items())):
            if engine is not None and engine not in ENGINES:
                yield Fault(loc, one_of(engine, ENGINES))
            if engine in _WITHOUT_ADDRESSES:
                yield Fault(loc, f"engine {engine} is not for {jobs}; give it an entry of its own")

    @check
    def _has_where(self) -> Iterator[Fault]:
        if self.engine is None or self.lists_jobs:
            return
        if self.engine == "probe" and not self.urls:
            yield Fault((), "engine probe needs urls: [...]")
        if not (self.engine in _WITHOUT_ADDRESSES or self.listed):
            yield Fault(
                (),
                f"engine {self.engine} needs addresses: [host:port], file_sd: [files] or one of "
                + ", ".join(f"{field}:" for field in SD_FIELDS),
            )

    @check
    def _urls_are_for_probes_and_accounts(self) -> Iterator[Fault]:
        takes_urls = self.engine == "probe" or self.account is not None
        if self.urls and not takes_urls:
            yield Fault(("urls",), "is for engine probe; use addresses: [host:port]")
        if takes_urls and self.listed:
            field = next(name for name in ("addresses", "file_sd", *SD_FIELDS) if getattr(self, name))
            yield Fault((field,), f"is not for engine {self.engine}; use urls: [...]")

    @check
    def _questions_are_for_probes(self) -> Iterator[Fault]:
        for field in _PROBE_FIELDS if not self.lists_jobs else ():
            if self.engine != "probe" and field in self.model_fields_set:
                yield Fault((field,), f"is for engine probe, and has no effect on engine {self.engine}; remove it")

    @check
    def _clouds_have_places(self) -> Iterator[Fault]:
        needed = _PLACES.get(self.engine or "")
        for field in dict.fromkeys(_PLACES.values()):
            if field != needed and getattr(self, field):
                kinds = " or ".join(name for name, of_it in _PLACES.items() if of_it == field)
                yield Fault((field,), f"is for engine {kinds}; remove it")
        if self.engine == "sagemaker" and self.aws and self.aws.quotas:
            yield Fault(("aws", "quotas"), "is for engine bedrock; remove it")
        if needed == "azure" and not self.azure:
            yield Fault((), f"engine {self.engine} needs azure: {{tenant: …, client: …, resource: /subscriptions/…}}")
        if needed == "google" and not self.google:
            yield Fault((), f"engine {self.engine} needs google: {{project: …, key_file: …}}")
        if needed in _OWN_KEYS:
            if needed == "aws" and not self.aws:
                yield Fault((), f"engine {self.engine} needs aws: {{region: eu-west-1}}, with the region of the models")
            for field in ("authorization", "basic_auth", "oauth2"):
                if getattr(self, field):
                    yield Fault((field,), f"is not for engine {self.engine}; use {_OWN_KEYS[needed]}")

    @check
    def _accounts_have_keys(self) -> Iterator[Fault]:
        keyless = self.azure is not None and self.azure.identity != "client_secret"
        for field in ("authorization", "basic_auth"):
            if keyless and getattr(self, field):
                yield Fault((field,), "is not for an azure.identity without a secret; remove it")
        needs_key = self.account and not keyless and _PLACES.get(self.engine or "") not in _OWN_KEYS
        if self.oauth2 and self.account and _PLACES.get(self.engine or "") not in _OWN_KEYS:
            yield Fault(("oauth2",), f"is not for engine {self.engine}, whose requests carry its own key; remove it")
        if needs_key and not self.authorization:
            yield Fault(
                (),
                f"engine {self.engine} needs a key: authorization: with credentials_file: or credentials_env:",
            )

    @check
    def _special_labels_complete_addresses(self) -> Iterator[Fault]:
        named = next((name for name in self.labels if name.startswith("__")), None)
        if named and not self.listed:
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
        if self.relabel_configs and not (self.listed or self.lists_jobs):
            yield Fault(
                ("relabel_configs",),
                "has no effect on urls: and on this host's GPUs, which are complete; write labels: instead",
            )

    @property
    def lists_jobs(self) -> str:
        """Name of the field whose content says what jobs there are; "": the entry is one group."""
        return next((field for field in _OF_JOBS if getattr(self, field) is not None), "")

    @property
    def account(self) -> str | None:
        """Name of the account that the target reads, which is its job. None: the engine is not a provider."""
        kind = ENGINES.get(self.engine or "")
        return (self.labels.get("job") or kind.name) if kind and kind.hosted else None

    @property
    def bill(self) -> str | None:
        """Name of the account, if its costs can be read."""
        costs = (
            self.aws and self.aws.costs,
            self.azure and self.azure.costs,
            self.google and self.google.billing_table,
        )
        if any(costs):
            return self.account
        return None if ENGINES.get(self.engine or "", ENGINES[AUTO]).metered else self.account

    @property
    def metrics_path(self) -> str:
        """Effective path of the metrics."""
        return self.path or ENGINES[self.kind].metrics_path

    @property
    def kind(self) -> str:
        """Engine of the addresses of an accepted section."""
        assert self.engine is not None
        return self.engine

    @property
    def listed(self) -> bool:
        """Whether it lists addresses, or where they are listed."""
        return bool(self.addresses or self.file_sd or any(getattr(self, field) for field in SD_FIELDS))

    def engine_of(self, job: str) -> str:
        """Return the engine of a job of its prometheus.yml or its monitors."""
        return self.engines.get(job) or self.engine or JOB_ENGINE
