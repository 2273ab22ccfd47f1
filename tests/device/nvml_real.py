"""Read the GPUs of this machine through the same child process as the control plane, and store its answers.

`PYTHONPATH=. python tests/device/nvml_real.py OUT_DIR` writes OUT_DIR/nvml.prom and OUT_DIR/nvml-second.prom (a second
read of the same child, two seconds later). Needs a driver, nvidia-ml-py and prometheus-client. Exits with 1 when there
is no driver, or when a metric of every data-centre GPU is missing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

EXPECTED = (
    "gpu_up",
    "gpu_info",
    "gpu_utilization_ratio",
    "gpu_memory_used_bytes",
    "gpu_memory_reserved_bytes",
    "gpu_memory_total_bytes",
    "gpu_temperature_celsius",
    "gpu_power_watts",
    "gpu_energy_joules_total",
    "gpu_errors_total",
    "gpu_throttle_active",
)


def ask(child: subprocess.Popen[bytes]) -> tuple[str, str, float]:
    """Return status, body and seconds of one read."""
    assert child.stdin and child.stdout
    started = time.monotonic()
    child.stdin.write(b"read\n")
    child.stdin.flush()
    header = child.stdout.readline().decode().split()
    if not header:
        return "died", f"exit status {child.wait()}", time.monotonic() - started
    body = child.stdout.read(int(header[1])).decode()
    return header[0], body, time.monotonic() - started


def main(out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "collectors.gpu.nvml.child"]
    environ = {**os.environ, "NVML_NODE": "device-host"}
    problems = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as child:
        for name, pause in (("nvml.prom", 2.0), ("nvml-second.prom", 0.0)):
            status, body, seconds = ask(child)
            if status != "ok":
                print(f"{status}: {body}")
                return 1
            (out / name).write_text(body, encoding="utf-8")
            families = re.findall(r"^# TYPE (\S+)", body, re.MULTILINE)
            names = re.findall(r'gpu_name="([^"]*)"', body)
            print(f"{name}: {len(names)} GPU ({', '.join(names)}), {len(families)} families, {seconds * 1000:.0f} ms")
            problems += [f"{name}: {family} is absent" for family in EXPECTED if family not in families]
            time.sleep(pause)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out")))
