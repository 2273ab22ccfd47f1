"""Monitors as jobs: the same as this project's reader makes of the configuration that Prometheus Operator generates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.clouds.client_credentials import ClientCredentials
from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from collectors.target import Auth, IssuedAuth, Proxy
from controlplane.config.scraping.prometheus.jobs import read_jobs
from controlplane.discovery.kubernetes.labels import NAMESPACE
from controlplane.discovery.monitors.access import Secret
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.made import Defaults, Made
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.reading import read_monitor
from tests.fakes.monitors import pod_monitor, service_monitor

AT = KubernetesSd(Role.POD, api_server="http://api")
RUNNING = "{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded)}"
JOB = "{source_labels: [job], target_label: __tmp_prometheus_job_name}"


def names_behind(kind: str) -> str:
    """Return the rules that name what is behind a Service, as the operator writes them for a role."""
    target = f"[__meta_kubernetes_{kind}_address_target_kind, __meta_kubernetes_{kind}_address_target_name]"
    return f"""\
      - {{source_labels: {target}, separator: ;, regex: Node;(.*), replacement: "${{1}}", target_label: node}}
      - {{source_labels: {target}, separator: ;, regex: Pod;(.*), replacement: "${{1}}", target_label: pod}}
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_service_name], target_label: service}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
      - {{source_labels: [__meta_kubernetes_pod_container_name], target_label: container}}
"""


JOB_OF_SERVICE = '{source_labels: [__meta_kubernetes_service_name], target_label: job, replacement: "${1}"}'

EXPRESSIONS = (
    service_monitor(
        selector={"matchExpressions": [{"key": "alpha", "operator": "In", "values": ["beta", "gamma"]}]},
        endpoints=[{"port": "web", "interval": "30s"}],
    ),
    f"""\
  - job_name: serviceMonitor/llm/test/0
    honor_labels: false
    scrape_interval: 30s
    relabel_configs:
      - {JOB}
      - action: keep
        source_labels: [__meta_kubernetes_service_label_alpha, __meta_kubernetes_service_labelpresent_alpha]
        regex: (beta|gamma);true
      - {{action: keep, source_labels: [__meta_kubernetes_endpoint_port_name], regex: web}}
{names_behind("endpoint")}
      - {RUNNING}
      - {JOB_OF_SERVICE}
      - {{target_label: endpoint, replacement: web}}
""",
)
EVERYTHING = (
    service_monitor(
        selector={
            "matchLabels": {"group": "group1", "app.io/name": "vllm"},
            "matchExpressions": [
                {"key": "a", "operator": "NotIn", "values": ["b", "c"]},
                {"key": "d", "operator": "Exists"},
                {"key": "e-f", "operator": "DoesNotExist"},
            ],
        },
        jobLabel="example.com/job",
        targetLabels=["team", "cost-center"],
        podTargetLabels=["model.name"],
        sampleLimit=5000,
        serviceDiscoveryRole="EndpointSlice",
        attachMetadata={"node": True},
        endpoints=[
            {
                "targetPort": 8000,
                "path": "/federate",
                "scheme": "HTTPS",
                "params": {"metrics[]": ['{__name__=~"job:.*"}']},
                "scrapeTimeout": "5s",
                "honorLabels": True,
                "tlsConfig": {"insecureSkipVerify": True, "minVersion": "TLS12", "ca": {}, "serverName": "vllm.llm"},
                "authorization": {"credentials": {"name": "s", "key": "token"}},
                "bearerTokenSecret": {"key": ""},
                "relabelings": [
                    {"sourceLabels": ["__meta_kubernetes_node_label_gpu"], "targetLabel": "gpu", "regex": ""},
                    {"action": "LabelDrop", "regex": "container|node", "modulus": 0, "targetLabel": ""},
                    {"targetLabel": "cluster", "replacement": "eu"},
                ],
                "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "go_.*", "action": "drop"}],
            }
        ],
    ),
    f"""\
  - job_name: serviceMonitor/llm/test/0
    honor_labels: true
    scrape_timeout: 5s
    metrics_path: /federate
    scheme: https
    params: {{"metrics[]": ['{{__name__=~"job:.*"}}']}}
    sample_limit: 5000
    tls_config: {{insecure_skip_verify: true, server_name: vllm.llm}}
    authorization: {{type: Bearer, credentials: s-token}}
    relabel_configs:
      - {JOB}
      - action: keep
        source_labels:
          [__meta_kubernetes_service_label_app_io_name, __meta_kubernetes_service_labelpresent_app_io_name]
        regex: (vllm);true
      - action: keep
        source_labels: [__meta_kubernetes_service_label_group, __meta_kubernetes_service_labelpresent_group]
        regex: (group1);true
      - action: drop
        source_labels: [__meta_kubernetes_service_label_a, __meta_kubernetes_service_labelpresent_a]
        regex: (b|c);true
      - {{action: keep, source_labels: [__meta_kubernetes_service_labelpresent_d], regex: "true"}}
      - {{action: drop, source_labels: [__meta_kubernetes_service_labelpresent_e_f], regex: "true"}}
      - {{action: keep, source_labels: [__meta_kubernetes_pod_container_port_number], regex: 8000}}
{names_behind("endpointslice")}
      - {RUNNING}
      - source_labels: [__meta_kubernetes_service_label_team]
        target_label: team
        regex: (.+)
        replacement: "${{1}}"
      - source_labels: [__meta_kubernetes_service_label_cost_center]
        target_label: cost_center
        regex: (.+)
        replacement: "${{1}}"
      - source_labels: [__meta_kubernetes_pod_label_model_name]
        target_label: model_name
        regex: (.+)
        replacement: "${{1}}"
      - {JOB_OF_SERVICE}
      - source_labels: [__meta_kubernetes_service_label_example_com_job]
        target_label: job
        regex: (.+)
        replacement: "${{1}}"
      - {{target_label: endpoint, replacement: 8000}}
      - {{source_labels: [__meta_kubernetes_node_label_gpu], target_label: gpu}}
      - {{action: labeldrop, regex: container|node}}
      - {{target_label: cluster, replacement: eu}}
    metric_relabel_configs: [{{source_labels: [__name__], regex: go_.*, action: drop}}]
