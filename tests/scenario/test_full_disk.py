"""A real small disk that is full: the control plane on SQLite goes on alerting, reports the fault, and recovers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FULL = r"""
import asyncio, json, logging, os, sys
from pathlib import Path
from alerts.interfaces import MessageRef
from controlplane.fleet.log_ring import LogRing
from controlplane.api.metrics import OwnMetrics
from controlplane.app.services import build_services
from controlplane.app.wiring import running
from controlplane.config.loader import load_fleet
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.outbox import OutboxStore

folder = Path(sys.argv[1])
filler = folder / "filler"
told, said = [], {}

class Keep(logging.Handler):
    def emit(self, record):
        told.append((record.status, record.group["alertname"], record.message_id))

logging.getLogger("alerts.notifications").addHandler(Keep())
logging.getLogger("alerts.notifications").setLevel(logging.INFO)
(folder / "fleet.yaml").write_text('''
fleet: {name: full}
scrape: {interval: 1s, timeout: 1s}
evaluation_interval: 1s
targets: [{engine: custom, addresses: ["127.0.0.1:9"]}]
thresholds: {control_plane: {for: 1s}, target_down: {for: 2s}}
route: {receiver: log, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
notifiers: [{name: log, type: log}]
''')

def fill():
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        os.close(file)

async def until(happened):
    for _ in range(1200):  # a minute, and more on a busy machine
        if happened():
            return
        await asyncio.sleep(0.05)
    active = [(dict(a.labels)["alertname"], a.state, a.unknown_since) for a in SqlAlertLog(plane.database).active()]
    messages = [(m.message_id, m.status, m.attempts, m.error) for m in OutboxStore(plane.database).recent(10)]
    loops = [(s.name, s.holding, s.last_error, s.last_started_at, s.last_finished_at) for s in plane.loops.stats()]
    raise TimeoutError(f"told {told}, fault {plane.alerting.fault!r}, active {active}, {messages}, {loops}")

async def main():
    global plane
    loaded = load_fleet(folder / "fleet.yaml")
    async with running(loaded, folder, None, "127.0.0.1:1", observe_only=True) as (plane, db):
        plane.watch_itself(OwnMetrics(build_services(plane, db, "127.0.0.1", LogRing(0))).render)
        await until(lambda: not plane.not_ready() and plane.alerting.reports()[0].last_evaluation)
        fill()
        await until(lambda: {"TargetDown", "DatabaseNotWritten"} <= {alert for _, alert, _ in told})
        said["not ready"] = sorted(plane.not_ready())
        said["alerting"] = plane.not_ready()["alerting"]
        ids = [message for _, _, message in told]
        filler.unlink()
        await until(lambda: not plane.alerting.fault)
        await until(lambda: ("resolved", "DatabaseNotWritten") in {(status, alert) for status, alert, _ in told})
        said["twice"] = len(told) - len({message for _, _, message in told})
        said["written"] = all(OutboxStore(db).get(message).status.value == "sent" for message in ids)
        events = list(reversed(SqlAlertLog(db).recent(1000)))
        said["in order"] = [e.at for e in events] == sorted(e.at for e in events)
        said["history"] = sorted({dict(e.instance.labels)["alertname"] for e in events})
        await until(lambda: not plane.not_ready())

asyncio.run(main())
print(json.dumps(said))
"""


def test_a_full_disk_stops_no_alert(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare to mount a small file system")
    mount = f'mount -t tmpfs -o size=48m tmpfs {tmp_path} && exec {sys.executable} -c "$SCRIPT" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount],
        env={**os.environ, "SCRIPT": FULL},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        pytest.skip(f"a small file system cannot be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said.pop("alerting").startswith("database sqlite:///")
    assert {"alerting", "storage"} >= set(said.pop("not ready")) >= {"alerting"}
    assert {"DatabaseNotWritten", "TargetDown"} <= set(said.pop("history"))
    assert said == {"twice": 0, "written": True, "in order": True}
