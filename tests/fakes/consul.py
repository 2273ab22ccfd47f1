"""Consul's HTTP API, as `consul_sd` and Prometheus ask it."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.on_a_thread import serving

NODE = {
    "Node": "n1",
    "Address": "10.0.0.1",
    "Meta": {"rack.id": "a"},
    "TaggedAddresses": {"lan": "10.0.0.1", "wan": "198.51.100.1"},
}


def instance(number: int, tags: list[str], **service: Any) -> dict[str, Any]:
    """Return an instance of a service, at a port of its own."""
    own = {"ID": f"i{number}", "Service": "x", "Tags": tags, "Address": "", "Port": 8000 + number, "Meta": {}}
    return {"Node": NODE, "Service": {**own, **service}, "Checks": [{"CheckID": "serfHealth", "Status": "passing"}]}


def services() -> dict[str, list[dict[str, Any]]]:
    """Return instances of services in every form."""
    critical = instance(3, ["gpu", "b"], Address="fd00::5", Meta={"model": "chat", "odd-name": "1"})
    critical["Checks"] += [{"CheckID": "c", "Status": "critical"}, {"CheckID": "w", "Status": "warning"}]
    resting = instance(4, ["gpu"], Namespace="team", Partition="east")
    resting["Checks"].append({"CheckID": "_service_maintenance:i4", "Status": "critical"})
    unchecked = instance(6, [])
    unchecked["Checks"] = []
    return {
        "chat": [instance(1, ["gpu", "a"]), instance(2, ["a"], Address="chat.example"), critical],
        "embed/v2": [resting],
        "consul": [instance(5, []), unchecked],
    }


@dataclass
class Consul:
    """What the agent answers next."""

    services: dict[str, Any] = field(default_factory=services)
    status: int = 200
    body: bytes | None = None
    """Answer to questions for instances; None: the right one."""
    asked: list[tuple[str, dict[str, list[str]], str]] = field(default_factory=list)
    """Path, parameters and Authorization of each question."""

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return the JSON of an answer."""
        if path == "/v1/agent/self":
            return {"Config": {"Datacenter": "dc1"}}
        if path == "/v1/catalog/services":
            return {name: _tags(found) for name, found in self.services.items()}
        found = self.services.get(unquote(path.removeprefix("/v1/health/service/")), [])
        return [each for each in found if set(query.get("tag", [])) <= set(each["Service"]["Tags"])]


def _tags(instances: Any) -> Any:
    return sorted({tag for each in instances for tag in each["Service"]["Tags"]})


@contextmanager
def consul() -> Iterator[tuple[Consul, str]]:
    """Serve the API until the block ends. Yields it with its host and port."""
    running = Consul()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            access = self.headers.get("Authorization") or self.headers.get("X-Consul-Token") or ""
            running.asked.append((parts.path, query, access))
            of_instances = parts.path.startswith("/v1/health/")
            body = running.body if of_instances and running.body is not None else None
            body = json.dumps(running.answer(parts.path, query)).encode() if body is None else body
            self.send_response(running.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Consul-Index", "7")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with serving(Handler) as server:
        yield running, server