""",
)
NO_PORT = (
    service_monitor(selector={"matchLabels": {"foo": "bar"}}, endpoints=[{"filterRunning": False}]),
    f"""\
  - job_name: serviceMonitor/llm/test/0
    relabel_configs:
      - {JOB}
      - action: keep
        source_labels: [__meta_kubernetes_service_label_foo, __meta_kubernetes_service_labelpresent_foo]
        regex: (bar);true
{names_behind("endpoint")}
      - {JOB_OF_SERVICE}
""",
)
NAMES_OF_POD = """\
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
"""
PODS = (
    pod_monitor(
        selector={"matchLabels": {"app": "vllm"}},
        podTargetLabels=["model"],
        jobLabel="job",
        podMetricsEndpoints=[
            {
                "port": "http",
                "basicAuth": {"username": {"name": "s", "key": "u"}, "password": {"name": "s", "key": "p"}},
            },
            {"targetPort": "named", "bearerTokenSecret": {"name": "s", "key": "token"}},
            {"portNumber": 9000},
        ],
    ),
    "".join(
        f"""\
  - job_name: podMonitor/llm/test/{number}
    {access}
    relabel_configs:
      - {JOB}
      - {RUNNING}
      - action: keep
        source_labels: [__meta_kubernetes_pod_label_app, __meta_kubernetes_pod_labelpresent_app]
        regex: (vllm);true
      - {{action: keep, source_labels: [__meta_kubernetes_pod_container_port_{part}], regex: {port}}}
{NAMES_OF_POD}
      - source_labels: [__meta_kubernetes_pod_label_model]
        target_label: model
        regex: (.+)
        replacement: "${{1}}"
      - {{target_label: job, replacement: llm/test}}
      - source_labels: [__meta_kubernetes_pod_label_job]
        target_label: job
        regex: (.+)
        replacement: "${{1}}"
      - {{target_label: endpoint, replacement: {port}}}
