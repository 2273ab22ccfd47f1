"""Probes as groups of targets: the same as the reader makes of the configuration that Prometheus Operator generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.discovery import Discovery
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from collectors.target import Auth
from controlplane.config.scraping.prometheus.jobs import read_jobs
from controlplane.discovery.kubernetes.labels import NAMESPACE
from controlplane.discovery.monitors.monitor import Kind
from tests.fakes.monitors import probe
from tests.unit.controlplane.discovery.monitors.test_jobs import JOB, made, settings

PROBER: dict[str, Any] = {"url": "blackbox:9115"}
TO_PROBER = """\
      - {source_labels: [__param_target], target_label: instance}
      - {target_label: __address__, replacement: "blackbox:9115"}
"""
STATIC = (
    probe(
        jobName="outside",
        prober=PROBER | {"scheme": "HTTPS", "path": "/ask"},
        module="http_2xx",
        interval="20s",
        sampleLimit=9,
        bearerTokenSecret={"name": "s", "key": "token"},
        metricRelabelings=[{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}],
        targets={
            "staticConfig": {
                "static": ["https://a.example/v1/models", "b.example"],
                "labels": {"env": "prod"},
                "relabelingConfigs": [{"targetLabel": "by", "replacement": "us"}],
            },
            "ingress": {"selector": {}},
        },
    ),
    f"""\
  - job_name: probe/llm/test
    scrape_interval: 20s
    metrics_path: /ask
    scheme: https
    params: {{module: [http_2xx]}}
    sample_limit: 9
    bearer_token: s-token
    static_configs: [{{targets: [https://a.example/v1/models, b.example], labels: {{env: prod, namespace: llm}}}}]
    relabel_configs:
      - {JOB}
      - {{target_label: job, replacement: outside}}
      - {{source_labels: [__address__], target_label: __param_target}}
{TO_PROBER}
      - {{target_label: by, replacement: us}}
    metric_relabel_configs: [{{source_labels: [__name__], regex: go_.*, action: drop}}]
""",
)
INGRESS = (
    probe(
        prober=PROBER,
        targets={
            "ingress": {
                "selector": {
                    "matchLabels": {"app": "chat"},
                    "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}],
                },
                "relabelingConfigs": [{"action": "drop", "sourceLabels": ["ingress"], "regex": "x"}],
            }
        },
    ),
    f"""\
  - job_name: probe/llm/test
    metrics_path: /probe
    kubernetes_sd_configs: [{{role: ingress}}]
    relabel_configs:
      - {JOB}
      - action: keep
        source_labels: [__meta_kubernetes_ingress_label_app, __meta_kubernetes_ingress_labelpresent_app]
        regex: (chat);true
      - {{action: drop, source_labels: [__meta_kubernetes_ingress_labelpresent_old], regex: "true"}}
      - source_labels: [__meta_kubernetes_ingress_scheme, __address__, __meta_kubernetes_ingress_path]
        separator: ;
        regex: (.+);(.+);(.+)
        target_label: __param_target
        replacement: "${{1}}://${{2}}${{3}}"
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_ingress_name], target_label: ingress}}
      - {{source_labels: [__address__], separator: ;, regex: (.*), target_label: __tmp_ingress_address}}
{TO_PROBER}
      - {{action: drop, source_labels: [ingress], regex: x}}
""",
)


@pytest.mark.parametrize(("found", "generated"), [STATIC, INGRESS], ids=["static", "ingress"])
def test_a_probe_is_what_the_generated_configuration_is(tmp_path: Path, found: dict[str, Any], generated: str) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(f"global: {{scrape_interval: 30s, scrape_timeout: 10s}}\nscrape_configs:\n{generated}")
    mine = made(Kind.PROBE, found)
    theirs = tuple(group for job in read_jobs(file).jobs for group in job.groups)
    assert (mine.left_out, mine.remarks) == ((), ())
    assert settings(mine.groups) == settings(theirs)


def test_the_prober_is_asked_about_each_address() -> None:
    (group,) = made(Kind.PROBE, STATIC[0]).groups
    discovery = Discovery([group])
    first, second = discovery.refresh()
    assert first.url == "https://blackbox:9115/ask?module=http_2xx&target=https%3A%2F%2Fa.example%2Fv1%2Fmodels"
    assert (first.job, first.instance) == ("outside", "https://a.example/v1/models")
    assert dict(first.labels) == {"by": "us", "env": "prod", "namespace": "llm"}
    assert second.instance == "b.example"
    assert (discovery.errors, discovery.remarks) == ((), ())


@pytest.mark.parametrize(("selector", "namespaces"), [({}, ("llm",)), ({"matchNames": ["b"]}, ("b",)), (None, None)])
def test_ingresses_are_read_where_the_probe_selects(selector: Any, namespaces: tuple[str, ...] | None) -> None:
    given = {"any": True} if selector is None else selector
    (group,) = made(Kind.PROBE, probe(prober=PROBER, targets={"ingress": {"namespaceSelector": given}})).groups
    whole = KubernetesSd(Role.INGRESS, api_server="http://api")
    assert group.sd == ((whole if namespaces is None else ListPart(whole, NAMESPACE, namespaces)),)


STATIC_OF_ONE: dict[str, Any] = {"staticConfig": {"static": ["a"]}}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"targets": STATIC_OF_ONE}, "prober.url: expected the host:port of the prober, got ''"),
        ({"prober": {"url": "http://b:1"}, "targets": STATIC_OF_ONE}, "got 'http://b:1'; scheme and path are fields"),
        ({"prober": PROBER}, "targets: needs staticConfig or ingress"),
        ({"prober": PROBER | {"proxyUrl": "p"}, "targets": STATIC_OF_ONE}, "prober.proxyUrl: expected an address that"),
        ({"prober": PROBER, "targets": STATIC_OF_ONE, "oauth2": {"tokenUrl": "i"}}, "oauth2.tokenUrl: expected"),
        ({"prober": PROBER, "targets": {"staticConfig": {"static": ["a", 7]}}},
         "targets.staticConfig.static[1]: expected a text, got the number 7"),
        ({"prober": PROBER, "targets": {"ingress": {"selector": {"matchLabels": {"a": 1}}}}},
         "targets.ingress.selector.matchLabels.a: expected a text, got the number 1"),
        ({"prober": PROBER, "targets": STATIC_OF_ONE, "scrapeClass": "x"}, "scrapeClass: 'x' is none of"),
        ({"prober": PROBER, "targets": STATIC_OF_ONE, "interval": "1s", "scrapeTimeout": "2s"},
         "scrapeTimeout: is longer than the interval of 1 s"),
    ],
)  # fmt: skip
def test_a_probe_that_cannot_be_asked_as_it_says_is_left_out(spec: dict[str, Any], why: str) -> None:
    found = made(Kind.PROBE, probe(**spec))
    assert found.groups == ()
    (sentence,) = found.left_out
    assert sentence.startswith("Probe llm/test: ")
    assert sentence.endswith(", so it is left out")
    assert why in sentence


def test_what_has_no_effect_is_told_by_its_place() -> None:
    found = made(
        Kind.PROBE,
        probe(prober=PROBER | {"color": "red"}, targetLimit=3, targets={"staticConfig": {"static": ["", "a"]}}),
    )
    assert [group.addresses for group in found.groups] == [("a",)]
    assert found.remarks == (
        "Probe llm/test: targetLimit has no effect; scrape: in fleet.yaml has limits",
        "Probe llm/test: prober.color has no effect",
        "Probe llm/test: targets.staticConfig.static[0] is empty and has no effect",
    )
    assert made(Kind.PROBE, probe(prober=PROBER, targets={"staticConfig": {"static": []}})) == (
        (),
        (),
        ("Probe llm/test: targets.staticConfig.static is empty, so nothing is probed",),
    )


def test_credentials_are_those_for_the_prober() -> None:
    spec = {"tlsConfig": {"ca": {"configMap": {"name": "c", "key": "k"}}}}
    (group,) = made(Kind.PROBE, probe(prober=PROBER, targets=STATIC_OF_ONE, **spec)).groups
    assert group.auth == Auth(ca="-----BEGIN CERTIFICATE----- configMap c")
