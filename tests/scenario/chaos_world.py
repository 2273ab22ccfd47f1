"""A fleet of real processes under load: engines, a gateway, a control plane. Any of them may be killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.fakes.warm import Forked, fork
from tests.patience import PROCESS_S
from tests.ports import free_port
from tests.scenario.chaos_clients import STREAMS, Clients, Ended
from tests.scenario.up import TOKEN

ROOT = Path(__file__).parents[2]
ENGINES = {"v1": ("v1a", "v1b"), "v2": ("v2a", "v2b")}
WORKERS = 2
UNWRITTEN_S = 0.25
"""Seconds about the kill of a worker in which streams may have ended whose records it had not written. Chosen: fifty
times the time that its journal waits, because clients and journals wait for a core too."""


class ChaosWorld:
    """Everything, in one folder. `async with` starts it, with STREAMS clients that ask again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for names in ENGINES.values() for name in names}
        self._ports |= {name: free_port() for name in ("plane", "gateway", "admin")}
        self._processes: dict[str, Forked] = {}
        self._clients = Clients(self._ports["gateway"])
        self._worker_kills: list[float] = []

    async def __aenter__(self) -> Self:
        (self._folder / "token").write_text(TOKEN)
        (self._folder / "fleet.yaml").write_text(self._fleet())
        for name in ("v1a", "v1b", "v2a", "v2b", "plane"):
            await self.start(name)
        await self.answers("plane", "/readyz")
        await self.start("gateway")
        await self.answers("admin", "/readyz")
        self._clients.start()
        await self.more(STREAMS)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._clients.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
                await asyncio.sleep(0)
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def start(self, name: str) -> None:
        """Start a process: an engine, plane or gateway."""
        if name in self._ports and name.startswith("v"):
            words = ["tests.fakes.token_engine", name, str(self._ports[name])]
        else:
            verb = "up" if name == "plane" else "gateway"
            words = ["controlplane", verb, "-c", "fleet.yaml", "--data-dir", name]
            words += ["--listen", f"127.0.0.1:{self._ports[name]}"]
            words += ["--admin", f"127.0.0.1:{self._ports['admin']}"] if name == "gateway" else []
        environment = {"PYTHONPATH": str(ROOT), "CP_BOOTSTRAP_TOKEN": TOKEN}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = fork(words, self._folder, environment, log, log)
        if name.startswith("v"):
            await self.answers(name, "/v1/models")

    async def kill(self, name: str) -> None:
        """Kill a process at once, and wait for its end."""
        self._processes[name].send_signal(signal.SIGKILL)
        await self._processes[name].wait()

    async def kill_worker(self) -> None:
        """Kill one worker of the gateway at once, and wait until another one serves in its place."""
        before = await self.workers()
        self._worker_kills.append(time.time())
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(PROCESS_S):
            while not (len(now := await self.workers()) == WORKERS and before[0] not in now):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def workers(self) -> list[int]:
        """Return the process ids of the workers that serve."""
        _, body = await self.get("admin", "/healthz")
        return [worker["pid"] for worker in json.loads(body)["workers"] if worker["serves"]]

    async def promote(self, version: str, **options: Any) -> str:
        """Begin a switch, and return its id. After a kill the gateway has to report first, so it is tried again.

        `options` are further fields of the request.
        """
        body = {"model": "chat", "version": version, **options}
        async with asyncio.timeout(PROCESS_S):
            while True:
                status, found = await self.api("POST", "/cp/v1/rollouts", body)
                if status == 202:
                    return str(found["id"])
                assert status == 409, found
                assert all("gateway" in reason for reason in found["reasons"]), found
                await asyncio.sleep(0.1)

    async def phase(self, rollout: str) -> tuple[str, str]:
        """Return (phase, reason) of a switch. ("", "") while the control plane does not answer."""
        try:
            status, found = await self.api("GET", f"/cp/v1/rollouts/{rollout}")
        except (aiohttp.ClientError, OSError):
            return "", ""
        assert status == 200, found
        return found["phase"], json.dumps(found)

    async def at_share(self, rollout: str, share: str) -> None:
        """Wait until a switch pauses at a share."""
        pausing = f"gets {share} of the requests; pausing until it is approved"

        async def pauses() -> bool:
            _, story = await self.phase(rollout)
            return pausing in json.loads(story or "{}").get("sentence", "")

        await self.when(pauses)

    async def steer(self, rollout: str, verb: str) -> None:
        """Approve or abort a switch."""
        status, found = await self.api("POST", f"/cp/v1/rollouts/{rollout}/{verb}", {})
        assert status == 202, found

    async def in_phase(self, rollout: str, *phases: str) -> str:
        """Wait until a switch is in one of these phases or ends, and return its phase."""
        async with asyncio.timeout(PROCESS_S):
            while True:
                phase, story = await self.phase(rollout)
                if phase in phases:
                    return phase
                assert phase not in ("failed", "rolled-back", "succeeded"), story
                await asyncio.sleep(0.02)

    async def more(self, count: int) -> None:
        """Wait until so many further streams have come to their end whole."""
        goal = self.hows()["whole"] + count
        async with asyncio.timeout(PROCESS_S):
            while self.hows()["whole"] < goal:  # noqa: ASYNC110 - its clients are tasks
                await asyncio.sleep(0.02)

    @property
    def ended(self) -> list[Ended]:
        """All streams that have ended, in the order of their ends."""
        return self._clients.ended

    def hows(self) -> Counter[str]:
        """Return the number of streams by their end."""
        return self._clients.hows()

    async def hold(self, version: str, count: int) -> None:
        """Ask for streams that go on until `release`, until so many of them are open and come from a version."""
        async with asyncio.timeout(PROCESS_S):
            while (held := self._clients.held())[version] < count:
                for _ in range(count - held[version] - held[""]):
                    self._clients.hold()
                await asyncio.sleep(0.02)

    def open(self) -> int:
        """Return the number of streams that are open now."""
        return STREAMS + self._clients.held().total()

    async def release(self) -> None:
        """Let the engines end the streams that are held."""
        async with aiohttp.ClientSession() as session:
            for name in (name for names in ENGINES.values() for name in names):
                if self._processes[name].returncode is None:
                    await session.post(f"http://127.0.0.1:{self._ports[name]}/release")

    async def counted(self) -> Counter[str]:
        """Return the requests that the gateway's metrics count, by outcome."""
        _, text = await self.get("admin", "/metrics")
        found: Counter[str] = Counter()
        for outcome, value in re.findall(r'^llm_requests_total\{[^}]*outcome="(\w+)"[^}]*\} (\S+)', text, re.MULTILINE):
            found[outcome] += round(float(value))
        return found

    async def get(self, name: str, path: str) -> tuple[int, str]:
        """Return (status, body) of a GET at a process."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self._ports[name]}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def when(self, true: Callable[[], Any], within_s: float = PROCESS_S) -> None:
        """Wait until an awaitable condition is true. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not await true():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(self._folder.glob("*.log")))

    async def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return (status, content) of a request to the control plane. Raises aiohttp's errors while it is away."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
            session.request(method, f"http://127.0.0.1:{self._ports['plane']}{path}", json=body) as answer,
        ):
            return answer.status, await answer.json()

    async def books_agree(self, *, metrics: bool = True) -> None:
        """Stop the clients, and compare their books with what was counted. The gateway ends here.

        Each request is in the usage once, with its outcome. A worker that is killed loses the records of its last
        moment: so many may be missing. `metrics`: the gateway's metrics have everything, and a stream that ended with
        its worker is `cut`. A worker may have died before or after it had read the request of a client without an
        answer. Metrics end with the supervisor.
        """
        await self.release()
        await self._clients.stop()
        hows = self.hows()
        late = sum(
            one.how == "whole" and any(abs(one.ended_at - kill) < UNWRITTEN_S for kill in self._worker_kills)
            for one in self.ended
        )
        cut = hows["told"] + hows["broken"]
        expected = {
            "ok": range(hows["whole"] - late, hows["whole"] + 1),
            "cut": range(hows["told"], hows["told"] + 1),
            "error": range(hows["502"], hows["502"] + 1),
        }
        counted = {
            "success": range(hows["whole"], hows["whole"] + 1),
            "cut": range(cut, cut + hows["silent"] + 1),
            "error": expected["error"],
        }
        await self._agrees(self.usage, expected)
        if metrics:
            await self._agrees(self.counted, counted)
        self._processes["gateway"].terminate()
        await self._processes["gateway"].wait()
        await self._agrees(self.usage, expected)
        assert [*(self._folder / "gateway" / "usage").glob("*/*")] == []

    async def _agrees(self, look: Callable[[], Awaitable[Counter[str]]], expected: dict[str, range]) -> None:
        found: Counter[str] = Counter()

        async def agree() -> bool:
            nonlocal found
            found = await look()
            return set(+found) <= set(expected) and all(found[name] in most for name, most in expected.items())

        try:
            await self.when(agree)
        except TimeoutError:
            raise AssertionError(
                f"counted {found} instead of {expected}; clients saw {self.hows()}\n{self.logs()}"
            ) from None

    async def usage(self) -> Counter[str]:
        """Return the requests that the control plane has in its usage, by outcome."""
        status, found = await self.api("GET", "/cp/v1/usage?by=outcome")
        assert status == 200, found
        return Counter({item["outcome"]: item["requests"] for item in found["items"]})

    async def only_from(self, version: str) -> None:
        """Wait until streams come from one version alone."""

        async def alone() -> bool:
            last = self.ended[-STREAMS:]
            return all(one.engine.startswith(version) for one in last)

        await self.when(alone)

    async def comes_from(self, *versions: str) -> None:
        """Wait until streams that begin from now on came from each of these versions, and from no other one."""
        now = time.time()

        async def all_seen() -> bool:
            seen = {one.engine[:2] for one in self.ended if one.began_at > now and one.engine}
            assert seen <= set(versions), seen
            return seen == set(versions)

        await self.when(all_seen)

    async def served_by(self, engine: str) -> None:
        """Wait until streams come from an engine, or not from its version at all."""

        async def served() -> bool:
            last = Counter(one.engine for one in self.ended[-2 * STREAMS :])
            return engine in last or not any(name.startswith(engine[:2]) for name in last)

        await self.when(served)

    async def answers(self, name: str, path: str) -> None:
        """Wait until a process answers 200 to a GET."""
        async with asyncio.timeout(PROCESS_S):
            while True:
                try:
                    if (await self.get(name, path))[0] == 200:
                        return
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.05)

    def _fleet(self) -> str:
        def backends(version: str) -> str:
            urls = (f"http://127.0.0.1:{self._ports[name]}" for name in ENGINES[version])
            return ", ".join(f'{{url: "{url}", engine: vllm}}' for url in urls)

        return f"""
fleet: {{name: chaos}}
scrape: {{interval: 2s}}
gateway:
  name: gw
  listen: "127.0.0.1:{self._ports["gateway"]}"
  admin: "127.0.0.1:{self._ports["admin"]}"
  authentication: none
  workers: {WORKERS}
  control_plane: {{url: "http://127.0.0.1:{self._ports["plane"]}", authorization: {{credentials_file: token}}}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: gateway, drain_timeout: 60s}}
    versions:
      v1: {{backends: [{backends("v1")}]}}
      v2: {{backends: [{backends("v2")}]}}
    verify: {{prompt: hi, requests: 4, error_ratio: 1, for: 3s}}
"""
