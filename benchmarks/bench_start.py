"""CPU and wall time to start a verb, as a ratio to `promtool --version` in the same run.

promtool is a Go program that prints a line and ends. `python -c pass` is the minimum for a program in Python. Targets:
0.12 s of CPU for a verb that uses HTTP, 1 s until `up` has refused a bad file.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

ROUNDS = 15
PROGRAM = str(Path(sys.executable).parent / "controlplane")
BAD = "fleet: {nmae: x}\nrules: [rules.yml]\n"
BAD_RULES = "fleet: {name: x}\nrules: [rules.yml]\n"
RULES = 'groups: [{name: g, rules: [{alert: A, expr: "up ("}]}]\n'
ANSWERS = {
    "/cp/v1/models": b'{"items": []}',
    "/cp/v1/alerts": b'{"items": []}',
    "/cp/v1/fleet": b'{"name": "x", "observe_only": false, "targets": {"up": 1, "down": 0, "unknown": 0}, '
    b'"alerts": null, "warnings": [], "models": [], "gpus": []}',
}


class Cost(NamedTuple):
    """CPU and wall time in seconds."""

    cpu: float
    wall: float


class Answers(BaseHTTPRequestHandler):
    """A control plane with empty answers, without any delay."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the fixed answer of a path."""
        body = ANSWERS[self.path.partition("?")[0]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def cost(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end, and return its cost."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - started)


def main() -> None:
    """Print medians over alternating rounds. They alternate so that a busy machine slows all commands alike."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("bad.yaml", BAD), ("bad-rules.yaml", BAD_RULES), ("rules.yml", RULES)):
            Path(folder, name).write_text(text)
        environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder, "CP_TOKEN": "cp_1_x"}
        environment["CP_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
        data = ["--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
        commands = {
            "promtool --version": ["promtool", "--version"],
            "python -c pass": [sys.executable, "-c", "pass"],
            "controlplane --version": [PROGRAM, "--version"],
            "controlplane status": [PROGRAM, "status"],
            "controlplane models": [PROGRAM, "models"],
            "controlplane __complete promote": [PROGRAM, "__complete", "promote", ""],
            "up, a bad fleet.yaml": [PROGRAM, "up", "-c", f"{folder}/bad.yaml", *data],
            "up, a bad rule file": [PROGRAM, "up", "-c", f"{folder}/bad-rules.yaml", *data],
        }
        if shutil.which("promtool") is None:
            del commands["promtool --version"]
        for command in commands.values():
            cost(command, environment)  # the first run writes byte code
        rounds = [{name: cost(command, environment) for name, command in commands.items()} for _ in range(ROUNDS)]
    peer = next(iter(commands))
    floor = statistics.median(r[peer].cpu for r in rounds)
    print(f"medians of {ROUNDS} rounds; ratio of CPU to `{peer}`")
    for name in commands:
        cpu, wall = (statistics.median(getattr(r[name], part) for r in rounds) for part in Cost._fields)
        print(f"  {name:<32} {cpu * 1000:5.0f} ms CPU  {wall * 1000:5.0f} ms wall  {cpu / floor:5.1f} x")


if __name__ == "__main__":
    main()
