"""A real Envoy with two workers, whose routes come from a file that the driver writes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_address

PROGRAM = Path(sys.prefix) / "bin" / "envoy"
_TYPE = "type.googleapis.com/envoy.extensions.filters"
_MANAGER = f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager"


class RealEnvoy:
    """One Envoy with a cluster for each server. The first cluster of each model gets every request at first."""

    def __init__(self, folder: Path, clusters: Mapping[str, str], *others: str) -> None:
        """`clusters` maps a cluster's name, MODEL_VERSION, to the host:port of its server.

        Each of the models `others` has a route of its own, for the paths below its name.
        """
        self.folder, self.address, admin = folder, free_address(), free_address()
        self.url, self.admin = f"http://{self.address}", f"http://{admin}"
        (folder / "rds").mkdir()
        self.routes = folder / "rds" / "routes.yaml"
        routes = [_route(f"/{model}/", [c for c in clusters if c.startswith(f"{model}_")]) for model in others]
        routes.append(_route("/", [c for c in clusters if not c.startswith(tuple(f"{model}_" for model in others))]))
        self.routes.write_text(_ROUTES + "".join(routes))
        (folder / "envoy.json").write_text(json.dumps(self._bootstrap(admin, clusters)))

    def start(self) -> None:
        """Start it, and wait until it has its routes."""
        command = [str(PROGRAM), "-c", "envoy.json", "--concurrency", "2", "--disable-hot-restart", "-l", "warning"]
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + PROCESS_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.admin}/ready", timeout=HANG_S).status_code == 200:
                    return
            log_text = (self.folder / "envoy.log").read_text()
            assert self.process.poll() is None and time.monotonic() < deadline, log_text
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(PROCESS_S)

    def restart(self) -> None:
        """End it, and start it again."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[RealEnvoy]:
        """Run it until the block ends."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def _bootstrap(self, admin: str, clusters: Mapping[str, str]) -> dict[str, Any]:
        source = {
            "path_config_source": {"path": str(self.routes), "watched_directory": {"path": str(self.routes.parent)}},
            "resource_api_version": "V3",
        }
        router = {"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}}
        manager = {
            "@type": _MANAGER,
            "stat_prefix": "llm",
            "http_filters": [router],
            "rds": {"route_config_name": "llm", "config_source": source},
        }
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        return {
            "node": {"id": "n", "cluster": "c"},
            "admin": {"address": _socket(admin)},
            "static_resources": {
                "listeners": [{"name": "llm", "address": _socket(self.address), "filter_chains": [chain]}],
                "clusters": [_cluster(name, address) for name, address in clusters.items()],
            },
        }


def _route(prefix: str, clusters: Sequence[str]) -> str:
    head = f"""\
    - match: {{prefix: {prefix}}}
      route:
        timeout: 0s  # streams are long
        weighted_clusters:
          clusters:
"""
    weights = zip(clusters, [100, *[0] * len(clusters)], strict=False)
    return head + "".join(f"          - name: {n} # of the model\n            weight: {w}\n" for n, w in weights)


def _socket(address: str) -> dict[str, Any]:
    host, port = address.split(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _cluster(name: str, address: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(address)}}
    endpoints = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "1s", "type": "STATIC", "load_assignment": endpoints}


_ROUTES = """\
version_info: "0"
resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: llm
  virtual_hosts:
  - name: chat
    domains: ["*"]
    routes:
"""
