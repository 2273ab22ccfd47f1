"""Docker's Engine API for one container's log, over a real socket, in the form that the docker command reads.

Without a terminal, each piece of output is a frame: the stream's number in one byte, three zero bytes, the length in
four bytes, the piece. With a terminal the output is raw.
"""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Container:
    """A container with a log. Each line is its time in nanoseconds of unix time, its stream (1 or 2) and its text."""

    tty: bool = False
    lines: list[tuple[int, int, str]] = field(default_factory=list)
    gone: bool = False
    asked: list[str] = field(default_factory=list)
    """Value of `since` of each reading."""

    def log(self, since: str) -> bytes:
        """Return the output since a time, `SECONDS.NANOSECONDS`, with times."""
        seconds, _, rest = since.partition(".")
        pieces = [(stream, _piece(at, text, tty=self.tty)) for at, stream, text in self.lines
                  if at >= int(seconds) * 10**9 + int(rest or 0)]  # fmt: skip
        return b"".join(
            piece if self.tty else struct.pack(">BxxxL", stream, len(piece)) + piece for stream, piece in pieces
        )


_FRAMED = "application/vnd.docker.multiplexed-stream"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def container(folder: Path) -> Iterator[tuple[Container, str]]:
    """Serve a container named `engine` until the block ends. Yields it with the value of DOCKER_HOST."""
    own, path = Container(), folder / "engine.sock"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            match parts.path.rpartition("/")[2]:
                case "_ping":
                    self._answer(200, b"OK", "text/plain")
                case "json" if own.gone:
                    self._answer(404, b'{"message":"No such container: engine"}', "application/json")
                case "json":
                    told = {"Id": "c1", "Name": "/engine", "Config": {"Tty": own.tty}}
                    self._answer(200, json.dumps(told).encode(), "application/json")
                case "logs":
                    self._log(parse_qs(parts.query).get("since", ["0"])[0])

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Api-Version", "1.41")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _log(self, since: str) -> None:
            own.asked.append(since)
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.docker.raw-stream" if own.tty else _FRAMED)
            self.end_headers()
            self.wfile.write(own.log(since))

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with _Server(os.fspath(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield own, f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


def _piece(at: int, text: str, *, tty: bool) -> bytes:
    seconds, rest = divmod(at, 10**9)
    told = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{told}.{rest:09d}Z {text}".encode() + (b"\r\n" if tty else b"\n")
