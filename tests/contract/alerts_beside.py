"""A real Prometheus and this project's control plane beside each other: one target, one rule file, two stories.

Prometheus sends its alerts to a receiver that records them. The control plane's story is the history in its database.
"""

from __future__ import annotations

import http.server
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from tests.contract.real_servers import ControlPlane, control_plane, prometheus
from tests.patience import HANG_S

SKEW_S = 4.0
"""Largest difference of two times: both scrape and evaluate every second, each in a phase of its own, when busy."""
GAP_S = 2.5
"""Longest time between two scrapes or evaluations, both of which are due every second, in which nothing was lost."""

Pairs = tuple[tuple[str, str], ...]


class Episode(NamedTuple):
    """One alert from its firing to its end. Times are unix seconds."""

    labels: Pairs
    annotations: Pairs
    """Those of the end, or the last ones that are known."""
    starts_at: float
    ends_at: float | None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def _serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(HANG_S)


class Beside:
    """Both servers. `expose` sets what their target says from now on."""

    def __init__(self, folder: Path, rules: str) -> None:
        self.folder, self.rules = folder, rules
        self.body = b""
        self.received: list[tuple[float, Mapping[str, Any]]] = []
        self.prometheus_url = ""
        self.plane: ControlPlane | None = None

    def expose(self, text: str) -> None:
        self.body = text.encode()

    @contextmanager
    def running(self) -> Iterator[Beside]:
        beside = self

        class Exposing(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(beside.body)))
                self.end_headers()
                self.wfile.write(beside.body)

            def log_message(self, format: str, *args: object) -> None: ...

        class Receiving(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                beside.received += [(time.time(), alert) for alert in json.loads(body)]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        far, near = self.folder / "far", self.folder / "near"
        for folder in (far, near):
            folder.mkdir()
            (folder / "rules.yml").write_text(self.rules)
        with _serving(Exposing) as target, _serving(Receiving) as receiver:
            scrape = f"[{{job_name: app, static_configs: [{{targets: ['{target}'], labels: {{model: chat}}}}]}}]"
            config = (
                "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
                f"rule_files: [{far}/rules.yml]\nscrape_configs: {scrape}\n"
                f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{receiver}']}}]}}]}}\n"
            )
            fleet = (
                "fleet: {name: test}\nevaluation_interval: 1s\nscrape: {interval: 1s, timeout: 1s}\n"
                "rules: [rules.yml]\n"
                f"targets: [{{engine: custom, addresses: ['{target}'], labels: {{model: chat, job: app}}}}]\n"
                "notifiers: [{name: file, type: log}]\nroute: {receiver: file}\n"
            )
            with (
                prometheus(far, config, "--rules.alert.resend-delay=1s") as self.prometheus_url,
                control_plane(near, fleet) as self.plane,
            ):
                yield self

    def theirs(self) -> list[Episode]:
        """Return the episodes that Prometheus sent, in the order of their starts."""
        found: dict[tuple[Pairs, str], Episode] = {}
        for at, alert in self.received:
            labels, annotations = (tuple(sorted(alert.get(kind, {}).items())) for kind in ("labels", "annotations"))
            ends_at = _seconds(alert["endsAt"])
            episode = Episode(labels, annotations, _seconds(alert["startsAt"]), ends_at if ends_at <= at else None)
            found[(labels, alert["startsAt"])] = episode
        return sorted(found.values(), key=lambda episode: (episode.starts_at, episode.labels))

    def ours(self) -> list[Episode]:
        """Return the episodes in the control plane's history, in the order of their starts."""
        db = Database(f"sqlite:///{next((self.folder / 'near/data').glob('*.db'))}")
        try:
            log = SqlAlertLog(db)
            found = {}
            active = {(alert.labels, alert.fired_at): alert for alert in log.active()}
            for event in reversed(log.recent(10_000)):
                alert = active.get((event.instance.labels, event.instance.fired_at), event.instance)
                if alert.fired_at is not None:
                    key = (alert.labels, alert.fired_at)
                    found[key] = Episode(alert.labels, alert.annotations, alert.fired_at, alert.resolved_at)
            return sorted(found.values(), key=lambda episode: (episode.starts_at, episode.labels))
        finally:
            db.close()

    def disturbed(self, began: float) -> str:
        """Return what the machine has made too late since a unix second; "" when both scraped and evaluated in time.

        A scrape that is lost, or a second in which nothing happens, changes when alerts begin and end. That is no
        difference between the two.
        """
        span = f"{math.ceil(time.time() - began)}s"
        for who, url, headers in self._servers():
            for expr in ("up{job='app'}", "app:depth:max"):
                times = []
                for series in self._asked(url, headers, f"{expr}[{span}]"):
                    times = [at for at, _ in series["values"]]
                    if expr.startswith("up") and any(value != "1" for _, value in series["values"]):
                        return f"{who} has lost a scrape"
                if max((later - at for at, later in pairwise(times)), default=math.inf) > GAP_S:
                    return f"{who} was late with {expr}"
        return ""

    def _servers(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        assert self.plane is not None
        yield "Prometheus", self.prometheus_url, {}
        yield "the control plane", self.plane.url, self.plane.headers

    def _asked(self, url: str, headers: Mapping[str, str], expr: str) -> Any:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": expr}, headers=dict(headers), timeout=HANG_S).json()
        return answer["data"]["result"]

    def api(self, path: str, **params: str | list[str]) -> tuple[Any, Any]:
        """Return both servers' answers: Prometheus's, then ours. FOLDER in a parameter is that server's own folder."""
        assert self.plane is not None
        theirs = httpx.get(f"{self.prometheus_url}{path}", params=_in(self.folder / "far", params), timeout=HANG_S)
        own = _in(self.folder / "near", params)
        ours = httpx.get(f"{self.plane.url}{path}", params=own, headers=self.plane.headers, timeout=HANG_S)
        return theirs.json(), ours.json()


def _in(folder: Path, params: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    values = {name: [value] if isinstance(value, str) else value for name, value in params.items()}
    return {name: [value.replace("FOLDER", str(folder)) for value in found] for name, found in values.items()}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
