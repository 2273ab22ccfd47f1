"""A control plane as the CLI sees it: HTTP on a real socket, with answers that a test puts in; and a home."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from controlplane.config.context import Context, Contexts, contexts_path, write_contexts

TOKEN = "cp_1_secret"


class Request(NamedTuple):
    """What came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, JSON (bytes: as they are), and headers. Status 0: the connection is closed without an answer."""


class FakeControlPlane:
    """Answers by method and path; a callable is called with the request."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[Request], Reply]] = {
            "GET /cp/v1/version": (
                200,
                {
                    "version": "0.1.0",
                    "fleet": "prod-eu",
                    "observe_only": False,
                    "started_at": "2026-01-01T00:00:00.000Z",
                },
            )
        }
        self.requests: list[Request] = []
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, parts.path, parse_qs(parts.query), headers, body)
                plane.requests.append(request)
                found = plane.replies.get(f"{request.method} {request.path}", (404, {"detail": "no such thing"}))
                status, content, *extra = found(request) if callable(found) else found
                if not status:
                    self.close_connection = True
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in (extra[0] if extra else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that the library looks for

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def paths(self) -> list[str]:
        return [f"{r.method} {r.path}" for r in self.requests]


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    made = FakeControlPlane()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without contexts, and none of the caller's variables; returns the contexts' file."""
    for name in ("CP_URL", "CP_TOKEN", "CP_CONTEXT", "NO_COLOR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache"), ("HOME", "home")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    return contexts_path({"XDG_CONFIG_HOME": str(tmp_path / "config")})


@pytest.fixture
def current(plane: FakeControlPlane, home: Path) -> FakeControlPlane:
    """The fake plane as the current context `prod`."""
    write_contexts(home, Contexts("prod", {"prod": Context(plane.url, TOKEN)}))
    return plane
