"""A real nginx with two workers, whose file of weights is written by the driver."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.errors import Unavailable
from controlplane.traffic.nginx.workers import workers
from tests.patience import PROCESS_S
from tests.ports import free_address

WORKERS = 2


class RealNginx:
    """One nginx. It can be reloaded and restarted."""

    def __init__(self, folder: Path, stable: str, pass_to: str = "chat", sticky: str | None = None) -> None:
        """`stable` is host:port of the server that gets every request at first."""
        self.folder, self.address = folder, free_address()
        self.include, self.config, self.log = folder / "chat.conf", folder / "nginx.conf", folder / "chat.log"
        log = "log_format controlplane_chat '$pid $upstream_addr';\n"
        if sticky is None:
            self.include.write_text(f"{log}upstream chat {{\n  server {stable};\n}}\n")
        else:
            split = f"split_clients {sticky} $chat_upstream {{\n  * chat_v1;\n}}\n"
            self.include.write_text(f"{log}upstream chat_v1 {{\n  server {stable};\n}}\n{split}")
        self.config.write_text(_CONFIG.format(folder=folder, address=self.address, pass_to=pass_to, workers=WORKERS))

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://{self.address}"

    def fields(self) -> dict[str, Any]:
        """Return the fields of `traffic:` for it."""
        return {"config": str(self.config), "pid_file": f"{self.folder}/nginx.pid", "access_log": str(self.log)}

    def start(self) -> None:
        """Start it, and wait until it listens and has its workers."""
        self.process = subprocess.Popen(["nginx", "-c", self.config], stderr=subprocess.DEVNULL)
        host, port = self.address.split(":")
        deadline = time.monotonic() + PROCESS_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port))).close()
                if (self.folder / "nginx.pid").exists() and self.log.exists() and self._has_workers():
                    return
            errors = (self.folder / "error.log").read_text() if (self.folder / "error.log").exists() else ""
            assert self.process.poll() is None and time.monotonic() < deadline, errors
            time.sleep(0.02)

    def _has_workers(self) -> bool:
        """Return whether both workers run: one that is forked later would look like a reload."""
        with contextlib.suppress(Unavailable):
            return len(workers(self.folder / "nginx.pid").serving) == WORKERS
        return False

    def stop(self) -> None:
        """End it and its workers at once."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PROCESS_S)

    def restart(self) -> None:
        """End it, and start it again."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[RealNginx]:
        """Run it until the block ends."""
        self.start()
        try:
            yield self
        finally:
            self.stop()


_CONFIG = """\
daemon off;
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 100; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/chat.conf;
  server {{
    listen {address};
    access_log {folder}/chat.log controlplane_chat;
    location / {{
      proxy_pass http://{pass_to};
      proxy_read_timeout 600s;
    }}
  }}
}}
"""
