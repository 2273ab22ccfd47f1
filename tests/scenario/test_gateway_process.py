"""The gateway's processes: start, requests, dead workers, stop, the end of the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
from pathlib import Path

from tests.fakes.chat_engine import chat_engine
from tests.patience import PROCESS_S, until
from tests.scenario.gateway_up import Stream, chat, fleet_of, gateway_up, get


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_request_passes_and_the_admin_pages_say_so(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        assert await chat(gateway.port) == "hello"
        assert await get(gateway.admin, "/readyz") == (200, b"ready\n")
        health = await gateway.health()
        assert (health["status"], health["name"], len(health["workers"])) == ("ok", "gw", 2)
        assert health["desired"]["from"] == str(tmp_path / "fleet.yaml")
        names = f'{{source="gateway",model="chat",version="v1",backend="{engine.url}",outcome="success"}}'
        answers = '{model="chat",version="v1",traffic="client",prompt="0-512",finish="stop"}'
        counted = {f"llm_requests_total{names} 1.0", f"controlplane_gateway_answers_total{answers} 1.0"}
        await shows(gateway.admin, counted)
        assert (await get(gateway.admin, "/nothing"))[0] == 404


async def shows(admin: int, lines: set[str]) -> None:
    """Wait until the metrics have these lines: a request is counted when its answer is on its way."""
    async with asyncio.timeout(PROCESS_S):
        while True:
            status, metrics = await get(admin, "/metrics")
            assert status == 200
            if lines <= set(metrics.decode().splitlines()):
                return
            await asyncio.sleep(0.05)


COPIED = """
fleet: {{name: test}}
gateway: {{name: gw, authentication: none, workers: 2}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: gateway}}
    gateway: {{mirror: {{version: v2, share: 1.0}}}}
    versions:
      v1: {{backends: [{{url: "{v1}", engine: vllm}}]}}
      v2: {{backends: [{{url: "{v2}", engine: vllm}}]}}
