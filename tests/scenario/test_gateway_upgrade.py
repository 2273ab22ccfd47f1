"""A new gateway takes the place of the one that runs: no connection is lost, and one that fails changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.fakes.chat_engine import chat_engine
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import Stream, chat, fleet_of, free_options, gateway_up, get


class Load:
    """Clients that ask one request after another, each on a new connection."""

    def __init__(self, port: int, clients: int) -> None:
        self._over = False
        self.answers: list[str] = []
        self._tasks = [asyncio.create_task(self._ask(port)) for _ in range(clients)]

    async def _ask(self, port: int) -> None:
        while not self._over:
            self.answers.append(await chat(port))

    async def more(self, number: int) -> None:
        """Wait for so many more answers."""
        goal = len(self.answers) + number
        while len(self.answers) < goal:
            for task in self._tasks:
                assert not task.done(), task.exception()
            await asyncio.sleep(0.01)

    async def end(self) -> list[str]:
        """Stop, and return all answers."""
        self._over = True
        await asyncio.gather(*self._tasks)
        return self.answers


def first(folder: Path, url: str, more: str = "") -> tuple[str, ...]:
    """Write a fleet.yaml and return options with addresses of their own."""
    (folder / "fleet.yaml").write_text(fleet_of(url, more))
    return free_options()


async def test_an_upgrade_under_load_loses_no_connection(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            streams = [await Stream.open(old.port) for _ in range(6)]
            load = Load(old.port, 4)
            await load.more(20)
            # Fewer workers than the one before: each serves more than one socket.
            (tmp_path / "fleet.yaml").write_text(fleet_of(engine.url).replace("workers: 2", "workers: 1"))
            async with gateway_up(tmp_path, None, *options) as new:
                await new.said(f"process {old.pid} has stopped to accept")
                await old.said(f"stopping: process {new.pid} has taken over")
                await load.more(40)
                # It serves alone, while the one before finishes its streams.
                assert (await new.health())["pid"] == new.pid
                engine.finish.set()
                for stream in streams:
                    assert b"[DONE]" in await stream.rest()
                assert await old.ended() == 0
                finished = int((await old.said(r"stopped: (\d+) requests finished, 0 were cut"))[1])
                assert finished >= 6  # and requests that the load had open at that instant
                await new.said(f"process {old.pid}, the gateway before this one, has ended")
                await load.more(20)
                # And more workers again.
                (tmp_path / "fleet.yaml").write_text(fleet_of(engine.url).replace("workers: 2", "workers: 3"))
                async with gateway_up(tmp_path, None, *options) as third:
                    assert await new.ended() == 0
                    await load.more(20)
                    assert len(await third.workers()) == 3
                    answers = await load.end()
            assert set(answers) == {"hello"}


async def succeeded(admin: int) -> float:
    """Return the number of v1's requests that have succeeded, as the metrics tell it."""
    text = (await get(admin, "/metrics"))[1].decode()
    (line,) = [
        each for each in text.splitlines() if "llm_requests_total" in each and "success" in each and "v1" in each
    ]
    return float(line.rpartition(" ")[2])


async def test_counters_and_limits_go_on_in_the_new_gateway(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            for _ in range(5):
                assert await chat(old.port) == "hello"
            async with gateway_up(tmp_path, None, *options) as new:
                assert await old.ended() == 0
                assert await chat(new.port) == "hello"
                async with asyncio.timeout(PROCESS_S):
                    while await succeeded(new.admin) < 6.0:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
                assert await succeeded(new.admin) == 6.0


async def test_an_upgrade_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            stream = await Stream.open(old.port)
            async with gateway_up(tmp_path, None, *options) as new:
                async with gateway_up(tmp_path, None, *options, wait=False) as third:
                    assert await third.ended() == 1
                    assert f"the gateway before it (process {old.pid}) still finishes its streams" in third.log[-1]
                assert await chat(new.port) == "hello"
                engine.finish.set()
                assert b"[DONE]" in await stream.rest()
                await new.said("the gateway before this one, has ended")
                async with gateway_up(tmp_path, None, *options) as third:
                    assert await new.ended() == 0
                    assert await chat(third.port) == "hello"


async def test_a_new_address_takes_effect_by_an_upgrade(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            stream = await Stream.open(old.port)
            elsewhere = first(tmp_path, engine.url)
            async with gateway_up(tmp_path, None, *elsewhere) as new:
                assert new.port != old.port
                assert await chat(new.port) == "hello"
                engine.finish.set()
                assert b"[DONE]" in await stream.rest()
                assert await old.ended() == 0


async def test_a_successor_that_cannot_start_changes_nothing(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            bad = fleet_of(engine.url, ", tls: {cert_file: no.crt, key_file: no.key}")
            (tmp_path / "fleet.yaml").write_text(bad)
            async with gateway_up(tmp_path, None, *options, wait=False) as new:
                assert await new.ended() == 1
            assert await chat(old.port) == "hello"
            # One that is killed while it takes over does no harm either.
            (tmp_path / "fleet.yaml").write_text(fleet_of(engine.url))
            async with gateway_up(tmp_path, None, *options, wait=False) as killed:
                await killed.said("taking over from the gateway that runs")
                os.kill(killed.pid, signal.SIGKILL)
            assert await chat(old.port) == "hello"
            async with gateway_up(tmp_path, None, *options):
                assert await old.ended() == 0


async def test_sigusr2_starts_the_successor(tmp_path: Path) -> None:
    async with chat_engine() as engine:
        options = first(tmp_path, engine.url)
        async with gateway_up(tmp_path, None, *options) as old:
            workers = await old.workers()
            os.kill(old.pid, signal.SIGUSR2)
            successor = int((await old.said(r"process (\d+) is to take over"))[1])
            await old.said(f"stopping: process {successor} has taken over")
            health = await old.health()
            assert health["pid"] == successor
            assert not set(workers) & {worker["pid"] for worker in health["workers"]}
            assert await chat(old.port) == "hello"
            os.kill(successor, signal.SIGTERM)
