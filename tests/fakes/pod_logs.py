"""A Kubernetes API with one pod, `engine`, as far as `kubectl logs` asks for it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_PODS = "/api/v1/namespaces/default/pods/"
_KNOWN: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get"]}],
    },
    f"{_PODS}engine": {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "engine", "namespace": "default"},
        "spec": {"containers": [{"name": "vllm"}]},
    },
}


@dataclass
class Pod:
    """What each reading of the log gets, and what was asked for."""

    output: str = ""
    asked: list[str] = field(default_factory=list)
    """Query of each reading of the log."""


@contextmanager
def pod() -> Iterator[tuple[Pod, str]]:
    """Serve the pod until the block ends. Yields it with the server's URL. A reading ends as with its container."""
    own = Pod()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == f"{_PODS}engine/log":
                own.asked.append(parts.query)
                self._answer(200, own.output.encode(), "text/plain")
            elif parts.path in _KNOWN:
                self._answer(200, json.dumps(_KNOWN[parts.path]).encode())
            else:
                why = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                self._answer(404, json.dumps({**why, "message": "pods not found"}).encode())

        def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield own, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
