"""One Docker socket for this project and for a real Prometheus: the same addresses and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.real_servers import prometheus
from tests.contract.test_discovery_prometheus import ours
from tests.contract.test_relabel_scrapes_prometheus import settled, told
from tests.fakes.docker import docker

pytestmark = pytest.mark.needs("prometheus")

CONFIG = """\
global: {scrape_interval: 2s, scrape_timeout: 1s}
scrape_configs:
  - job_name: first
    docker_sd_configs: [{host: "unix://SOCKET"}]
  - job_name: each
    docker_sd_configs:
      - host: unix://SOCKET
        port: 8100
        match_first_network: false
        host_networking_host: here:7
        filters: [{name: label, values: [a, b]}, {name: status, values: [running]}]
"""


def test_the_same_containers_make_the_same_targets(tmp_path: Path) -> None:
    with docker(tmp_path) as (_, path):
        config = CONFIG.replace("SOCKET", str(path))
        with prometheus(tmp_path, config) as url:
            theirs = settled(url, 2)["activeTargets"]
        _, targets = ours(tmp_path)
    assert told(dict(t.discovered) for t in targets) == told(t["discoveredLabels"] for t in theirs)
    assert told(t.url for t in targets) == told(t["scrapeUrl"] for t in theirs)
    assert len(targets) == 5 + 8
