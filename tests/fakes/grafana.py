"""A Grafana on loopback that keeps dashboards as the real one does, and can misbehave."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.on_a_thread import serving

TOKEN = "glsa_Zm9vYmFy_0a1b2c3d"


class FakeGrafana:
    """Dashboards with their history. Set its fields to misbehave.

    `raises_schema`: it stores a newer schema than it got, as Grafana 12 does. `bare_versions`: its list of versions is
    not wrapped, as in Grafana 10. `answer`: every request gets this status, content type and body. `edit_before_save`:
    somebody saves each dashboard between a push's look and its save.
    """

    def __init__(self) -> None:
        self.url = ""
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.folders: dict[str, str] = {}
        self.folder_of: dict[str, str] = {}
        self.provisioned: set[str] = set()
        self.asked: list[str] = []
        self.raises_schema = self.bare_versions = self.edit_before_save = False
        self.answer: tuple[int, str, bytes] | None = None

    def save(self, dashboard: dict[str, Any], message: str = "") -> int:
        """Store a version of a dashboard, as the page of Grafana does; return its number."""
        uid = dashboard["uid"]
        version = len(self.history.setdefault(uid, [])) + 1
        self.history[uid].append({"version": version, "message": message})
        stored = {**dashboard, "id": 7, "version": version}
        if self.raises_schema:
            stored |= {"schemaVersion": 42, "preload": False}
        self.dashboards[uid] = stored
        return version

    def reply(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        if path.startswith("/api/folders"):
            return self._folder(method, path, body)
        if method == "POST":
            return self._save(body)
        uid = path.split("/")[4]
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        if path.partition("?")[0].endswith("/versions"):
            newest = self.history[uid][::-1][: int(path.partition("limit=")[2])]
            return 200, newest if self.bare_versions else {"continueToken": "", "versions": newest}
        meta = {"provisioned": uid in self.provisioned, "folderUid": self.folder_of.get(uid, "")}
        return 200, {"meta": meta, "dashboard": self.dashboards[uid]}

    def _folder(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            self.folders[body["uid"]] = body["title"]
            return 200, body
        uid = path.split("/")[3]
        return (200, {"uid": uid}) if uid in self.folders else (404, {"message": "folder not found"})

    def _save(self, body: Any) -> tuple[int, Any]:
        dashboard = body["dashboard"]
        if body["folderUid"] and body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        uid = dashboard["uid"]
        if self.edit_before_save and uid in self.dashboards:
            self.save(self.dashboards[uid] | {"title": "edited"})
        there = self.dashboards.get(uid)
        if there is not None and there["version"] != dashboard["version"] and not body["overwrite"]:
            return 412, {"status": "version-mismatch", "message": "The dashboard has been changed by someone else"}
        self.folder_of[uid] = body["folderUid"]
        version = self.save({k: v for k, v in dashboard.items() if k not in ("id", "version")}, body["message"])
        return 200, {"status": "success", "uid": uid, "version": version}


@contextmanager
def running_grafana() -> Iterator[FakeGrafana]:
    """Serve a fake Grafana under the path /grafana until the block ends."""
    fake = FakeGrafana()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.asked.append(f"{self.command} {self.path}")
            if fake.answer is not None:
                status, kind, text = fake.answer
            elif not self.path.startswith("/grafana/"):
                status, kind, text = 302, "text/html", b"<html>Found</html>"
            else:
                path = self.path.removeprefix("/grafana")
                status, found = fake.reply(self.command, path, self.headers.get("Authorization", ""), body)
                kind, text = "application/json; charset=UTF-8", json.dumps(found).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/login")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _do  # noqa: N815 - the names are those of http.server

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as address:
        fake.url = f"http://{address}/grafana"
        yield fake
