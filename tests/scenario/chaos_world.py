"""A fleet of real processes under load: engines, a gateway, a control plane. Any of them may be killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN

ROOT = Path(__file__).parents[2]
ENGINES = {"v1": ("v1a", "v1b"), "v2": ("v2a", "v2b")}
STREAMS = 50
WORKERS = 2
COUNTED_S = 30.0
"""Deadline for counts to be complete."""
_BODY = json.dumps({"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


@dataclass(frozen=True)
class Ended:
    """One stream, as its client saw it end."""

    how: str
    """whole, told (the gateway said that it broke off), broken (without a word), silent (the connection was closed
    before the answer), unconnected, or the status of a refusal."""
    engine: str
    """Engine that the tokens came from; "" for none."""
    said: bytes
    """End of the answer."""
    began_at: float = 0.0
    """Unix seconds at which its request was sent."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class ChaosWorld:
    """Everything, in one folder. `async with` starts it, with STREAMS clients that ask again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for names in ENGINES.values() for name in names}
        self._ports |= {name: free_port() for name in ("plane", "gateway", "admin")}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._clients: list[asyncio.Task[None]] = []
        self._asking = True
        self.ended: list[Ended] = []

    async def __aenter__(self) -> Self:
        (self._folder / "token").write_text(TOKEN)
        (self._folder / "fleet.yaml").write_text(self._fleet())
        for name in ("v1a", "v1b", "v2a", "v2b", "plane"):
            await self.start(name)
        await self.answers("plane", "/readyz")
        await self.start("gateway")
        await self.answers("admin", "/readyz")
        self._clients = [asyncio.create_task(self._client()) for _ in range(STREAMS)]
        await self.more(STREAMS)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
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
        log = (self._folder / f"{name}.log").open("ab")
        self._processes[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            cwd=self._folder,
            env={"PYTHONPATH": str(ROOT), "CP_BOOTSTRAP_TOKEN": TOKEN},
            stdout=log,
            stderr=log,
        )
        log.close()
        if name.startswith("v"):
            await self.answers(name, "/v1/models")

    async def kill(self, name: str) -> None:
        """Kill a process at once, and wait for its end."""
        self._processes[name].send_signal(signal.SIGKILL)
        await self._processes[name].wait()

    async def kill_worker(self) -> None:
        """Kill one worker of the gateway at once, and wait until another one serves in its place."""
        before = await self.workers()
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

    def hows(self) -> Counter[str]:
        """Return the number of streams by their end."""
        return Counter(one.how for one in self.ended)

    async def counted(self, outcome: str) -> int:
        """Return the requests that the gateway counts with an outcome."""
        _, text = await self.get("admin", "/metrics")
        lines = re.findall(r"^llm_requests_total\{([^}]*)\} (\S+)", text, re.MULTILINE)
        return round(sum(float(value) for labels, value in lines if f'outcome="{outcome}"' in labels))

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

    async def counts_agree(self, *, cut: int, maybe: int = 0, errors: int = 0) -> None:
        """Stop the clients, and compare the gateway's counts with what they saw.

        `maybe` further requests may be cut: a worker may have died before or after it had read them.
        """
        await self.stop()
        whole = self.hows()["whole"]
        seen = {"success": {whole}, "cut": set(range(cut, cut + maybe + 1)), "error": {errors}}

        async def agree() -> bool:
            return all([await self.counted(name) in numbers for name, numbers in seen.items()])

        try:
            await self.when(agree, COUNTED_S)
        except TimeoutError:
            counted = {name: await self.counted(name) for name in seen}
            raise AssertionError(f"counted {counted}, and clients saw {seen}\n{self.logs()}") from None

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

    async def stop(self) -> None:
        """Let each client finish its stream and ask no more."""
        self._asking = False
        await asyncio.gather(*self._clients)

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
gateway:
  name: gw
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
    verify: {{prompt: hi, requests: 4, error_ratio: 1, for: 4s}}
"""

    async def _client(self) -> None:
        while self._asking:
            self.ended.append(await self._stream())

    async def _stream(self) -> Ended:
        got = b""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports["gateway"])
        except OSError:
            await asyncio.sleep(0.1)
            return Ended("unconnected", "", b"")
        began_at = time.time()
        try:
            writer.write(REQUEST)
            while more := await reader.read(65536):
                got += more
        except ConnectionError:
            pass
        finally:
            writer.close()
        return replace(judge(got), began_at=began_at)


def judge(got: bytes) -> Ended:
    """Say how a stream ended."""
    found = re.findall(rb'"content": ?"(v\d\w)"', got)
    engine = found[-1].decode() if found else ""
    if not got:
        how = "silent"
    elif not got.startswith(b"HTTP/1.1 200"):
        how = got[9:12].decode()
    elif b"data: [DONE]" in got and got.endswith(b"0\r\n\r\n"):
        how = "whole"
    else:
        how = "told" if b'"error"' in got else "broken"
    return Ended(how, engine, got[-400:])