"""
        for number, part, port, access in (
            (0, "name", "http", "basic_auth: {username: s-u, password: s-p}"),
            (1, "name", "named", "bearer_token: s-token"),
            (2, "number", 9000, "honor_labels: false"),
        )
    ),
)


def told_secret(of: Fields, field: str, *, of_map: bool = False) -> str:
    reference = of.fields(field)
    if field in ("secret", "configMap"):
        return f"-----BEGIN CERTIFICATE----- {field} {reference.text('name')}"
    return f"{reference.text('name')}-{reference.text('key')}"


def made(kind: Kind, found: dict[str, Any], secret: Secret = told_secret, **fields: Any) -> Made:
    return read_monitor(Monitor(kind, found), Defaults(AT, **fields), secret)


def kind_of(found: dict[str, Any]) -> Kind:
    return next(kind for kind in Kind if kind.value.title == found["kind"])


def settings(groups: tuple[DiscoveryGroup, ...]) -> list[DiscoveryGroup]:
    """Return groups without what a prometheus.yml cannot say."""
    return [replace(group, sd=(), words=None) for group in groups]


@pytest.mark.parametrize(("found", "generated"), [EXPRESSIONS, EVERYTHING, NO_PORT, PODS])
def test_a_monitor_is_what_the_generated_configuration_is(
    tmp_path: Path, found: dict[str, Any], generated: str
) -> None:
    file = tmp_path / "prometheus.yml"
    sd = "    kubernetes_sd_configs: [{role: pod}]\n    relabel_configs:"
    text = generated.replace("    relabel_configs:", sd)
    file.write_text(f"global: {{scrape_interval: 30s, scrape_timeout: 10s}}\nscrape_configs:\n{text}")
    mine = made(kind_of(found), found)
    theirs = tuple(group for job in read_jobs(file).jobs for group in job.groups)
    assert (mine.left_out, mine.remarks) == ((), ())
    assert settings(mine.groups) == settings(theirs)


@pytest.mark.parametrize(
    ("selector", "namespaces"),
    [({}, ("llm",)), ({"matchNames": ["a", "b", "a"]}, ("a", "b")), ({"any": True, "matchNames": ["a"]}, None)],
)
def test_monitors_of_all_namespaces_share_one_list(
    selector: dict[str, Any], namespaces: tuple[str, ...] | None
) -> None:
    found = service_monitor(namespaceSelector=selector, endpoints=[{}])
    (group,) = made(Kind.SERVICE, found).groups
    whole = KubernetesSd(Role.ENDPOINTS, api_server="http://api")
    assert group.sd == ((whole if namespaces is None else ListPart(whole, NAMESPACE, namespaces)),)
    (group,) = made(Kind.SERVICE, found | {"spec": {**found["spec"], "attachMetadata": {"node": True}}}).groups
    assert group.sd[0].identity != whole.identity
    (group,) = made(Kind.SERVICE, found, role=Role.ENDPOINTSLICE).groups
    assert "role endpointslice" in group.sd[0].place


CLIENT_ID = "-----BEGIN CERTIFICATE----- secret i"
"""What `told_secret` gives for the client's id."""
ISSUER = {
    "tokenUrl": "https://idp/token",
    "clientId": {"secret": {"name": "i", "key": "id"}},
    "clientSecret": {"name": "i", "key": "secret"},
    "scopes": ["b", "a"],
    "endpointParams": {"z": "1", "audience": "x"},
}


def test_an_issuer_gets_its_secret_from_the_monitors_namespace() -> None:
    tls = {"ca": {"secret": {"name": "c", "key": "k"}}, "serverName": "idp.internal"}
    found = service_monitor(endpoints=[{"oauth2": ISSUER | {"tlsConfig": tls}}])
    (group,) = made(Kind.SERVICE, found).groups
    secret = Auth(inline="i-secret", ca="-----BEGIN CERTIFICATE----- secret c", server_name="idp.internal")
    params = (("audience", "x"), ("z", "1"))
    assert group.auth == IssuedAuth(
        oauth2=ClientCredentials("https://idp/token", CLIENT_ID, secret, ("b", "a"), params)
    )


def test_a_proxy_is_that_of_the_endpoint() -> None:
    fields = {"proxyUrl": "http://p:3128", "noProxy": ".svc"}
    (group,) = made(Kind.POD, pod_monitor(podMetricsEndpoints=[fields])).groups
    assert group.auth == Auth(proxy=Proxy("http://p:3128", ".svc"))


def test_a_certificate_that_is_shown_comes_from_the_monitors_namespace() -> None:
    tls = {"cert": {"configMap": {"name": "c", "key": "k"}}, "keySecret": {"name": "s", "key": "tls.key"}}
    (group,) = made(Kind.POD, pod_monitor(podMetricsEndpoints=[{"tlsConfig": tls}])).groups
    assert group.auth == Auth(cert="-----BEGIN CERTIFICATE----- configMap c", key="s-tls.key")


