"""The demo's parts against a real Triton: streams, a version switch under load, a failed version, and clean ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.demo.load import Destination, LoadGenerator
from controlplane.demo.process import Child, log_tail
from controlplane.demo.repository import write_faults, write_repository
from controlplane.demo.triton import TritonServer, TritonUnavailable
from tests.alive import real_triton
from tests.fakes.failing_version import write_failing_version
from tests.patience import PROCESS_S

pytestmark = pytest.mark.needs("triton")


PARENT = """
import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from controlplane.demo.load import Destination, LoadGenerator
from controlplane.demo.triton import TritonServer

async def main():
    root = Path({root!r})
    async with TritonServer(root / "models", root / "triton") as server:
        url = server.http_url + "/v2/models/model/generate_stream"
        load = LoadGenerator([Destination("model", url, "triton", clients={streams}, pause_s=0.0)])
        running = asyncio.create_task(load.run())
        while {streams} and load.tallies["model"].ok < 10:
            await asyncio.sleep(0.02)
        print("ready", flush=True)
        await running

asyncio.run(main())
"""


def processes_naming(text: str) -> list[str]:
    """Command lines of living processes that hold `text`, our own excepted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command and int(path.parent.name) != os.getpid():
            found.append(command)
    return found


def shared_memory(prefix: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{prefix}*"))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[TritonServer]:
    write_repository(folder / "models", token_seconds=0.005)
    async with real_triton(folder / "models", folder / "triton") as server:
        yield server


async def call(server: TritonServer, path: str, body: Any = None) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(f"{server.http_url}/{path}", json=body) as response:
        return response.status, await response.text()


async def load_versions(server: TritonServer, *versions: int) -> tuple[int, str]:
    """Load the model with the policy `specific: versions`, as a driver does it."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.http_url}/v2/models/model/config") as response,
    ):
        config = await response.json()
    config["version_policy"] = {"specific": {"versions": [str(v) for v in versions]}}
    return await call(server, "v2/repository/models/model/load", {"parameters": {"config": json.dumps(config)}})


async def states(server: TritonServer) -> dict[str, str]:
    _, text = await call(server, "v2/repository/index", {})
    return {entry["version"]: entry["state"] for entry in json.loads(text)}


async def test_it_streams_tokens_and_says_which_version_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as triton:
        status, text = await call(triton, "v2/models/model/generate_stream", {"text_input": "hello"})
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        assert status == 200
        assert "".join(e["text_output"] for e in events) == "v1: the quick brown fox jumps over the lazy dog"
        assert [e.get("finish_reason") for e in events] == [None] * 9 + ["stop"]
        assert {e["model_version"] for e in events} == {"1"}
        whole = await call(
            triton, "v2/models/model/generate", {"text_input": "hello", "stream": False, "max_tokens": 3}
        )
        assert json.loads(whole[1])["text_output"] == "v1: the quick"
        assert await states(triton) == {"1": "READY"}


async def test_it_starts_where_no_environment_is_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # `make demo`: its python3 has no numpy
    write_repository(tmp_path / "models")
    async with TritonServer(tmp_path / "models", tmp_path / "triton") as server:
        assert await states(server) == {"1": "READY"}


async def test_a_model_that_cannot_load_is_said_at_once(tmp_path: Path) -> None:
    write_repository(tmp_path / "models")
    write_failing_version(tmp_path / "models", 1)
    server = TritonServer(tmp_path / "models", tmp_path / "triton", start_timeout_s=PROCESS_S)
    async with asyncio.timeout(PROCESS_S):
        with pytest.raises(TritonUnavailable, match=r"could not load 'model': .*out of memory"):
            await server.start()
    assert not processes_naming(str(tmp_path))


async def test_its_metrics_are_on_their_own_port_with_summaries(tmp_path: Path) -> None:
    async with serving(tmp_path) as triton:
        await call(triton, "v2/models/model/generate_stream", {"text_input": "hello"})
        async with aiohttp.ClientSession() as session, session.get(triton.metrics_url) as response:
            text = await response.text()
        assert re.search(r'^nv_inference_request_success\{model="model",version="1"\} [1-9]', text, re.M)
        assert 'nv_inference_request_summary_us{model="model",version="1",quantile="0.99"}' in text


async def test_a_switch_under_load_fails_and_cuts_nothing_and_both_versions_are_seen(tmp_path: Path) -> None:
    async with serving(tmp_path) as triton:
        url = f"{triton.http_url}/v2/models/model/generate_stream"
        load = LoadGenerator([Destination("model", url, "triton", clients=4, pause_s=0.0)])
        running = asyncio.create_task(load.run())
        tally = load.tallies["model"]
        for version, name in ((2, "v2"), (1, "v1"), (2, "v2")):
            before = tally.versions[name]
            assert (await load_versions(triton, version))[0] == 200
            while tally.versions[name] < before + 20:
                assert not running.done()
                await asyncio.sleep(0.02)
        load.stop()
        await running
        assert (tally.failed, tally.cut, tally.errors) == (0, 0, [])
        assert tally.requests == tally.versions["v1"] + tally.versions["v2"] >= 60


async def test_the_fault_file_slows_the_version_that_it_names(tmp_path: Path) -> None:
    async with serving(tmp_path) as triton:

        async def seconds() -> float:
            started = asyncio.get_running_loop().time()
            await call(triton, "v2/models/model/generate_stream", {"text_input": "hello"})
            return asyncio.get_running_loop().time() - started

        write_faults(tmp_path / "triton-faults.json", {1: 0.5, 2: 60.0})
        await asyncio.sleep(1.1)  # the model looks at the file at most once a second
        assert 0.5 <= await seconds() < 60


async def test_a_version_that_fails_to_load_leaves_the_old_one_serving(tmp_path: Path) -> None:
    async with serving(tmp_path) as triton:
        write_failing_version(tmp_path / "models", 3, reason="weights do not fit")
        status, text = await load_versions(triton, 3)
        assert status == 400
        assert "weights do not fit" in text
        assert (await states(triton))["1"] == "READY"
        assert (await call(triton, "v2/models/model/generate_stream", {"text_input": "x"}))[0] == 200


async def test_stop_leaves_no_process_and_no_shared_memory(tmp_path: Path) -> None:
    write_repository(tmp_path / "models")
    async with TritonServer(tmp_path / "models", tmp_path / "triton") as server:
        assert len(processes_naming(str(tmp_path))) >= 2  # the server and the backend's stub
        prefix = f"cpdemo_{os.getpid()}_{server.http_port}_"
        assert shared_memory(prefix) != []
    while processes_naming(str(tmp_path)):  # noqa: ASYNC110 - a killed stub takes a moment to go
        await asyncio.sleep(0.01)
    assert shared_memory(prefix) == []


@pytest.mark.parametrize("streams", [0, 4])
async def test_kill_9_of_the_parent_takes_triton_with_it(tmp_path: Path, streams: int) -> None:
    """Also with streams under way, where the backend's own stub would wait for its server for ever."""
    write_repository(tmp_path / "models")
    program = tmp_path / "parent.py"
    program.write_text(PARENT.format(root=str(tmp_path), streams=streams))
    log = tmp_path / "parent.log"
    parent = await Child.start("parent", [sys.executable, program], log)
    while "ready" not in log_tail(log):
        assert parent.returncode is None, log_tail(log)
        await asyncio.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    while processes_naming(str(tmp_path)):  # noqa: ASYNC110 - the stub notices its server's end by itself
        await asyncio.sleep(0.05)
    async with TritonServer(tmp_path / "models", tmp_path / "triton"):
        assert shared_memory(f"cpdemo_{parent.pid}_") == []  # what it left is swept by the next one
