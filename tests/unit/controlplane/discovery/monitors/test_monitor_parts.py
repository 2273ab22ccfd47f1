"""Parts of monitors that are wrong or come from elsewhere: entries of lists of labels, and authorities."""

from __future__ import annotations

import pytest

from collectors.target import Auth
from controlplane.discovery.monitors.monitor import Kind
from tests.fakes.monitors import pod_monitor, service_monitor
from tests.unit.controlplane.discovery.monitors.test_jobs import made


def test_an_empty_entry_of_a_list_of_labels_is_told_by_its_place_and_takes_no_target_away() -> None:
    found = made(
        Kind.SERVICE, service_monitor(targetLabels=["", "team"], podTargetLabels=["model", ""], endpoints=[{}])
    )
    (group,) = found.groups
    assert {"team", "model"} <= {rule.target_label for rule in group.relabel}
    assert len(group.relabel) == len(made(Kind.SERVICE, service_monitor(endpoints=[{}])).groups[0].relabel) + 2
    assert found.remarks == (
        "ServiceMonitor llm/test: targetLabels[0] is empty and has no effect",
        "ServiceMonitor llm/test: podTargetLabels[1] is empty and has no effect",
    )
    wrong = pod_monitor(podTargetLabels=["model", 7], podMetricsEndpoints=[{}])
    assert made(Kind.POD, wrong).left_out == (
        "PodMonitor llm/test: podTargetLabels[1]: expected a text, got the number 7, so it is left out",
    )


@pytest.mark.parametrize("of", ["secret", "configMap"])
def test_an_authority_may_come_from_a_secret_or_a_config_map(of: str) -> None:
    endpoint = {"tlsConfig": {"ca": {of: {"name": "c", "key": "ca.crt"}}}}
    (group,) = made(Kind.SERVICE, service_monitor(endpoints=[endpoint])).groups
    assert group.auth == Auth(ca=f"-----BEGIN CERTIFICATE----- {of} c")
    (sentence,) = made(
        Kind.SERVICE, service_monitor(endpoints=[endpoint]), lambda of, field, *, of_map=False: "s3cret"
    ).left_out
    assert f"tlsConfig.ca.{of}: expected a certificate in PEM, which begins with -----BEGIN CERT" in sentence
    assert "s3cret" not in sentence