LEFT_OUT: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"oauth2": {"tokenUrl": "i"}},
        "endpoints[1].oauth2.tokenUrl: expected an address that begins with http:// or https://, has a host and no"
        " user",
    ),
    ({"oauth2": {"tokenUrl": "http://i"}}, "endpoints[1].oauth2.clientId: needs one of secret and configMap"),
    ({"oauth2": ISSUER | {"proxyUrl": "p"}}, "endpoints[1].oauth2.proxyUrl: expected an address that begins with http://"
     " or https://, has a host and no user"),
    (
        {"oauth2": ISSUER | {"tlsConfig": {"caFile": "/ca"}}},
        "endpoints[1].oauth2.tlsConfig.caFile: names a file of this process, which a monitor may not read; use a"
        " Secret",
    ),
    ({"oauth2": ISSUER, "basicAuth": {"username": {}}}, "endpoints[1]: basicAuth and oauth2 cannot both be given"),
    (
        {"proxyUrl": "http://u:s3cret@p"},
        "endpoints[1].proxyUrl: expected an address that begins with http:// or https://, has a host and no user",
    ),
    (
        {"proxyFromEnvironment": True},
        "endpoints[1].proxyFromEnvironment: is not supported: the environment of this process is its owner's",
    ),
    ({"proxyConnectHeader": {"a": []}}, "endpoints[1].proxyConnectHeader: is not supported"),
    (
        {"bearerTokenFile": "/var/run/token"},
        "endpoints[1].bearerTokenFile: names a file of this process, which a monitor may not read; use a Secret",
    ),
    (
        {"tlsConfig": {"caFile": "/ca"}},
        "endpoints[1].tlsConfig.caFile: names a file of this process, which a monitor may not read; use a Secret",
    ),
    (
        {"tlsConfig": {"ca": {"configMap": {"name": "c", "key": "k"}, "secret": {"name": "c", "key": "k"}}}},
        "endpoints[1].tlsConfig.ca: secret and configMap cannot both be given",
    ),
    (
        {"tlsConfig": {"keySecret": {"name": "c", "key": "k"}}},
        "endpoints[1].tlsConfig.keySecret: needs the certificate (cert) and its key (keySecret)",
    ),
    (
        {"tlsConfig": {"cert": {"secret": {"name": "c", "key": "k"}}}},
        "endpoints[1].tlsConfig.cert: needs the certificate (cert) and its key (keySecret)",
    ),
    (
        {"tlsConfig": {"certFile": "/c", "keyFile": "/k"}},
        "endpoints[1].tlsConfig.certFile: names a file of this process, which a monitor may not read; use a Secret",
    ),
    (
        {"tlsConfig": {"serverName": "a\0b"}},
        "endpoints[1].tlsConfig.serverName: expected the name of a host such as gpu-7.example, without a port",
    ),
    ({"tlsConfig": {"minVersion": "TLS13"}}, "endpoints[1].tlsConfig.minVersion: is not supported above TLS12"),
    ({"interval": "999ms"}, "endpoints[1].interval: 999ms is shorter than 1s, the shortest that is taken"),
    ({"scrapeTimeout": "1ms"}, "endpoints[1].scrapeTimeout: 1ms is shorter than 1s, the shortest that is taken"),
    ({"path": "/" * 4097}, "endpoints[1].path: has 4097 characters; at most 4096 are taken"),
    ({"path": "/\ud800"}, "endpoints[1].path: holds half of a character, which cannot be sent"),
    ({"params": {"a": ["b" * 5000]}}, "endpoints[1].params.a[0]: has 5000 characters; at most 4096 are taken"),
    ({"x" * 5000: 1}, f"endpoints[1].{'x' * 100}: has 5000 characters; at most 4096 are taken"),
    ({"interval": "soon"}, "endpoints[1].interval: expected a duration such as 15s, 2m or 1h30m, got 'soon'"),
    ({"scrapeTimeout": "31s"}, "endpoints[1].scrapeTimeout: is longer than the interval of 30 s"),
    ({"port": 5}, "endpoints[1].port: expected a text, got the number 5"),
    ({"port": "a("}, "endpoints[1].port: error parsing regexp: missing closing ): `a(`"),
    ({"params": {"a": "b"}}, "endpoints[1].params.a: expected a list, got 'b'"),
    ({"relabelings": [{"action": "keeep"}]}, "endpoints[1].relabelings[0].action: expected one of: replace, keep"),
    ({"relabelings": [{"sourceLabel": []}]}, "relabelings[0].sourceLabel: is unknown; did you mean 'sourceLabels'?"),
    (
        {"metricRelabelings": [{"action": "lowercase", "sourceLabels": ["a"]}]},
        "endpoints[1].metricRelabelings[0].targetLabel: action lowercase needs it",
    ),
    (
        {"basicAuth": {"username": {"name": "s", "key": "u"}}, "authorization": {"type": "Token"}},
        "endpoints[1]: basicAuth and authorization cannot both be given",
    ),
    ({"authorization": {"type": "basic"}}, "authorization.type: expected another type than basic; use basicAuth"),
    ({"basicAuth": "s3cret"}, "endpoints[1].basicAuth: expected a mapping, got a text"),
)  # fmt: skip


