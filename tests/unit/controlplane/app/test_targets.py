"""What a configuration wants scraped, and with which source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.meters import AwsPlace
from collectors.clouds.azure.token import Application
from collectors.clouds.google.identities import GoogleIdentity
from collectors.discovery.discovery import Discovery
from collectors.engines.readiness import ReadinessSource
from collectors.gpu.exporters import GpuExporterSource
from collectors.gpu.nvml.source import NvmlSource
from collectors.http.fetch import HttpSource
from collectors.probe.source import ProbeSource
from collectors.status.llamacpp import LlamaCppSource
from collectors.status.source import StatusSource
from collectors.target import Auth, Target
from controlplane.app.targets.plan import plan_scraping
from controlplane.app.targets.sources import SourceFactory
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigErrors
from controlplane.metrics.series.series_store import SeriesStore

Write = Callable[[str], LoadedFleet]

TRITON = """
models:
  - name: chat-large
    stable: v1
    traffic:
      driver: triton
      model: llama
      backends:
        - {url: "http://10.0.0.5:8000", labels: {node: a}}
        - {url: "http://10.0.0.6:8000", metrics: "http://10.0.0.6:9002/metrics"}
    versions: {v1: {}, v2: {}}
"""


def targets(loaded: LoadedFleet) -> list[Target]:
    return Discovery(plan_scraping(loaded).groups, loaded.path.parent).refresh()


def test_a_triton_backend_is_scraped_and_asked_for_readiness_under_the_fleets_name(fleet: Write) -> None:
    found = targets(fleet(TRITON))
    assert [(t.job, t.url, t.instance) for t in found] == [
        ("triton", "http://10.0.0.5:8002/metrics", "10.0.0.5:8002"),
        ("readiness", "http://10.0.0.5:8000", "10.0.0.5:8000"),
        ("triton", "http://10.0.0.6:9002/metrics", "10.0.0.6:9002"),
        ("readiness", "http://10.0.0.6:8000", "10.0.0.6:8000"),
    ]
    assert all(t.models == (("llama", "chat-large"),) for t in found)
    assert [t.labels for t in found] == [(("node", "a"),), (("node", "a"),), (), ()]


def test_two_models_on_one_triton_are_one_target_that_knows_both(fleet: Write) -> None:
    second = TRITON.replace("models:\n", "").replace("chat-large", "embed").replace("llama", "bge")
    found = targets(fleet(TRITON + second))
    assert len(found) == 4
    assert found[0].models == (("bge", "embed"), ("llama", "chat-large"))
    readiness = plan_scraping(fleet(TRITON + second)).readiness["http://10.0.0.5:8000"]
    assert readiness.expected == (("llama", "v1"), ("bge", "v1"))


def test_a_versions_backend_carries_model_and_version(fleet: Write) -> None:
    loaded = fleet("""
        models:
          - name: chat
            stable: v1
            traffic: {driver: none}
            versions:
              v1: {backends: [{url: "http://a:8000/", engine: vllm, labels: {simulated: "true"}}]}
              v2: {backends: [{url: "http://b:8000", engine: vllm, metrics: "http://b:9000/m"}]}
        """)
    found = targets(loaded)
    assert [(t.engine, t.url) for t in found] == [
        ("vllm", "http://a:8000/metrics"),
        ("readiness", "http://a:8000/"),
        ("vllm", "http://b:9000/m"),
        ("readiness", "http://b:8000"),
    ]
    assert found[0].labels == (("model", "chat"), ("simulated", "true"), ("version", "v1"))


def test_a_backends_credentials_go_to_its_metrics_and_its_readiness(fleet: Write, tmp_path: Path) -> None:
    loaded = fleet("""
        models:
          - name: chat
            stable: v1
            traffic: {driver: none}
            versions:
              v1:
                backends:
                - {url: "https://a:8000", engine: vllm, authorization: {credentials_file: key}, tls: {ca_file: ca.pem}}
        """)
    for target in targets(loaded):
        assert target.auth is not None
        assert (target.auth.credentials_file, target.auth.ca_file) == (str(tmp_path / "key"), str(tmp_path / "ca.pem"))


def test_listed_targets_take_intervals_labels_and_credentials(fleet: Write, tmp_path: Path) -> None:
    loaded = fleet("""
        scrape: {interval: 15s, timeout: 10s}
        targets:
          - engine: vllm
            addresses: ["h:8000"]
            interval: 5s
            labels: {team: a}
            authorization: {credentials_file: secrets/vllm}
          - engine: dcgm
            addresses: ["h:9400"]
            basic_auth: {username: u, password_file: /abs/p}
            tls: {ca_file: ca.pem}
            scheme: https
        """)
    vllm, dcgm = targets(loaded)
    assert (vllm.interval_s, vllm.timeout_s, vllm.labels) == (5, 5, (("team", "a"),))
    assert vllm.auth is not None and vllm.auth.credentials_file == str(tmp_path / "secrets/vllm")
    assert dcgm.url == "https://h:9400/metrics"
    assert dcgm.auth is not None
    assert (dcgm.auth.username, dcgm.auth.password_file, dcgm.auth.ca_file) == ("u", "/abs/p", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("engine", ["gateway", "auto"])
def test_a_gateway_that_targets_list_is_scraped_once_with_its_labels(engine: str, fleet: Write) -> None:
    listed = f"targets:\n  - {{engine: {engine}, addresses: ['127.0.0.1:8401'], labels: {{simulated: 'true'}}}}\n"
    found = targets(fleet(f"{listed}gateway: {{listen: '127.0.0.1:8400'}}\n"))
    assert [(t.url, dict(t.labels)["simulated"]) for t in found] == [("http://127.0.0.1:8401/metrics", "true")]


@pytest.mark.parametrize(
    ("section", "urls"),
    [
        ("{beside: true}", ["http://127.0.0.1:8401/metrics"]),
        ("{listen: '10.0.0.1:8400'}", ["http://127.0.0.1:8401/metrics"]),
        ("{admin: '0.0.0.0:9401'}", ["http://127.0.0.1:9401/metrics"]),
        ("{admin: '[::]:9401'}", ["http://[::1]:9401/metrics"]),
        ("{tenants: {acme: {weight: 2}}}", []),
        ("{}", []),
    ],
)
def test_a_gateway_that_the_file_describes_is_scraped_and_one_elsewhere_is_not(
    fleet: Write, section: str, urls: list[str]
) -> None:
    found = targets(fleet(f"gateway: {section}\n"))
    assert [(t.engine, t.job, t.url) for t in found] == [("gateway", "gateway", url) for url in urls]


async def test_each_kind_of_target_gets_its_own_source(fleet: Write) -> None:
    loaded = fleet(
        """
        targets:
          - {engine: vllm, addresses: ["h:8000"]}
          - {engine: dcgm, addresses: ["h:9400"]}
          - {engine: llamacpp, addresses: ["h:8080"]}
          - {engine: ollama, addresses: ["h:11434"]}
          - {engine: fastchat, addresses: ["h:21001"]}
          - {engine: mii, addresses: ["h:8000"]}
          - {engine: nvml, labels: {node: here}}
          - {engine: nvml, addresses: ["h:9401"]}
          - {engine: probe, urls: ["http://h:8000/v1/chat/completions"], labels: {model: chat}}
        """
        + TRITON.replace("\n", "\n        ")
    )
    plan = plan_scraping(loaded)
    factory = SourceFactory(plan, 1000, SeriesStore(retention_s=60.0))
    kinds = {(t.engine, t.url): type(factory.recipe(t).made()) for t in targets(loaded)}
    assert kinds["vllm", "http://h:8000/metrics"] is HttpSource
    assert kinds["dcgm", "http://h:9400/metrics"] is GpuExporterSource
    assert kinds["llamacpp", "http://h:8080/metrics"] is LlamaCppSource
    assert kinds["ollama", "http://h:11434/api/ps"] is StatusSource
    assert kinds["fastchat", "http://h:21001/"] is StatusSource
    assert kinds["mii", "http://h:8000/"] is StatusSource
    assert kinds["nvml", "local:nvml"] is NvmlSource
    assert kinds["nvml", "http://h:9401/metrics"] is HttpSource
    assert kinds["probe", "http://h:8000/v1/chat/completions"] is ProbeSource
    assert kinds["readiness", "http://10.0.0.5:8000"] is ReadinessSource


def test_a_backend_of_ollama_is_asked_for_its_models_and_for_its_disk(fleet: Write) -> None:
    plan = plan_scraping(
        fleet(
            """
            models:
              - name: chat
                stable: v1
                traffic: {driver: none, model: "llama3.2:latest", backends: [{url: "http://h:11434", engine: ollama}]}
                versions: {v1: {}}
            """
        )
    )
    assert [(group.engine, group.urls, group.models) for group in plan.groups] == [
        ("ollama", ("http://h:11434/api/ps",), (("llama3.2:latest", "chat"),)),
        ("readiness", ("http://h:11434",), (("llama3.2:latest", "chat"),)),
    ]
    target = Target("readiness", "http://h:11434", "readiness", "h:11434")
    assert SourceFactory(plan, 1000, SeriesStore(retention_s=60.0)).recipe(target).options == {
        "expected": (("llama3.2:latest", "v1"),),
        "auth": None,
        "health_path": "/api/version",
        "on_demand": True,
    }


def test_gpu_targets_are_not_told_of_models(fleet: Write) -> None:
    found = targets(fleet('targets:\n  - {engine: dcgm, addresses: ["h:9400"]}\n' + TRITON))
    assert found[0].engine == "dcgm" and found[0].models == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{engine: probe, urls: ["http://h/v1/chat/completions"]}', "set the model to ask"),
        ('{engine: probe, urls: ["http://h/other"], labels: {model: m}}', "set protocol: to one of openai"),
    ],
)
def test_a_probe_that_cannot_be_asked_is_a_fault_with_its_place(fleet: Write, text: str, message: str) -> None:
    with pytest.raises(ConfigErrors, match=message) as caught:
        plan_scraping(fleet(f"targets:\n  - {text}\n"))
    assert "targets[0]" in str(caught.value)


def test_a_parameter_in_labels_is_asked_for_and_refused_where_it_has_no_effect(fleet: Write) -> None:
    (target,) = targets(fleet('targets: [{engine: vllm, addresses: ["h:1"], labels: {__param_model: x}}]'))
    assert (target.url, target.labels) == ("http://h:1/metrics?model=x", ())
    probe = 'targets: [{engine: probe, urls: ["http://h:1/v1/completions"], model_name: m, labels: {__param_a: x}}]'
    with pytest.raises(ConfigErrors, match=r"labels\.__param_a: has no effect on urls.*put the parameter into the URL"):
        fleet(probe)
    with pytest.raises(ConfigErrors, match=r"labels\.__scheme__: has no effect on a backend"):
        fleet(TRITON.replace("{node: a}", "{__scheme__: https}"))


async def test_a_clouds_metrics_are_read_at_its_own_address_with_the_groups_place(fleet: Write) -> None:
    resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
    loaded = fleet(
        f"""
        targets:
          - {{engine: bedrock, aws: {{region: eu-west-1, credentials_file: /k, profile: prod}}}}
          - {{engine: sagemaker, aws: {{region: cn-north-1}}}}
          - engine: azure-openai
            azure: {{tenant: t, client: c, resource: {resource}}}
            authorization: {{credentials_file: /s}}
          - {{engine: vertex, google: {{project: p, key_file: /j}}}}
        """
    )
    factory = SourceFactory(plan_scraping(loaded), 1000, SeriesStore(retention_s=60.0))
    recipes = {target.engine: (target.url, factory.recipe(target)) for target in targets(loaded)}
    assert {engine: (url, recipe.arguments) for engine, (url, recipe) in recipes.items()} == {
        "bedrock": (
            aws := "https://monitoring.eu-west-1.amazonaws.com",
            ("bedrock", aws, AwsPlace("eu-west-1", KeyPlace("/k", "prod")), None),
        ),
        "sagemaker": (
            china := "https://monitoring.cn-north-1.amazonaws.com.cn",
            ("sagemaker", china, AwsPlace("cn-north-1", KeyPlace()), None),
        ),
        "azure-openai": (
            azure := "https://management.azure.com",
            (
                azure,
                resource,
                Application("t", "c", "https://login.microsoftonline.com"),
                Auth(credentials_file="/s"),
            ),
        ),
        "vertex": (google := "https://monitoring.googleapis.com", (google, "p", GoogleIdentity(file="/j"), None)),
    }
    for _, recipe in recipes.values():
        await recipe.made().close()


@pytest.mark.parametrize("first", ["", "labels: {job: a}, ", "labels: {job: a, instance: i}, "])
def test_each_of_several_accounts_at_one_address_is_read_with_its_own_key(fleet: Write, first: str) -> None:
    loaded = fleet(
        f"""
        targets:
          - {{engine: vertex, {first}google: {{project: p, key_file: /p}}}}
          - {{engine: vertex, labels: {{job: b}}, google: {{project: q, key_file: /q}}}}
        """
    )
    factory = SourceFactory(plan_scraping(loaded), 1000, SeriesStore(retention_s=60.0))
    assert [factory.recipe(target).arguments[1:3] for target in targets(loaded)] == [
        ("p", GoogleIdentity(file="/p")),
        ("q", GoogleIdentity(file="/q")),
    ]


def test_two_accounts_that_would_be_one_target_are_refused(fleet: Write) -> None:
    accounts = "".join(f"  - {{engine: vertex, google: {{project: {name}, key_file: /k}}}}\n" for name in "pq")
    with pytest.raises(ConfigErrors, match=r"targets\[1\]: .*give one of them its own label job:"):
        plan_scraping(fleet(f"targets:\n{accounts}"))


def test_a_probe_with_a_job_of_its_own_asks_the_questions_of_its_group(fleet: Write) -> None:
    loaded = fleet(
        """
        targets:
          - {engine: probe, urls: ["http://h/v1/chat/completions"], labels: {model: chat, job: mine, instance: i}}
          - {engine: probe, urls: ["http://h/v1/chat/completions"], labels: {model: other}}
        """
    )
    factory = SourceFactory(plan_scraping(loaded), 1000, SeriesStore(retention_s=60.0))
    assert [factory.recipe(target).arguments[2] for target in targets(loaded)] == ["chat", "other"]
