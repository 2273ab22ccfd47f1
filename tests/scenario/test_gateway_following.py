"""A gateway follows a control plane, and goes on without it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

from controlplane.gateway.desired.codec import decode, sealed
from controlplane.gateway.desired.document import LimitSpec
from tests.fakes.chat_engine import chat_engine
from tests.fakes.gateway_control_plane import desired_of, gateway_control_plane
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import chat, free_options, gateway_up, get


def fleet_at(port: int) -> str:
    return (
        f'fleet: {{name: test}}\ngateway: {{name: gw, workers: 2, control_plane: {{url: "http://127.0.0.1:{port}"}}}}\n'
    )


async def test_a_new_state_is_in_force_and_reported_with_counted_requests(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PROCESS_S),
        chat_engine("one") as one,
        chat_engine("two") as two,
        gateway_control_plane() as (plane, port),
    ):
        plane.give(first := desired_of(1, v1=(1000, one.url)))
        async with gateway_up(tmp_path, fleet_at(port)) as gateway:
            report = await plane.report_with(first.revision)
            while not report["ready"]:  # it is in force, and the workers begin to accept connections
                report = await plane.next_report()
            assert (report["name"], report["leaving"], report["workers"]) == ("gw", False, 2)
            assert report["models"]["chat"]["generation"] == 1
            assert {await chat(gateway.port) for _ in range(5)} == {"one"}
            while report["models"]["chat"]["requests"] != {"v1": 5}:
                report = await plane.next_report()

            plane.give(second := desired_of(2, v1=(500, one.url), v2=(500, two.url)))
            report = await plane.report_with(second.revision)
            assert report["models"]["chat"] == {
                "generation": 2,
                "requests": {},
                "open": report["models"]["chat"]["open"],
            }
            answers = [await chat(gateway.port) for _ in range(10)]
            assert sorted(answers) == ["one"] * 5 + ["two"] * 5
            while report["models"]["chat"]["requests"] != {"v1": 5, "v2": 5}:
                report = await plane.next_report()

            # A worker that dies takes no counted request with it.
            os.kill((await gateway.workers())[0], signal.SIGKILL)
            await gateway.said("was killed by SIGKILL")
            while report["workers"] != 1:
                report = await plane.next_report()
            while report["workers"] != 2 or not report["models"]:  # the new one has begun, and then applies the state
                report = await plane.next_report()
            assert report["models"]["chat"]["requests"] == {"v1": 5, "v2": 5}

            stored = tmp_path / "data" / "desired.json"
            assert decode(stored.read_bytes()) == second
            assert stored.stat().st_mode & 0o777 == 0o600
        assert plane.reports[-1]["leaving"] is True


async def test_the_control_planes_end_touches_nothing_and_the_disk_serves_a_start_without_it(tmp_path: Path) -> None:
    async with asyncio.timeout(PROCESS_S), chat_engine("one") as one, chat_engine("two") as two:
        async with gateway_control_plane() as (plane, port):
            plane.give(first := desired_of(1, v1=(1000, one.url)))
            async with gateway_up(tmp_path, fleet_at(port)) as gateway:
                await plane.report_with(first.revision)
        async with gateway_up(tmp_path) as gateway:
            await gateway.said(r"beginning with the desired state of .*desired\.json, \S+ old")
            await gateway.said("desired state: .*cannot be reached.*; the one in force stays")
            assert await chat(gateway.port) == "one"
            assert (await get(gateway.admin, "/readyz"))[0] == 200
            assert "cannot be reached" in (await gateway.health())["source"]["fault"]
            plane.give(desired_of(2, v1=(0, one.url), v2=(1000, two.url)))
            async with gateway_control_plane(plane, port):
                await gateway.said("desired state: works again")
                assert await chat(gateway.port) == "two"


async def test_shares_and_what_was_spent_survive_without_the_control_plane(tmp_path: Path) -> None:
    async with asyncio.timeout(PROCESS_S), chat_engine("one") as one:
        async with gateway_control_plane() as (plane, port):
            state = desired_of(1, v1=(1000, one.url))
            limits = LimitSpec(daily_tokens=100_000, requests_per_minute=4)
            state = sealed(replace(state, models=(replace(state.models[0], limits=limits),)))
            plane.shares = {"model/chat": 0.5}
            plane.give(state)
            stored, kept = tmp_path / "data" / "shares.json", tmp_path / "data" / "desired.json"
            async with gateway_up(tmp_path, fleet_at(port)) as gateway:
                await plane.report_with(state.revision)
                while not (stored.exists() and kept.exists()):
                    await plane.next_report()
                assert json.loads(stored.read_bytes()) == {"model/chat": 0.5}
                os.kill(gateway.pid, signal.SIGKILL)
                await gateway.ended()
        async with gateway_up(tmp_path) as gateway:
            await gateway.said("beginning with the desired state of ")
            answers = [await chat(gateway.port) for _ in range(4)]
            assert answers[:2] == ["one", "one"], "half of four requests a minute"
            assert [answer.startswith("HTTP/1.1 429") for answer in answers[2:]] == [True, True]
        # The disk is lost, and the control plane is there: it knows what the gateway had reported.
        shutil.rmtree(tmp_path / "data")
        plane.shares, plane.spent = {}, {"model/chat/daily_tokens": 100_000.0}
        async with gateway_control_plane(plane, port), gateway_up(tmp_path) as gateway:
            await plane.report_with(state.revision)
            while plane.reports[-1]["demand"].get("model/chat/daily_tokens") != 100_000.0:
                await plane.next_report()
            assert "insufficient_quota" in await chat(gateway.port)


async def test_a_bad_state_keeps_the_running_one_and_an_older_one_is_applied(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PROCESS_S),
        chat_engine("one") as one,
        chat_engine("two") as two,
        gateway_control_plane() as (plane, port),
    ):
        plane.give(desired_of(9, v1=(1000, one.url)))
        async with gateway_up(tmp_path, fleet_at(port)) as gateway:
            plane.give_bytes(b'{"format": 1, "revision": "x", "models": [{"name": 3}]}', "x")
            await gateway.said("gave one that is refused: .*; the one in force stays")
            assert await chat(gateway.port) == "one"
            report = await plane.next_report()
            while not report["fault"]:
                report = await plane.next_report()
            assert report["models"]["chat"]["generation"] == 9
            plane.give_bytes(b'{"format": 99}', "y")
            await gateway.said("a newer control plane made it; upgrade the gateway")
            # Its database came from a backup: what it says now counts.
            plane.give(older := desired_of(4, v1=(0, one.url), v2=(1000, two.url)))
            await gateway.said("chat: generation 4 after 9: v2 100%; the control plane's database is an older one")
            report = await plane.report_with(older.revision)
            assert report["models"]["chat"]["generation"] == 4
            while report["fault"]:
                report = await plane.next_report()
            assert await chat(gateway.port) == "two"


async def test_a_successor_reports_in_the_gateways_name_when_the_one_before_has_let_go(tmp_path: Path) -> None:
    async with asyncio.timeout(PROCESS_S), chat_engine() as engine, gateway_control_plane() as (plane, port):
        plane.give(state := desired_of(1, v1=(1000, engine.url)))
        options = free_options()
        async with gateway_up(tmp_path, fleet_at(port), *options) as old:
            await plane.report_with(state.revision)
            async with gateway_up(tmp_path, None, *options) as new:
                assert await old.ended() == 0
                assert await chat(new.port) == "hello"
                before = len(plane.reports)
                while len(plane.reports) < before + 2:
                    await plane.next_report()
                incarnations = [report["incarnation"] for report in plane.reports]
                turn = incarnations.index(incarnations[-1])
                assert 0 < turn < len(incarnations)
                assert len(set(incarnations[:turn])) == len(set(incarnations[turn:])) == 1
                assert not any(report["leaving"] for report in plane.reports)


async def test_without_any_state_nothing_listens_and_readyz_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "desired.json").write_text("{damaged")
    async with asyncio.timeout(PROCESS_S), chat_engine() as engine, gateway_control_plane() as (plane, port):
        plane.status = 401
        async with gateway_up(tmp_path, fleet_at(port), wait=False) as gateway:
            gateway.admin = int((await gateway.said(r"admin on 127\.0\.0\.1:(\d+)"))[1])
            await gateway.said("the desired state on disk is left out: .*is not JSON")
            await gateway.said("answers 401 .*check the token of gateway.control_plane")
            status, body = await get(gateway.admin, "/readyz")
            assert (status, b"no desired state yet" in body) == (503, True)
            assert (await get(gateway.admin, "/healthz"))[0] == 200
            plane.status = 200
            plane.give(desired_of(1, v1=(1000, engine.url)))
            await gateway.listens()
            assert await chat(gateway.port) == "hello"