@pytest.mark.parametrize(("fields", "why"), LEFT_OUT)
def test_an_endpoint_that_cannot_be_scraped_as_it_says_is_left_out_alone(fields: dict[str, Any], why: str) -> None:
    found = made(Kind.SERVICE, service_monitor(endpoints=[{"port": "a"}, fields, {"port": "b"}]))
    assert [group.job for group in found.groups] == ["serviceMonitor/llm/test/0", "serviceMonitor/llm/test/2"]
    (sentence,) = found.left_out
    assert sentence.startswith("ServiceMonitor llm/test: ")
    assert sentence.endswith(", so this endpoint is left out")
    assert why in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"scrapeClass": "a"}, "scrapeClass: 'a' is none of scrape_classes: of prometheus_operator; define it there"),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}},
         "selector.matchExpressions[0].operator: expected one of In, NotIn, Exists, DoesNotExist, got 'in'"),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
         "selector.matchExpressions[0].values: operator In needs some"),
        ({"selector": {"matchLabels": {"a": 1}}}, "selector.matchLabels.a: expected a text, got the number 1"),
        ({"namespaceSelector": {"matchNames": "a"}}, "namespaceSelector.matchNames: expected a list, got 'a'"),
        ({"podMetricsEndpoints": {}}, "podMetricsEndpoints: expected a list, got a map"),
        ({"sampleLimit": -1}, "sampleLimit: expected a whole number from 0, got the number -1"),
        ({"serviceDiscoveryRole": "Pod"}, "serviceDiscoveryRole: expected one of Endpoints, EndpointSlice, got 'Pod'"),
    ],
)  # fmt: skip
def test_a_monitor_that_cannot_be_read_is_left_out(spec: dict[str, Any], why: str) -> None:
    found = pod_monitor(podMetricsEndpoints=[{"port": "a"}])
    found["spec"] |= spec
    assert made(Kind.POD, found) == Made((), (f"PodMonitor llm/test: {why}, so it is left out",))
    assert made(Kind.POD, found | {"spec": [1]}).left_out == (
        "PodMonitor llm/test: expected a mapping, got a list, so it is left out",
    )


def test_what_has_no_effect_is_told() -> None:
    found = pod_monitor(
        targetLimit=5,
        labelLimit=0,
        scrapeProtocols=["OpenMetricsText1.0.0"],
        namespaceSelector={"matchNames": ["llm", "else"]},
        podMetricsEndpoints=[{"honorTimestamps": True, "followRedirects": False, "colour": "red", "enableHttp2": True}],
    )
    read = replace(AT, namespaces=("llm",))
    told = read_monitor(Monitor(Kind.POD, found), Defaults(read), told_secret)
    assert told.left_out == ()
    assert told.remarks == (
        "PodMonitor llm/test: targetLimit has no effect; scrape: in fleet.yaml has limits",
        "PodMonitor llm/test: scrapeProtocols has no effect",
        "PodMonitor llm/test: namespaceSelector names else, which is not one of namespaces: of prometheus_operator",
        "PodMonitor llm/test: podMetricsEndpoints[0].colour has no effect",
        "PodMonitor llm/test: podMetricsEndpoints[0].honorTimestamps has no effect: samples have the time of their"
        " scrape",
        "PodMonitor llm/test: podMetricsEndpoints[0].followRedirects has no effect: redirects on the same server are"
        " followed, no others",
    )
    assert made(Kind.POD, pod_monitor()).remarks == (
        "PodMonitor llm/test: podMetricsEndpoints is empty, so nothing is scraped",
    )


def test_the_defaults_are_those_of_the_entry() -> None:
    found = service_monitor(endpoints=[{}, {"interval": "2s"}])
    groups = made(Kind.SERVICE, found, interval_s=15.0, timeout_s=4.0).groups
    assert [(group.interval_s, group.timeout_s) for group in groups] == [(15.0, 4.0), (2.0, 2.0)]


def test_a_monitor_of_too_many_endpoints_is_left_out_in_one_sentence() -> None:
    hundred = [{"port": "web"}] * 100
    assert len(made(Kind.SERVICE, service_monitor(endpoints=hundred)).groups) == 100
    assert made(Kind.SERVICE, service_monitor(endpoints=hundred * 2)) == Made(
        (), ("ServiceMonitor llm/test: endpoints: has 200 entries; at most 100 are taken, so it is left out",)
    )