"""


async def test_answers_to_copies_are_counted_apart(tmp_path: Path) -> None:
    async with (
        chat_engine() as one,
        chat_engine("  ") as two,
        gateway_up(tmp_path, COPIED.format(v1=one.url, v2=two.url)) as gateway,
    ):
        assert await chat(gateway.port) == "hello"
        series = 'controlplane_gateway_%s{model="chat",version="%s",traffic="%s",prompt="0-512"'
        blank = series % ("empty_answers_total", "v2", "mirror")
        async with asyncio.timeout(PROCESS_S):
            while blank + "} 1.0" not in (text := (await get(gateway.admin, "/metrics"))[1].decode()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        lines = text.splitlines()
        assert series % ("answers_total", "v1", "client") + ',finish="stop"} 1.0' in lines
        assert series % ("answers_total", "v2", "mirror") + ',finish="stop"} 1.0' in lines
        assert series % ("answer_tokens_count", "v2", "mirror") + "} 1.0" in lines
        requests = [line for line in lines if line.startswith("llm_requests_total") and line.endswith(" 1.0")]
        assert len(requests) == 1 and 'version="v1"' in requests[0]


async def test_connections_to_a_dead_worker_wait_for_the_next_one(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        before = await gateway.workers()
        for pid in before:
            os.kill(pid, signal.SIGSTOP)  # connections stay in the queues of both sockets
        asked = [asyncio.create_task(chat(gateway.port)) for _ in range(20)]
        await asyncio.sleep(0)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*asked) == ["hello"] * 20
        await gateway.said("worker . was killed by SIGKILL", times=2)
        async with asyncio.timeout(PROCESS_S):
            while len(workers := await gateway.workers()) < 2:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert not set(workers) & set(before)
        await shows(
            gateway.admin, {"controlplane_gateway_workers 2.0", "controlplane_gateway_worker_restarts_total 2.0"}
        )


async def test_sigterm_finishes_open_streams_and_refuses_new_connections(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        streams = [await Stream.open(gateway.port) for _ in range(5)]
        for pid in (*await gateway.workers(), gateway.pid):  # as terminals and service managers do
            os.kill(pid, signal.SIGTERM)
        await gateway.said("5 open requests have 5m to finish")

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        async with asyncio.timeout(PROCESS_S):
            while not await refused():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert (await get(gateway.admin, "/readyz"))[0] == 503
        engine.finish.set()
        for stream in streams:
            assert b'"last"' in await stream.rest()
            assert b"[DONE]" in stream.got
        assert await gateway.ended() == 0
        await asyncio.sleep(0)
        assert any("stopped: 5 requests finished, 0 were cut" in line for line in gateway.log), "\n".join(gateway.log)


async def test_a_second_signal_cuts_streams_and_says_how_many(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        streams = [await Stream.open(gateway.port) for _ in range(3)]
        os.kill(gateway.pid, signal.SIGTERM)
        await gateway.said("3 open requests have")
        os.kill(gateway.pid, signal.SIGTERM)
        for stream in streams:
            got = await stream.rest()
            assert b"[DONE]" not in got
            assert b'"error"' in got
        assert await gateway.ended() == 0
        assert any("stopped: 0 requests finished, 3 were cut after 3 tokens" in line for line in gateway.log), (
            gateway.log
        )


async def test_the_drain_timeout_cuts_streams(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url, ", drain_timeout: 200ms")) as gateway:
        stream = await Stream.open(gateway.port)
        os.kill(gateway.pid, signal.SIGTERM)
        assert b"[DONE]" not in await stream.rest()
        assert await gateway.ended() == 0
        assert any("1 were cut after 1 tokens" in line for line in gateway.log), "\n".join(gateway.log)


async def test_workers_outlive_a_killed_supervisor_until_their_streams_end(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        workers, port = await gateway.workers(), gateway.port
        streams = [await Stream.open(port) for _ in range(8)]
        os.kill(gateway.pid, signal.SIGKILL)
        await until(lambda: gateway.process.returncode is not None)
        # The service manager starts the next one, on the same address and folder.
        options = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{gateway.admin}")
        async with gateway_up(tmp_path, None, *options) as successor:
            assert await chat(port) == "hello"
            assert not set(workers) & set(await successor.workers())
            engine.finish.set()
            for stream in streams:
                assert b"[DONE]" in await stream.rest()
            await until(lambda: all(gone(pid) for pid in workers))


async def test_a_second_gateway_on_an_address_or_folder_is_refused(tmp_path: Path) -> None:
    async with chat_engine() as engine, gateway_up(tmp_path, fleet_of(engine.url)) as gateway:
        other = tmp_path / "other"
        other.mkdir()
        options = ("--listen", f"127.0.0.1:{gateway.port}", "--admin", "127.0.0.1:0")
        async with gateway_up(other, fleet_of(engine.url), *options, wait=False) as second:
            assert await second.ended() == 1
        assert (
            f"gateway.listen: 127.0.0.1:{gateway.port}: Address already in use; choose another address"
            in second.log[-1]
        )
        assert await chat(gateway.port) == "hello"


async def test_an_edited_file_is_applied_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    async with chat_engine("one") as one, chat_engine("two") as two, gateway_up(tmp_path, fleet_of(one.url)) as gateway:
        assert await chat(gateway.port) == "one"
        (tmp_path / "fleet.yaml").write_text(fleet_of(two.url))
        async with asyncio.timeout(PROCESS_S):
            while await chat(gateway.port) != "two":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        (tmp_path / "fleet.yaml").write_text(fleet_of(two.url).replace("stable", "stabel"))
        os.kill(gateway.pid, signal.SIGHUP)
        await gateway.said("stabel: unknown field.*the old configuration stays")
        assert await chat(gateway.port) == "two"
        assert (await get(gateway.admin, "/readyz"))[0] == 200
        (tmp_path / "fleet.yaml").write_text(fleet_of(one.url, ", idle_timeout: 3s"))
        os.kill(gateway.pid, signal.SIGHUP)
        await gateway.said("gateway.idle_timeout: takes effect at the next start or upgrade")
        assert await chat(gateway.port) == "one"


async def test_a_certificate_that_is_gone_stops_a_start_and_not_the_workers_that_serve(tmp_path: Path) -> None:
    files = ("-keyout", tmp_path / "tls.key", "-out", tmp_path / "tls.crt")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ("openssl", "req", "-x509", *curve, "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1", *files)
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=tmp_path / "tls.crt")
    context.check_hostname = False
    async with (
        chat_engine() as engine,
        gateway_up(tmp_path, fleet_of(engine.url, ", tls: {cert_file: tls.crt, key_file: tls.key}")) as gateway,
    ):
        assert await chat(gateway.port, context) == "hello"
        (tmp_path / "tls.key").unlink()
        first, second = await gateway.workers()
        os.kill(first, signal.SIGKILL)
        # The next one cannot serve: it says why, and is started later and later.
        await gateway.said("worker 0: the certificate of the listener cannot be read")
        await gateway.said(r"worker 0 ended with status 1 after \d+ s and is started again in 0\.5 s")
        assert {await chat(gateway.port, context) for _ in range(10)} == {"hello"}
        assert [worker["pid"] for worker in (await gateway.health())["workers"]][1] == second
        assert "worker 0 ended with status 1" in str((await gateway.health())["troubles"])
        assert (await get(gateway.admin, "/readyz"))[0] == 200
