"""Usage from a worker's journal to a running control plane and back, with restarts and kills of both sides."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.gateway.request import Outcome
from controlplane.gateway.usage.journal import Journal
from controlplane.gateway.usage.shipper import Shipper
from controlplane.remote_client import RemoteClient
from tests.contract.real_servers import ROOT, TOKEN, ControlPlane, control_plane
from tests.fakes.usage_meters import Meters
from tests.fakes.usage_records import record
from tests.patience import HANG_S

FLEET = """
fleet: {name: test}
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    versions: {v1: {}}
    gateway: {price: {input_usd: 1.0, output_usd: 2.0}}
"""


def write(root: Path, number: int, **changes: Any) -> None:
    async def go() -> None:
        journal = Journal(root / "0", 2**30, Meters())
        for _ in range(number):
            journal.append(record(at=time.time(), **changes))
        assert journal.close()

    asyncio.run(go())


def ship(plane: ControlPlane, root: Path, token: str = TOKEN) -> list[bool]:
    """Ship until nothing waits or a batch failed. A new shipper each time: it remembers nothing of the one before."""

    async def go() -> list[bool]:
        client = RemoteClient(plane.url, headers={"Authorization": f"Bearer {token}"}, max_reply_bytes=2**16)
        shipper = Shipper(root, "g1", client, Meters())
        found = []
        while (done := await shipper.ship()) is not None:
            found.append(done)
            if not done:
                break
        await client.close()
        return found

    return asyncio.run(go())


def usage(plane: ControlPlane, **query: str) -> Any:
    return httpx.get(f"{plane.url}/cp/v1/usage", params=query, headers=plane.headers, timeout=HANG_S)


def test_usage_survives_restarts_of_the_control_plane_and_counts_once(tmp_path: Path) -> None:
    journal = tmp_path / "usage"
    write(journal, 30)
    with control_plane(tmp_path, FLEET) as plane:
        assert ship(plane, journal) == [True]
        write(journal, 10, tenant="beta", outcome=Outcome.ERROR)
    assert ship(plane, journal) == [False]  # it is away
    write(journal, 5)
    with control_plane(tmp_path, FLEET) as plane:
        assert ship(plane, journal) == [True, True]
        rows = list(csv.DictReader(io.StringIO(usage(plane, by="tenant,outcome", format="csv").text)))
        assert [(r["tenant"], r["outcome"], r["requests"], r["prompt_tokens"]) for r in rows] == [
            ("acme", "ok", "35", "420"),
            ("beta", "error", "10", "120"),
        ]
        assert float(rows[0]["usd"]) == pytest.approx((420 * 1.0 + 175 * 2.0) / 1e6, abs=1e-6)
        table = cp("usage", "--by", "model", plane=plane)
        assert [line.split()[:4] for line in table.splitlines()] == [
            ["MODEL", "REQUESTS", "INPUT", "OUTPUT"],
            ["chat", "45", "540", "225"],
        ]
    assert [path for path in journal.glob("*/*") if path.is_file()] == []


def test_a_token_of_another_role_may_not_post_usage(tmp_path: Path) -> None:
    write(tmp_path / "usage", 3)
    with control_plane(tmp_path, FLEET) as plane:
        asked = {"name": "ana", "role": "operator"}
        made = httpx.post(f"{plane.url}/cp/v1/tokens", json=asked, headers=plane.headers, timeout=HANG_S).json()
        assert ship(plane, tmp_path / "usage", made["token"]) == [False]
        assert usage(plane).json()["items"] == []


def cp(*words: str, plane: ControlPlane) -> str:
    environment: Mapping[str, str] = {**os.environ, "CP_URL": plane.url, "CP_TOKEN": TOKEN}
    command = [sys.executable, "-m", "controlplane", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
