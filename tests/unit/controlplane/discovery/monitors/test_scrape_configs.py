"""ScrapeConfigs as groups of targets: the same as the reader makes of the configuration that the operator generates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.asking import Asker, Follower, Hears
from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.discovery import Discovery
from collectors.discovery.entries import Entry
from collectors.discovery.group import DiscoveryGroup, SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.kubernetes_roles import Role, Selector
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from collectors.errors import DiscoveryError
from controlplane.config.scraping.prometheus.jobs import read_jobs
from controlplane.discovery.kubernetes.labels import NAMESPACE
from controlplane.discovery.monitors.made import Defaults
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.reading import read_monitor
from tests.fakes.monitors import scrape_config
from tests.unit.controlplane.discovery.monitors.test_jobs import AT, JOB, made, told_secret

EVERYTHING = scrape_config(
    jobName="engines",
    scheme="HTTPS",
    metricsPath="/m",
    scrapeInterval="20s",
    scrapeTimeout="5s",
    honorLabels=True,
    params={"a": ["b", "c"]},
    sampleLimit=7,
    enableCompression=True,
    authorization={"credentials": {"name": "s", "key": "token"}},
    tlsConfig={"insecureSkipVerify": True},
    relabelings=[{"sourceLabels": ["__meta_url"], "targetLabel": "list"}],
    metricRelabelings=[{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}],
    staticConfigs=[{"targets": ["a:1", "b"], "labels": {"env": "prod"}}, {"targets": ["c:3"]}],
    httpSDConfigs=[
        {
            "url": "https://list.example/all",
            "refreshInterval": "30s",
            "basicAuth": {"username": {"name": "s", "key": "u"}, "password": {"name": "s", "key": "p"}},
        }
    ],
    dnsSDConfigs=[{"names": ["a.example", "b.example"], "type": "A", "port": 8000, "refreshInterval": "10s"}],
    consulSDConfigs=[
        {
            "server": "consul:8500",
            "scheme": "HTTPS",
            "tokenRef": {"name": "s", "key": "consul"},
            "services": ["vllm"],
            "tags": ["gpu"],
            "nodeMeta": {"rack": "7"},
            "tagSeparator": ";",
            "allowStale": False,
            "filter": "x == y",
            "datacenter": "d",
        }
    ],
)
GENERATED = f"""\
global: {{scrape_interval: 30s, scrape_timeout: 10s}}
scrape_configs:
  - job_name: scrapeConfig/llm/test
    scheme: https
    metrics_path: /m
    scrape_interval: 20s
    scrape_timeout: 5s
    honor_labels: true
    params: {{a: [b, c]}}
    sample_limit: 7
    authorization: {{credentials: s-token}}
    tls_config: {{insecure_skip_verify: true}}
    static_configs: [{{targets: ["a:1", b], labels: {{env: prod}}}}, {{targets: ["c:3"]}}]
    http_sd_configs:
      - {{url: "https://list.example/all", refresh_interval: 30s, basic_auth: {{username: s-u, password: s-p}}}}
    dns_sd_configs: [{{names: [a.example, b.example], type: A, port: 8000, refresh_interval: 10s}}]
    consul_sd_configs:
      - server: consul:8500
        scheme: https
        token: s-consul
        services: [vllm]
        tags: [gpu]
        node_meta: {{rack: "7"}}
        tag_separator: ;
        allow_stale: false
        filter: x == y
        datacenter: d
    relabel_configs:
      - {JOB}
      - {{target_label: job, replacement: engines}}
      - {{source_labels: [__meta_url], target_label: list}}
    metric_relabel_configs: [{{source_labels: [__name__], regex: go_.*, action: drop}}]
