"""Two models of one fleet.yaml cannot write the same file or the same backend of a proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

FLEET = """\
fleet: {{name: f}}
models:
  - name: chat
    stable: v1
    traffic: {{{first}}}
    versions: {{v1: {{backends: [{{url: "http://10.0.0.7:8000", engine: vllm}}]}}}}
  - name: code
    stable: v1
    traffic: {{{second}}}
    versions: {{v1: {{backends: [{{url: "http://10.0.0.8:8000", engine: vllm}}]}}}}
"""
INSTANCES = "driver: haproxy, instances: [{socket: /run/h.sock, config: /etc/haproxy/haproxy.cfg}]"


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (
            "driver: nginx, include: /etc/nginx/a.conf",
            "driver: nginx, include: /etc/nginx/a.conf",
            "models[1].traffic.include: file /etc/nginx/a.conf already belongs to model chat",
        ),
        (
            INSTANCES,
            f"{INSTANCES}, backend: chat",
            "models[1].traffic.instances[0].socket: backend chat of /run/h.sock already belongs to model chat",
        ),
    ],
)
def test_traffic_that_another_model_moves_is_refused(first: str, second: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as found:
        parse_fleet(FLEET.format(first=first, second=second), tmp_path)
    assert [str(error).partition(": ")[2] for error in found.value.errors] == [fault]


def test_models_of_one_proxy_may_share_its_file(tmp_path: Path) -> None:
    fleet = parse_fleet(FLEET.format(first=INSTANCES, second=INSTANCES), tmp_path)
    assert [model.name for model in fleet.models] == ["chat", "code"]
