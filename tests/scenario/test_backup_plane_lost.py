"""A control plane that loses its database and its folder, and comes back from its own backup with all that it knew."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.triton import FakeTriton
from tests.fakes.warm import fork
from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.timeout(600)

FLEET = """
fleet: {{name: test}}
evaluation_interval: 1s
rules: [rules/own.yml]
models:
  - name: model
    stable: v1
    versions: {{v1: {{}}, v2: {{}}}}
    traffic: {{driver: triton, backends: [{{url: "{triton}"}}]}}
    verify: {{for: 1s}}
"""
RULES = "groups: [{name: own, interval: 1s, rules: [{alert: AlwaysOn, expr: vector(1), labels: {severity: info}}]}]\n"


class Operator:
    """A person with the command line, a repository and its key on another disk."""

    def __init__(self, home: Path) -> None:
        self.plane, safe = home / "plane", home / "safe"
        for folder in (self.plane, safe):
            folder.mkdir()
        self.environment = {
            **os.environ,
            "CP_TOKEN": TOKEN,
            "CP_BACKUP_REPOSITORY": (safe / "repository").as_uri(),
            "CP_BACKUP_KEY_FILE": str(safe / "backup.key"),
            "XDG_CONFIG_HOME": str(home / "contexts"),
        }

    def at(self, port: int) -> None:
        self.environment["CP_URL"] = f"http://127.0.0.1:{port}"

    async def cp(self, *words: object, code: int = 0) -> str:
        out, err = self.plane.parent / "stdout", self.plane.parent / "stderr"
        with out.open("wb") as said, err.open("wb") as told:
            process = fork(["controlplane", *map(str, words)], self.plane.parent, self.environment, said, told)
        async with asyncio.timeout(PROCESS_S):
            status = await process.wait()
        assert status == code and "Traceback" not in err.read_text(), (words, out.read_text(), err.read_text())
        return out.read_text() + err.read_text()

    async def json(self, *words: object) -> Any:
        return json.loads(await self.cp(*words, "-o", "json"))

    async def until(self, what: Callable[[Any], bool], *words: object) -> Any:
        """Return a verb's answer once it is what a test wants."""
        async with asyncio.timeout(PROCESS_S):
            while not what(found := await self.json(*words)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
        return found

    async def memory(self) -> dict[str, Any]:
        """Return what a control plane remembers, without what goes on changing."""
        rollouts = await self.json("rollouts", "list")
        alerts = await self.json("alerts", "list", "--state", "all")
        return {
            "rollouts": [(r["id"], r["from"], r["to"], r["phase"], r["created_by"]) for r in rollouts],
            "alerts": [(a["name"], a["state"], a["active_at"]) for a in alerts],
            "keys": [(k["id"], k["tenant"], k["name"]) for k in await self.json("keys", "list")],
            "audit": [(a["action"], a["subject"], a["actor"], a["at"]) for a in await self.json("audit")],
        }


async def test_rollouts_alerts_keys_and_the_audit_trail_come_back(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    plane, data = operator.plane, operator.plane / "data"
    (plane / "rules").mkdir()
    (plane / "rules" / "own.yml").write_text(RULES)
    await operator.cp("backup", "init")
    async with FakeTriton() as triton:
        fleet = FLEET.format(triton=triton.url)
        async with up(plane, fleet) as (pid, port):
            operator.at(port)
            await operator.cp("keys", "create", "--tenant", "search", "--name", "app")
            await operator.cp("promote", "model", "v2")
            await operator.until(lambda found: found[0]["finished"], "rollouts", "list")
            await operator.until(lambda found: [a["state"] for a in found] == ["firing"], "alerts", "list")
            before = await operator.memory()
            await operator.cp("backup", "control-plane", "-c", plane / "fleet.yaml", "--data-dir", data)
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(plane)
        loads = list(triton.loads)

        plane.mkdir()
        tried = await operator.cp("backup", "test-restore", "control-plane", tmp_path / "scratch")
        assert "the database is whole, with " in tried
        said = await operator.cp("backup", "restore-control-plane", "control-plane", data)
        assert "only observes" in said
        assert (data / "config" / "fleet.yaml").read_text() == fleet
        shutil.copytree(data / "config", plane, dirs_exist_ok=True)

        async with up(plane, fleet) as (_, port):
            operator.at(port)
            # The first evaluation finds the restored alert, and goes on with it.
            after = await operator.memory()
            restored = [act for act in after["audit"] if act not in before["audit"]]
            assert [act[0] for act in restored if act[0].startswith("database.")] == ["database.restore"]
            assert all(act in after["audit"] for act in before["audit"])
            for what in ("rollouts", "alerts", "keys"):
                assert after[what] == before[what], what
            assert "only observes" in await operator.cp("rollback", "model", code=1)
        await operator.cp("backup", "release", "-c", plane / "fleet.yaml", "--data-dir", data)
        assert triton.loads == loads, "nothing was ordered until the release"

        async with up(plane, fleet) as (_, port):
            operator.at(port)
            assert (await operator.memory())["rollouts"] == before["rollouts"]
            await operator.cp("rollback", "model")
            await operator.until(lambda found: len(found) == 2 and found[0]["finished"], "rollouts", "list")
            assert triton.serving == 1