"""


def unordered(groups: tuple[DiscoveryGroup, ...]) -> set[DiscoveryGroup]:
    return {replace(group, words=None, sd=tuple(map(_of_nobody, group.sd))) for group in groups}


def _of_nobody(sd: SdConfig) -> SdConfig:
    return replace(sd, owner=()) if isinstance(sd, HttpSd | ConsulSd) else sd


def test_a_scrape_config_is_what_the_generated_configuration_is(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(GENERATED)
    found = made(Kind.SCRAPE, EVERYTHING)
    (job,) = read_jobs(tmp_path / "prometheus.yml").jobs
    assert (found.left_out, found.remarks) == ((), ())
    assert unordered(found.groups) == unordered(job.groups)
    assert len(found.groups) == 5


def test_addresses_become_targets_one_by_one() -> None:
    given = scrape_config(
        staticConfigs=[{"targets": ["a:1", "", "http://b/c", "d:99999", "e:5"], "labels": {"env": "prod"}}]
    )
    found = made(Kind.SCRAPE, given)
    assert found.remarks == ("ScrapeConfig llm/test: staticConfigs[0].targets[1] is empty and has no effect",)
    discovery = Discovery(found.groups)
    assert [(t.job, t.instance, t.url) for t in discovery.refresh()] == [
        ("scrapeConfig/llm/test", "a:1", "http://a:1/metrics"),
        ("scrapeConfig/llm/test", "e:5", "http://e:5/metrics"),
    ]
    assert [str(error) for error in discovery.errors] == [
        f"job scrapeConfig/llm/test: {address!r} after relabel_configs: {address!r} is not host:port or a host"
        for address in ("http://b/c", "d:99999")
    ]


@pytest.mark.parametrize(
    ("fields", "whole", "namespaces"),
    [
        ({"role": "Pod"}, KubernetesSd(Role.POD, "http://api"), None),
        ({"role": "Node", "namespaces": {"names": ["a"]}}, KubernetesSd(Role.NODE, "http://api"), None),
        ({"role": "EndpointSlice", "namespaces": {"names": ["a", "b", "a"]}},
         KubernetesSd(Role.ENDPOINTSLICE, "http://api"), ("a", "b")),
        ({"role": "Pod", "attachMetadata": {"node": True}, "selectors": [{"role": "Pod", "label": "app=vllm"}]},
         KubernetesSd(Role.POD, "http://api", selectors=(Selector(Role.POD, "app=vllm"),), with_nodes=True), None),
    ],
)  # fmt: skip
def test_objects_are_those_of_the_cluster_of_the_monitors(
    fields: dict[str, Any], whole: KubernetesSd, namespaces: tuple[str, ...] | None
) -> None:
    (group,) = made(Kind.SCRAPE, scrape_config(kubernetesSDConfigs=[fields])).groups
    assert group.sd == ((whole if namespaces is None else ListPart(whole, NAMESPACE, namespaces)),)


def test_a_namespace_that_nobody_reads_is_told() -> None:
    found = scrape_config(kubernetesSDConfigs=[{"role": "Pod", "namespaces": {"names": ["a", "b"]}}])
    read = read_monitor(Monitor(Kind.SCRAPE, found), Defaults(replace(AT, namespaces=("a",))), told_secret)
    assert read.remarks == (
        "ScrapeConfig llm/test: kubernetesSDConfigs[0].namespaces.names names b, which is not one of namespaces: of "
        "prometheus_operator",
    )


OF_CLUSTER = Defaults(AT)
HTTP = {"httpSDConfigs": [{"url": "http://sd/x"}]}
CONSUL = {"consulSDConfigs": [{"server": "consul:8500"}]}
WITH = {"authorization": {"credentials": {"name": "s", "key": "token"}}}


def source_of(name: str, namespace: str, spec: dict[str, Any], defaults: Defaults = OF_CLUSTER) -> SdConfig:
    """Return the source of addresses of a ScrapeConfig."""
    found = scrape_config(**spec)
    found["metadata"] |= {"name": name, "namespace": namespace}
    ((sd,),) = (group.sd for group in read_monitor(Monitor(Kind.SCRAPE, found), defaults, told_secret).groups)
    return sd


@pytest.mark.parametrize("spec", [HTTP, CONSUL])
async def test_a_list_under_one_monitors_secret_is_no_other_monitors(spec: dict[str, list[dict[str, Any]]]) -> None:
    heard: dict[SdConfig, Hears] = {}

    def follower_of(sd: SdConfig) -> Follower:
        async def follow(hears: Hears) -> None:
            heard[sd] = hears
            await asyncio.Event().wait()

        return follow

    async def follow(*sources: SdConfig) -> None:
        await asker.apply(sources)
        await asyncio.sleep(0)
        assert heard.keys() >= set(sources)

    (kind,) = spec
    secured = {kind: [spec[kind][0] | WITH]}
    good = source_of("test", "llm", secured)
    asker, entries = Asker(lambda: None, follower_of), (Entry(["h:1"], {}),)
    await follow(good)
    heard[good].took(entries)
    others = [
        source_of("other", "llm", spec),
        source_of("test", "tenant", spec),
        source_of("test", "tenant", secured),
        source_of("test", "llm", spec, Defaults(replace(AT, api_server="http://other"))),
    ]
    await follow(good, *others)
    heard[others[0]].failed(DiscoveryError("http://sd/x: status 401"))
    assert [asker.list_of(sd).entries for sd in (good, *others)] == [entries, (), (), (), ()]
    # The monitor's own list stays when its credentials change.
    anew = source_of("test", "llm", spec)
    await follow(anew)
    assert asker.list_of(anew).entries == entries
    await asker.close()


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("fileSDConfigs", {"files": ["/etc/passwd.yml"]},
         "names files of this process, which a ScrapeConfig may not read; write file_sd in fleet.yaml"),
        ("dockerSDConfigs", {"host": "unix:///var/run/docker.sock"},
         "would let its author ask the daemon of this host; write docker_sd in fleet.yaml"),
        ("ec2SDConfigs", {"region": "r"}, "is not supported"),
        ("httpSDConfigs", {"url": "ftp://x"}, ".url: expected an address that begins with http:// or https://"),
        ("httpSDConfigs", {"url": "http://u:s3cret@x"}, ".url: expected an address that begins with http://"),
        ("httpSDConfigs", {"url": "http://x", "tlsConfig": {"caFile": "/ca"}}, ".tlsConfig.caFile: names a file of"),
        ("dnsSDConfigs", {"names": ["a", ""]}, ".names: expected 1 to 100 names, none of them empty"),
        ("dnsSDConfigs", {"names": ["a"], "type": "A"}, ".port: is required, from 1 to 65535"),
        ("dnsSDConfigs", {"names": ["a"], "type": "TXT"}, ".type: expected one of SRV, A, AAAA, MX, NS, got 'TXT'"),
        ("consulSDConfigs", {"server": "http://c"}, ".server: expected the host:port of an agent"),
        ("consulSDConfigs", {"server": "c", "scheme": "ftp"}, ".scheme: expected HTTP or HTTPS, got 'ftp'"),
        ("consulSDConfigs", {"server": "c", "tokenRef": {"name": "s", "key": "k"}, "authorization": {"type": "A"}},
         ".tokenRef: cannot be given beside authorization, basicAuth and oauth2"),
        ("kubernetesSDConfigs", {"role": "Pods"}, ".role: expected one of pod, service, endpoints"),
        ("kubernetesSDConfigs", {"role": "Pod", "apiServer": "http://x"}, ".apiServer: is not supported: the cluster"),
        ("kubernetesSDConfigs", {"role": "Pod", "namespaces": {"ownNamespace": True}},
         ".namespaces.ownNamespace: is not supported"),
        ("kubernetesSDConfigs", {"role": "Pod", "selectors": [{"role": "Node"}]},
         ".selectors: role pod reads no objects of role node; expected pod"),
        ("kubernetesSDConfigs", {"role": "Pod", "selectors": [{"role": "Pod", "label": "a = b c"}]},
         "is no label selector"),
        ("staticConfigs", {"targets": ["a", 5]}, ".targets[1]: expected a text, got the number 5"),
    ],
)  # fmt: skip
def test_a_source_that_is_not_supported_is_left_out_alone(name: str, fields: dict[str, Any], why: str) -> None:
    spec: dict[str, Any] = {"staticConfigs": [{"targets": ["good:1"]}]}
    spec[name] = [*spec.get(name, ()), fields]
    found = made(Kind.SCRAPE, scrape_config(**spec))
    assert [group.addresses for group in found.groups] == [("good:1",)]
    (sentence,) = found.left_out
    assert sentence.startswith(f"ScrapeConfig llm/test: {name}[{len(spec[name]) - 1}]")
    assert sentence.endswith(", so this source is left out")
    assert why in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"oauth2": {"tokenUrl": "i"}}, "oauth2.tokenUrl: expected an address"),
        ({"scrapeInterval": "soon"}, "scrapeInterval: expected a duration"),
        ({"relabelings": [{"action": "keeep"}]}, "relabelings[0].action: expected one of"),
        ({"staticConfigs": [{}] * 101}, "has 101 sources of addresses; at most 100 are taken"),
        ({"httpSDConfigs": {}}, "httpSDConfigs: expected a list, got a map"),
    ],
)
def test_a_scrape_config_that_cannot_be_read_is_left_out(spec: dict[str, Any], why: str) -> None:
    found = made(Kind.SCRAPE, scrape_config(**{"staticConfigs": [{"targets": ["a"]}], **spec}))
    assert found.groups == ()
    (sentence,) = found.left_out
    assert why in sentence
    assert sentence.endswith(", so it is left out")


def test_what_has_no_effect_is_told() -> None:
    found = made(Kind.SCRAPE, scrape_config(honorTimestamps=True, enableCompression=False, labelLimit=3))
    assert found.remarks == (
        "ScrapeConfig llm/test: labelLimit has no effect; scrape: in fleet.yaml has limits",
        "ScrapeConfig llm/test: honorTimestamps has no effect: samples have the time of their scrape",
        "ScrapeConfig llm/test: enableCompression has no effect: pages may be compressed",
        "ScrapeConfig llm/test: it has no source of addresses, so nothing is scraped",
    )
