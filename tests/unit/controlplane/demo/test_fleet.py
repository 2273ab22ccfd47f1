from __future__ import annotations

from pathlib import Path

import pytest

from alerts.packs import load_sources
from controlplane.config.model import Fleet
from controlplane.demo.faults import SLOW_S
from controlplane.demo.fleet import GatewayPart, Ports, TritonPart, fleet_yaml
from tests.fakes.fleet_text import parse_fleet

PORTS = Ports(vllm_v1=1001, vllm_v2=1002, dcgm=1003, admin=1004, load_stats=1005, gateway=1009, gateway_admin=1010)
GATEWAY = GatewayPart("http://127.0.0.1:1011", Path("/tmp/d/gateway-token"))
TRITON = TritonPart("http://127.0.0.1:1006", "127.0.0.1:1008", "http://127.0.0.1:1007/metrics", Path("/tmp/d/models"))


def parse(triton: TritonPart | None = TRITON, **options: str) -> Fleet:
    return parse_fleet(fleet_yaml(PORTS, GATEWAY, triton, **options), Path("fleet.yaml"))


def test_the_real_triton_is_a_model_with_two_versions_and_a_local_repository() -> None:
    model = {m.name: m for m in parse().models}["model"]
    assert (model.stable, sorted(model.versions), model.traffic.driver) == ("v1", ["v1", "v2"], "triton")
    (backend,) = model.traffic.backends
    assert (backend.url, backend.metrics, backend.repository) == (
        TRITON.http_url,
        TRITON.metrics_url,
        TRITON.repository,
    )
    assert backend.labels == {}


def test_everything_simulated_says_so() -> None:
    fleet = parse()
    chat = {m.name: m for m in fleet.models}["chat"]
    assert chat.traffic.driver == "gateway"
    backends = [version.backends[0] for version in chat.versions.values()]
    assert [(b.url, b.engine, b.labels) for b in backends] == [
        (f"http://127.0.0.1:{port}", "vllm", {"simulated": "true"}) for port in (1001, 1002)
    ]
    simulated = [t for t in fleet.targets if "generate_stream" not in "".join(t.urls)]
    assert [t.engine for t in simulated] == ["dcgm", "gateway", "probe", "probe"]
    assert all(t.labels["simulated"] == "true" for t in simulated)


def test_the_gateway_follows_the_demos_control_plane_with_its_own_token() -> None:
    gateway = parse().gateway
    assert (gateway.listen, gateway.admin, gateway.authentication) == ("127.0.0.1:1009", "127.0.0.1:1010", "keys")
    followed = gateway.control_plane
    assert followed is not None
    assert followed.authorization is not None
    assert (followed.url, followed.authorization.credentials_file) == (GATEWAY.control_plane, GATEWAY.token_file)


def test_without_triton_its_model_and_probe_are_left_out() -> None:
    fleet = parse(None)
    assert [m.name for m in fleet.models] == ["chat"]
    assert "generate_stream" not in str(fleet.targets)


def test_alerts_go_to_the_log_unless_a_slack_channel_is_given() -> None:
    route = parse().route
    assert route is not None
    assert route.receiver == "log"
    fleet = parse(slack_channel="#demo")
    assert fleet.route is not None
    assert fleet.route.receiver == "slack"
    assert [n.channel for n in fleet.notifiers if n.type == "slack"] == ["#demo"]


@pytest.mark.parametrize("triton", [TRITON, None])
def test_an_alert_s_whole_life_fits_into_a_minute(triton: TritonPart | None) -> None:
    fleet = parse(triton)
    assert fleet.route is not None
    for threshold in fleet.thresholds.values():
        slowest = (
            (threshold.for_ or 0) + (threshold.window or 0) + 2 * fleet.evaluation_interval + fleet.scrape.interval
        )
        assert slowest + fleet.route.group_interval < 60


def test_its_thresholds_are_the_built_in_packs_own(tmp_path: Path) -> None:
    fleet = parse()
    alerts = {rule.name for group in load_sources(fleet.rules, tmp_path, fleet.thresholds) for rule in group.rules}
    assert {"LLMLatencyP99High", "GPUTemperatureHigh"} <= alerts


def test_a_probe_waits_for_an_answer_that_slow_v2_delays() -> None:
    probes = [t for t in parse().targets if t.engine == "probe"]
    assert len(probes) == 3
    for probe in probes:
        assert probe.timeout is not None
        assert probe.timeout * 0.9 > SLOW_S + 1.0  # the longest answer of either engine takes 0.8 s
