"""A running control plane scrapes the gateway of its fleet.yaml, and prefers its numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.gateway.request import Outcome
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.exposition import CONTENT_TYPE, Exposition
from controlplane.gateway.telemetry.recorder import WorkerRecorder
from tests.contract.real_servers import control_plane
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import BACKEND, record
from tests.patience import HANG_S, wait_until

FLEET = """
fleet: {{name: test}}
scrape: {{interval: 1s, timeout: 1s}}
gateway: {{admin: "{admin}"}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: none}}
    versions: {{v1: {{}}, v2: {{}}}}
"""


@contextmanager
def served(exposition: Exposition, whole: threading.Lock) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with whole:
                text = exposition.text()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_models_show_what_the_gateway_counts(tmp_path: Path) -> None:
    whole = threading.Lock()  # a scrape sees a whole batch of requests, so that their ratio is exact
    with shared_memory(AREA_BYTES) as memory:
        recorder = WorkerRecorder(meters_of(memory, 0))
        with served(exposition_of(memory), whole) as admin, control_plane(tmp_path, FLEET.format(admin=admin)) as plane:

            def get(path: str) -> Any:
                return httpx.get(f"{plane.url}{path}", headers=plane.headers, timeout=HANG_S).json()["items"]

            version: dict[str, Any] = {}

            def counted() -> bool:
                with whole:
                    for outcome in (Outcome.OK, Outcome.OK, Outcome.OK, Outcome.CUT):
                        recorder.began("chat", "v1", BACKEND)
                        recorder.ended(record(outcome=outcome), opened=True)
                (model,) = get("/cp/v1/models")
                version.update(next(v for v in model["versions"] if v["version"] == "v1"))
                return bool(version["error_source"] == "gateway")

            wait_until(counted)
            assert version["error_ratio"] == pytest.approx(0.25)
            assert version["requests_per_second"] > 0
            targets = get("/cp/v1/targets")
            assert [t["instance"] for t in targets if t["engine"] == "gateway"] == [admin]
