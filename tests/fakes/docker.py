"""Docker's Engine API over a real socket, as `docker_sd` and Prometheus ask it."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

BACK = {"NetworkID": "n1", "IPAddress": "172.18.0.2"}
CONTAINERS: list[dict[str, Any]] = [
    {"Id": "c1", "Names": ["/chat", "/other"], "Labels": {"com.x/model": "chat"},
     "HostConfig": {"NetworkMode": "back"},
     "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 18000, "Type": "tcp"},
               {"PrivatePort": 9000, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
     "NetworkSettings": {"Networks": {"zone": {"NetworkID": "n2", "IPAddress": "172.19.0.2"}, "back": BACK}}},
    {"Id": "c2", "Names": ["/side"], "Labels": {}, "HostConfig": {"NetworkMode": "container:c1"},
     "Ports": [{"PrivatePort": 53, "Type": "udp"}], "NetworkSettings": {"Networks": {}}},
    {"Id": "c3", "Names": ["/v6"], "HostConfig": {"NetworkMode": "zone"}, "Ports": [],
     "NetworkSettings": {"Networks": {"zone": {"NetworkID": "n9", "IPAddress": "fd00::5"}}}},
    {"Id": "c4", "Names": ["/onhost"], "HostConfig": {"NetworkMode": "host"}, "Ports": [],
     "NetworkSettings": {"Networks": {"host": {"NetworkID": "n3", "IPAddress": ""}}}},
    {"Id": "c5", "Names": [], "HostConfig": {"NetworkMode": "zone"}, "Ports": [],
     "NetworkSettings": {"Networks": {"zone": {"NetworkID": "n2", "IPAddress": "172.19.0.9"}}}},
    {"Id": "c6", "Names": ["/circle"], "HostConfig": {"NetworkMode": "container:none"}, "Ports": [],
     "NetworkSettings": {"Networks": {}}},
]  # fmt: skip
"""Containers of every kind of network."""
NETWORKS: list[dict[str, Any]] = [
    {"Id": "n1", "Name": "back", "Scope": "local", "Internal": True, "Ingress": False, "Labels": {"a.b": "c"}},
    {"Id": "n2", "Name": "zone", "Scope": "swarm", "Internal": False, "Ingress": True},
    {"Id": "n3", "Name": "host", "Scope": "local", "Internal": False, "Ingress": False, "Labels": {}},
]


@dataclass
class Docker:
    """What the daemon answers next."""

    containers: Any = field(default_factory=lambda: CONTAINERS)
    networks: Any = field(default_factory=lambda: NETWORKS)
    status: int = 200
    asked: list[str] = field(default_factory=list)
    """Last parts of the paths, and filters."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def docker(folder: Path) -> Iterator[tuple[Docker, Path]]:
    """Serve the API until the block ends. Yields it with the path of its socket."""
    daemon, path = Docker(), folder / "docker.sock"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            answers = {"json": daemon.containers, "networks": daemon.networks}
            last = parts.path.rpartition("/")[2]
            daemon.asked += [last, *parse_qs(parts.query).get("filters", [])]
            given = answers.get(last, {})
            body = given if isinstance(given, bytes) else json.dumps(given).encode()
            self.send_response(daemon.status if last in answers else 200)
            self.send_header("Api-Version", "1.41")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with _Server(os.fspath(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield daemon, path
        finally:
            server.shutdown()
            thread.join()
