"""The driver for HAProxy against a real one, and against a socket that misbehaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import BackendObservation, Driver, EngineRefused, Placement
from controlplane.traffic.haproxy.runtime import RuntimeApi
from controlplane.traffic.proxies.edits import turn
from tests.contract.drivers.cases import made
from tests.contract.drivers.real_haproxy import RealHaproxy, haproxy
from tests.contract.drivers.versions import Versions, clients
from tests.patience import until

pytestmark = pytest.mark.needs("haproxy")


@pytest.fixture
async def versions() -> AsyncIterator[Versions]:
    async with Versions() as found:
        yield found


@pytest.fixture
def proxy(versions: Versions, tmp_path: Path) -> Iterator[RealHaproxy]:
    with haproxy(tmp_path, {name: versions.address(name) for name in versions.servers}) as found:
        yield found


class Maker:
    """Makes drivers of real HAProxys, and closes them after the test."""

    def __init__(self, versions: Versions) -> None:
        self._versions, self.made = versions, list[Driver]()

    def __call__(self, *proxies: RealHaproxy, files: bool = True, **fields: Any) -> Driver:
        instances = [{"socket": str(p.socket), "config": str(p.config) if files else None} for p in proxies]
        self.made.append(made(self._versions.section(driver="haproxy", instances=instances, **fields)))
        return self.made[-1]


@pytest.fixture
async def driver_of(versions: Versions) -> AsyncIterator[Maker]:
    maker = Maker(versions)
    yield maker
    for driver in maker.made:
        await driver.close()


async def seen_by(driver: Driver) -> BackendObservation:
    return (await driver.observe()).backend("haproxy")


def to(serve: str, *keep: str, share: float = 1.0) -> Placement:
    return Placement("chat", serve, keep, "", share)


async def test_a_reload_by_somebody_else_keeps_the_weights_and_the_file_its_other_bytes(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    driver = driver_of(proxy)
    proxy.config.chmod(0o640)
    before = proxy.config.read_bytes()
    await driver.place("haproxy", to("v2", "v1", share=0.25))
    after = proxy.config.read_bytes()
    assert after == before.replace(b"weight 100 # of v1", b"weight 3 # of v1").replace(
        b"weight 0 # of v2", b"weight 1 # of v2"
    )
    assert proxy.config.stat().st_mode & 0o777 == 0o640
    await asyncio.to_thread(proxy.reload)
    assert (await seen_by(driver)).weights == {"v1": 0.75, "v2": 0.25}


async def test_without_a_file_a_reload_is_drift_that_is_seen(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    driver = driver_of(proxy, files=False)
    known = (await driver.prepare("v2")).known
    assert known == (f"{proxy.socket} has no config:, so a reload of HAProxy brings the weights of its file back",)
    await driver.place("haproxy", to("v2"))
    assert (await seen_by(driver)).serving == "v2"
    (sentence,) = await driver.commit(to("v2"))
    assert "set them there by hand (v1 weight 0, v2 weight 100, v3 weight 0)" in sentence
    await asyncio.to_thread(proxy.reload)
    assert (await seen_by(driver)).serving == "v1"
    await driver.place("haproxy", to("v2"))
    assert (await seen_by(driver)).serving == "v2"


async def test_every_instance_gets_the_weights_and_one_that_is_gone_is_named(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    with haproxy(tmp_path / "second", {name: versions.address(name) for name in versions.servers}) as second:
        driver = driver_of(proxy, second)
        await driver.place("haproxy", to("v2", "v1", share=0.5))
        for each in (proxy, second):
            assert set(await clients(each.url, 40)) == {"v1", "v2"}
        second.command("set server chat/v1 weight 0")
        assert (await seen_by(driver)).weights == {"v1": 0.25, "v2": 0.75}
        await driver.place("haproxy", to("v2", "v1", share=0.5))
        assert (await seen_by(driver)).weights == {"v1": 0.5, "v2": 0.5}
        second.stop()
        seen = await seen_by(driver)
        assert (seen.reachable, seen.weights) == (True, {"v1": 0.5, "v2": 0.5})
        assert f"the stats socket {second.socket} does not exist" in seen.pending
        with pytest.raises(Unavailable, match=str(second.socket)):
            await driver.place("haproxy", to("v1"))
        assert (await seen_by(driver)).weights == {"v1": 1.0}
        second.start()


@pytest.mark.parametrize("balance", ["static-rr", "source"])
async def test_a_static_algorithm_switches_whole_and_planning_refuses_a_split(
    driver_of: Maker, versions: Versions, tmp_path: Path, balance: str
) -> None:
    with haproxy(tmp_path, {name: versions.address(name) for name in versions.servers}, balance) as proxy:
        text = proxy.config.read_text().replace("weight 0", "weight 10")
        proxy.config.write_text(text)
        await asyncio.to_thread(proxy.reload)
        driver = driver_of(proxy, files=False)
        proxy.command("set server chat/v3 weight 0%; set server chat/v2 weight 0%")
        prepared = await driver.prepare("v2")
        assert prepared.unfit([0.05]) == (
            f"5% of the requests cannot be set: {proxy.socket}: `balance {balance}` takes only 0 and 100 % at run "
            "time; set `balance roundrobin` in the backend",
        )
        with pytest.raises(EngineRefused, match=f"balance {balance}"):
            await driver.place("haproxy", to("v2", "v1", share=0.5))
        await driver.place("haproxy", to("v2"))
        assert (await seen_by(driver)).serving == "v2"
        assert await clients(proxy.url, 5) == {"v2": 5}
        with pytest.raises(Refused, match="weight 0 in the file could not be raised again without a reload"):
            await driver_of(proxy).prepare("v2")


async def test_planning_names_each_fault_of_the_set_up_and_its_cure(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    async def refused(driver: Driver) -> str:
        with pytest.raises(Refused) as found:
            await driver.prepare("v2")
        return "; ".join(found.value.reasons)

    assert "has no backend nope (Can't find backend.); name HAProxy's backend by backend:" in await refused(
        driver_of(proxy, backend="nope")
    )
    assert "has no server of v2: add `server v2 127.0.0.1:" in await refused(
        driver_of(proxy, servers={"v2": ["other"]})
    )
    proxy.command("set server chat/v2 state maint")
    assert "every server of v2 is in maintenance or draining; `enable server chat/v2`" in await refused(
        driver_of(proxy)
    )
    proxy.command("set server chat/v2 state ready")
    proxy.command("set server chat/v2 health down")
    proxy.command("add server chat/new 127.0.0.1:1 weight 5; enable server chat/new")
    assert "new of backend chat gets requests and belongs to no version" in await refused(driver_of(proxy))
    proxy.command("set server chat/new weight 0")
    proxy.config.write_text(proxy.config.read_text().replace("server v3", "server v4"))
    assert f"{proxy.config} cannot be rewritten: backend chat has no line `server` for v3" in await refused(
        driver_of(proxy)
    )


async def test_a_file_that_cannot_be_written_does_not_keep_a_rollback_away(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    driver = driver_of(proxy)
    await driver.place("haproxy", to("v2"))
    proxy.config.write_text(proxy.config.read_text().replace("backend chat", "backend moved"))
    with pytest.raises(EngineRefused, match=r"the weights are set, but .*set them there by hand \(v1 weight 100, "):
        await driver.place("haproxy", to("v1"))
    assert (await seen_by(driver)).serving == "v1"


async def test_weights_that_haproxy_refuses_are_not_left_in_the_file(
    driver_of: Maker, versions: Versions, tmp_path: Path
) -> None:
    proxy = RealHaproxy(tmp_path, {name: versions.address(name) for name in versions.servers})
    proxy.config.write_text(proxy.config.read_text().replace("level admin", "level operator"))
    await asyncio.to_thread(proxy.start)
    try:
        before = proxy.config.read_bytes()
        with pytest.raises(EngineRefused, match="give the socket `level admin`"):
            await driver_of(proxy).place("haproxy", to("v2", "v1", share=0.5))
        assert proxy.config.read_bytes() == before
    finally:
        await asyncio.to_thread(proxy.stop)


async def test_orders_of_two_models_in_one_file_are_all_there(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    servers = "".join(
        f"  server {name} {versions.address(name)} weight {100 if name == 'v1' else 0}\n" for name in versions.servers
    )
    proxy.config.write_text(f"{proxy.config.read_text()}backend other\n  balance roundrobin\n{servers}")
    await asyncio.to_thread(proxy.reload)
    drivers = driver_of(proxy), driver_of(proxy, backend="other")
    for share in (0.1, 0.2, 0.25, 0.4, 0.5) * 4:
        await asyncio.gather(
            drivers[0].place("haproxy", to("v2", "v1", share=share)),
            drivers[1].place("haproxy", to("v1", "v2", share=share)),
        )
    await asyncio.gather(drivers[0].place("haproxy", to("v2")), drivers[1].place("haproxy", to("v2", "v1", share=0.25)))
    await asyncio.to_thread(proxy.reload)  # the weights are then those of the file
    assert (await seen_by(drivers[0])).weights == {"v2": 1.0}
    assert (await seen_by(drivers[1])).weights == {"v1": 0.75, "v2": 0.25}


async def test_a_file_that_is_locked_does_not_keep_a_rollback_away(driver_of: Maker, proxy: RealHaproxy) -> None:
    driver = driver_of(proxy)
    async with turn(proxy.folder):
        with pytest.raises(Unavailable, match=r"the weights are set, but .*another process has locked"):
            await driver.place("haproxy", to("v2"))
    assert (await seen_by(driver)).serving == "v2"


async def test_a_server_that_was_added_at_run_time_serves_and_is_missed_in_the_file(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    lines = proxy.config.read_text().splitlines(keepends=True)
    proxy.config.write_text("".join(line for line in lines if "of v2" not in line))
    await asyncio.to_thread(proxy.reload)
    proxy.command(f"add server chat/dyn {versions.address('v2')} weight 0; enable server chat/dyn")
    driver = driver_of(proxy, files=False)
    await driver.place("haproxy", to("v2", "v1", share=0.5))
    assert set(await clients(proxy.url, 40)) == {"v1", "v2"}
    with pytest.raises(Refused, match="no line `server` for dyn"):
        await driver_of(proxy).prepare("v2")


class Socket:
    """A stats socket that answers what a test says: `b""` closes at once, None never answers."""

    def __init__(self, folder: Path, answer: Callable[[str], bytes | None]) -> None:
        self.path, self._answer = str(folder / "odd.sock"), answer
        self._served: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self.path

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await asyncio.gather(*(task for task in self._served if task))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.current_task())
        answer = self._answer((await reader.readline()).decode())
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "did not answer 'show stat' within 0.2 s"),
        (b"", "closed the connection without an answer to 'show stat'"),
        (b"# pxname,svname\nchat,", "closed the connection after 21 bytes to 'show stat'"),
        (b"x" * 9 * 2**20, "answered 'show stat' with more than"),
        (b"Permission denied\n\n", "give the socket `level admin`"),
    ],
)
async def test_every_fault_of_the_socket_is_a_sentence(tmp_path: Path, answer: bytes | None, words: str) -> None:
    async with Socket(tmp_path, lambda _: answer) as path:
        with pytest.raises((Unavailable, EngineRefused), match=words):
            await RuntimeApi(path, 0.2 if answer is None else 5.0).ask("show stat")


async def test_an_order_is_refused_by_any_text_and_done_by_an_empty_line(tmp_path: Path) -> None:
    async with Socket(tmp_path, lambda command: b"\n" if "v1" in command else b"No such server.\n\n") as path:
        await RuntimeApi(path).order("set server chat/v1 weight 1")
        with pytest.raises(EngineRefused, match="No such server"):
            await RuntimeApi(path).order("set server chat/v2 weight 1")


async def test_nobody_listens_and_no_permission_have_cures(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"does not exist; is HAProxy running here, and does its `global` section"):
        await RuntimeApi(str(tmp_path / "none")).ask("show info")
    (tmp_path / "dead").touch()
    with pytest.raises(Unavailable, match="nothing listens on the stats socket"):
        await RuntimeApi(str(tmp_path / "dead")).ask("show info")


async def test_a_killed_worker_ends_haproxy_and_the_state_is_unknown_until_it_is_back(
    driver_of: Maker, versions: Versions, proxy: RealHaproxy
) -> None:
    driver = driver_of(proxy)
    await driver.place("haproxy", to("v2", "v1", share=0.5))
    os.kill(proxy.worker(), 9)
    await until(lambda: proxy.process.poll() is not None)
    seen = await seen_by(driver)
    assert (seen.reachable, seen.weights) == (False, {})
    proxy.socket.unlink(missing_ok=True)
    await asyncio.to_thread(proxy.start)
    assert (await seen_by(driver)).weights == {"v1": 0.5, "v2": 0.5}
    await driver.close()
