"""Faults of `driver: kubernetes` in fleet.yaml, each at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config.traffic.kubernetes import KubernetesTraffic
from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

ROUTE = "http_route: {name: chat}"
MODEL = """\
  - name: {name}
    stable: v1
    traffic: {{driver: kubernetes, {traffic}}}
    versions:
      v1: {{backends: [{{url: "http://10.0.0.{host}:8000", engine: vllm}}]}}
      v2: {{backends: [{{url: "http://10.0.1.{host}:8000", engine: vllm}}]}}
"""


def fleet(*traffic: str) -> str:
    """Return a fleet with a model for each of these sections."""
    models = (MODEL.format(name=f"m{at}", traffic=one, host=at) for at, one in enumerate(traffic))
    return "".join(("fleet: {name: f}\nmodels:\n", *models))


def faults(text: str, folder: Path) -> list[str]:
    """Return the faults, each without its file and line, below `traffic` of the first model."""
    with pytest.raises(ConfigErrors) as found:
        parse_fleet(text, folder)
    told = [str(error).partition(": ")[2] for error in found.value.errors]
    return [one.removeprefix("models[0].traffic").removeprefix(".") for one in told]


NAME = "expected a name of lower-case letters, digits, '-' and '.'"


@pytest.mark.parametrize(
    ("traffic", "wanted"),
    [
        (
            "namespace: llm",
            [": needs exactly one of http_route, service, llm_inference_services, inference_service; it has none"],
        ),
        (
            f"{ROUTE}, service: {{name: chat}}",
            [
                ": needs exactly one of http_route, service, llm_inference_services, inference_service; it has "
                "http_route and service"
            ],
        ),
        ("http_route: {name: Chat}", [f"http_route.name: {NAME}, got 'Chat'"]),
        (f"{ROUTE}, namespace: ../kube-system", [f"namespace: {NAME}, got '../kube-system'"]),
        (f"{ROUTE}, services: {{v1: a/b}}", [f"services.v1: {NAME}, got 'a/b'"]),
        (
            f"{ROUTE}, backends: [{{url: 'http://10.0.0.7:8000', engine: vllm}}]",
            ["backends: a cluster sends requests to the pods of a version; put them under versions:"],
        ),
        (f"{ROUTE}, services: {{v3: chat}}", ["services.v3: 'v3' is not one of versions: v1, v2"]),
        (
            "http_route: {name: chat, pools: {v1: pool-1}}",
            ["http_route.pools: lacks v2; name the object of every version"],
        ),
        (
            "http_route: {name: chat, pools: {v1: pool, v2: pool}}",
            ["http_route.pools.v2: pool is the one of v1 too; name an own one for each version"],
        ),
        (
            f"{ROUTE}, services: {{v1: chat, v2: chat}}",
            ["services.v2: chat is the one of v1 too; name an own one for each version"],
        ),
        (
            "llm_inference_services: {v1: chat}",
            ["llm_inference_services: lacks v2; name the object of every version"],
        ),
        (
            "llm_inference_services: {v1: chat, v2: chat}",
            ["llm_inference_services.v2: chat is the one of v1 too; name an own one for each version"],
        ),
        (
            "inference_service: {name: chat, models: {v1: 's3://m', v2: 's3://m'}}",
            ["inference_service.models.v2: s3://m is the one of v1 too; name an own one for each version"],
        ),
        (
            "inference_service: {name: chat, models: {v1: 's3://m', v3: 's3://n'}}",
            [
                "inference_service.models: lacks v2; name the object of every version",
                "inference_service.models.v3: 'v3' is not one of versions: v1, v2",
            ],
        ),
        (
            "service: {name: chat, selectors: {v1: {app: chat}, v2: {app: chat, version: v2}}}",
            ["service.selectors: v2 has every label of v1, so its pods count for both; give v1 a label of its own"],
        ),
        (
            "service: {name: chat, selectors: {v2: {version: v1}}}",
            [
                "service.selectors: v1 has every label of v2, so its pods count for both; give v2 a label of its own",
                "service.selectors: v2 has every label of v1, so its pods count for both; give v1 a label of its own",
            ],
        ),
        (
            "service: {name: chat, selectors: {v1: {version: a/b}}}",
            [
                "service.selectors.v1.version: expected the value of a label: letters, digits, '-', '_' and '.', got "
                "'a/b'"
            ],
        ),
    ],
)
def test_fault(traffic: str, wanted: list[str], tmp_path: Path) -> None:
    assert faults(fleet(traffic), tmp_path) == wanted


@pytest.mark.parametrize(
    ("traffic", "claim"),
    [
        ("service: {name: chat}", "service.name: Service default/chat"),
        (
            "inference_service: {name: chat, models: {v1: 's3://m', v2: 's3://n'}}",
            "inference_service.name: InferenceService default/chat",
        ),
        (
            "llm_inference_services: {v1: chat-1, v2: chat-2}",
            "llm_inference_services.v1: LLMInferenceService default/chat-1",
        ),
    ],
)
def test_object_that_another_model_writes(traffic: str, claim: str, tmp_path: Path) -> None:
    found = faults(fleet(traffic, traffic), tmp_path)
    assert found[0] == f"models[1].traffic.{claim} already belongs to model m0"


def test_models_may_share_a_route_and_names_in_other_namespaces(tmp_path: Path) -> None:
    one = "service: {name: chat}"
    assert len(parse_fleet(fleet(ROUTE, ROUTE, one, f"{one}, namespace: other"), tmp_path).models) == 4


def test_whole_section(tmp_path: Path) -> None:
    text = fleet(
        "namespace: llm, kubeconfig: kube/config, context: prod, http_route: {name: chat, rule: main}, "
        "services: {v1: chat-blue}"
    )
    traffic = parse_fleet(text, tmp_path / "fleet.yaml").models[0].traffic
    assert isinstance(traffic, KubernetesTraffic)
    assert (traffic.namespace, traffic.context, traffic.services) == ("llm", "prod", {"v1": "chat-blue"})
    assert traffic.kubeconfig == tmp_path / "kube/config"
