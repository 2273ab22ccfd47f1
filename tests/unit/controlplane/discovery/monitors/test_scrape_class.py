"""Scrape classes: what a monitor takes over of one, and what it has of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.clouds.client_credentials import ClientCredentials
from collectors.discovery.discovery import Discovery
from collectors.relabel import Action, RelabelRule
from collectors.target import Auth, IssuedAuth, Proxy
from controlplane.discovery.monitors.monitor import Kind
from controlplane.discovery.monitors.scrape_class import ScrapeClass
from tests.fakes.monitors import pod_monitor, probe, scrape_config
from tests.unit.controlplane.discovery.monitors.test_jobs import CLIENT_ID, ISSUER, made

RULE = RelabelRule(target_label="by", replacement="class")
DROP = RelabelRule(Action.DROP, ("__name__",), regex="go_.*")
AUTH_OF_MESH = Auth(credentials_file="/token", ca_file="/ca")
MESH = ScrapeClass("mesh", auth=AUTH_OF_MESH, relabel=(RULE,), metric_relabel=(DROP,))
OPEN = ScrapeClass("open", is_default=True, auth=Auth(insecure_skip_verify=True))
SHOWN = ScrapeClass("shown", auth=Auth(cert_file="/c", key_file="/k", server_name="mesh.internal"))
ISSUED = ScrapeClass(
    "issued", auth=IssuedAuth(oauth2=ClientCredentials("http://i", "c", Auth(inline="s")), ca_file="/ca")
)
FAR = ScrapeClass("far", auth=Auth(proxy=Proxy("http://q")))
CLASSES = (MESH, OPEN, SHOWN, ISSUED, FAR)
OWN_ISSUER = ClientCredentials(
    "https://idp/token", CLIENT_ID, Auth(inline="i-secret"), ("b", "a"), (("audience", "x"), ("z", "1"))
)
CA: dict[str, Any] = {"ca": {"secret": {"name": "s", "key": "k"}}}
OWN: dict[str, Any] = {"cert": CA["ca"], "keySecret": {"name": "s", "key": "k"}}
OWN_CA = "-----BEGIN CERTIFICATE----- secret s"


@pytest.mark.parametrize(
    ("spec", "endpoint", "auth"),
    [
        ({"scrapeClass": "mesh"}, {}, MESH.auth),
        ({"scrapeClass": "mesh"}, {"tlsConfig": CA}, Auth(credentials_file="/token", ca=OWN_CA)),
        ({"scrapeClass": "mesh"}, {"bearerTokenSecret": {"name": "s", "key": "t"}}, Auth(inline="s-t", ca_file="/ca")),
        ({"scrapeClass": "shown"}, {}, SHOWN.auth),
        ({"scrapeClass": "shown"}, {"tlsConfig": CA}, Auth(cert_file="/c", key_file="/k", ca=OWN_CA)),
        (
            {"scrapeClass": "shown"},
            {"bearerTokenSecret": {"name": "s", "key": "t"}, "tlsConfig": {"serverName": "own.internal"}},
            Auth(inline="s-t", cert_file="/c", key_file="/k", server_name="own.internal"),
        ),
        ({"scrapeClass": "shown"}, {"tlsConfig": OWN}, Auth(cert=OWN_CA, key="s-k")),
        ({"scrapeClass": "mesh"}, {"tlsConfig": OWN}, replace(AUTH_OF_MESH, cert=OWN_CA, key="s-k")),
        ({"scrapeClass": "mesh"}, {"proxyUrl": "http://p"}, replace(AUTH_OF_MESH, proxy=Proxy("http://p"))),
        ({"scrapeClass": "far"}, {}, FAR.auth),
        (
            {"scrapeClass": "far"},
            {"bearerTokenSecret": {"name": "s", "key": "t"}},
            Auth(inline="s-t", proxy=Proxy("http://q")),
        ),
        ({"scrapeClass": "far"}, {"proxyUrl": "http://p"}, Auth(proxy=Proxy("http://p"))),
        ({"scrapeClass": "issued"}, {}, ISSUED.auth),
        (
            {"scrapeClass": "issued"},
            {"bearerTokenSecret": {"name": "s", "key": "t"}},
            Auth(inline="s-t", ca_file="/ca"),
        ),
        ({"scrapeClass": "mesh"}, {"oauth2": ISSUER}, IssuedAuth(oauth2=OWN_ISSUER, ca_file="/ca")),
        ({}, {}, OPEN.auth),
        ({}, {"tlsConfig": CA}, Auth(ca=OWN_CA)),
        ({}, {"tlsConfig": {"insecureSkipVerify": True}}, Auth(insecure_skip_verify=True)),
    ],
)
def test_what_a_monitor_has_of_its_own_takes_precedence(
    spec: dict[str, Any], endpoint: dict[str, Any], auth: Auth
) -> None:
    (group,) = made(Kind.POD, pod_monitor(podMetricsEndpoints=[endpoint], **spec), classes=CLASSES).groups
    assert group.auth == auth


def test_rules_of_a_class_come_before_those_of_the_monitor() -> None:
    own = [{"targetLabel": "by", "replacement": "monitor"}]
    endpoint = {"relabelings": own, "metricRelabelings": own}
    monitors = (
        (Kind.POD, pod_monitor(scrapeClass="mesh", podMetricsEndpoints=[endpoint])),
        (Kind.SCRAPE, scrape_config(scrapeClass="mesh", staticConfigs=[{"targets": ["a"]}], **endpoint)),
        (
            Kind.PROBE,
            probe(
                scrapeClass="mesh",
                prober={"url": "b:1"},
                targets={"staticConfig": {"static": ["a"], "relabelingConfigs": own}},
                metricRelabelings=own,
            ),
        ),
    )
    for kind, found in monitors:
        (group,) = made(kind, found, classes=CLASSES).groups
        assert [rule.replacement for rule in group.relabel[-2:]] == ["class", "monitor"]
        assert group.relabel[-2] is RULE
        assert [rule.action for rule in group.metric_relabel] == [Action.DROP, Action.REPLACE]
        assert group.auth == MESH.auth


def test_an_address_that_a_class_drops_is_told_in_its_words() -> None:
    dropping = ScrapeClass("narrow", relabel=(RULE, RelabelRule(Action.DROP, ("__address__",), regex="a.*")))
    found = scrape_config(
        scrapeClass="narrow",
        staticConfigs=[{"targets": ["a:1", "b:1"]}],
        relabelings=[{"action": "drop", "sourceLabels": ["__address__"]}],
    )
    discovery = Discovery(made(Kind.SCRAPE, found, classes=(dropping,)).groups)
    assert discovery.refresh() == []
    assert [each.reason for each in discovery.dropped] == [
        "relabel_configs[1] of the scrape class narrow must keep it",
        'relabelings[0] (drop): __address__ must not match "(.*)", and is "b:1"',
    ]


def test_an_unknown_class_is_named() -> None:
    found = made(Kind.SCRAPE, scrape_config(scrapeClass="mash", staticConfigs=[{"targets": ["a"]}]), classes=CLASSES)
    assert found.groups == ()
    assert found.left_out == (
        "ScrapeConfig llm/test: scrapeClass: 'mash' is none of scrape_classes: of prometheus_operator; define it there,"
        " so it is left out",
    )
