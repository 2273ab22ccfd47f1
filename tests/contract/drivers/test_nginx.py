"""The driver for nginx against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import BackendObservation, Driver, EngineRefused, Placement
from controlplane.traffic.nginx import proxy as nginx_proxy
from controlplane.traffic.nginx.workers import workers
from tests.contract.drivers.cases import made
from tests.contract.drivers.real_nginx import RealNginx
from tests.contract.drivers.versions import Versions, clients
from tests.patience import HANG_S, until

pytestmark = pytest.mark.needs("nginx")


class Rig:
    """A real nginx before v1 and v2."""

    def __init__(self, versions: Versions, folder: Path) -> None:
        self.versions, self.nginx = versions, RealNginx(folder, versions.address("v1"))
        self._made: list[Driver] = []

    def driver(self, **fields: Any) -> Driver:
        given = {"include": str(self.nginx.include), **self.nginx.fields(), **fields}
        self._made.append(made(self.versions.section(driver="nginx", **given)))
        return self._made[-1]

    async def close(self) -> None:
        for driver in self._made:
            await driver.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Versions() as versions:
        found = Rig(versions, tmp_path)
        with found.nginx.running():
            yield found
        await found.close()


async def seen_by(driver: Driver) -> BackendObservation:
    return (await driver.observe()).backend("nginx")


async def counted(driver: Driver, **requests: int) -> None:
    """Wait until the driver has counted so many requests. nginx writes a line after the client has its answer."""
    wanted = {"v1": 0, "v2": 0, "v3": 0} | requests
    async with asyncio.timeout(HANG_S):
        while (await seen_by(driver)).requests != wanted:  # noqa: ASYNC110 - a log file has no event
            await asyncio.sleep(0.01)


def to(serve: str, *keep: str, share: float = 1.0) -> Placement:
    return Placement("chat", serve, keep, "", share)


async def test_the_file_says_what_it_is_and_equal_weights_reload_nothing(rig: Rig) -> None:
    driver = rig.driver(options=["keepalive 4"])
    await driver.place("nginx", to("v2", "v1", share=0.05))
    assert rig.nginx.include.read_text().splitlines() == [
        "# v2 5%, v1 95%. Written by the control plane, which replaces this file at every change of weights.",
        "log_format controlplane_chat '$pid $upstream_addr';",
        "upstream chat {",
        "  zone chat 64k;",
        "  keepalive 4;",
        f"  server {rig.versions.address('v1')} weight=19;",
        f"  server {rig.versions.address('v2')} weight=1;",
        "}",
    ]
    before = workers(rig.nginx.folder / "nginx.pid")
    await driver.place("nginx", to("v2", "v1", share=0.05))
    assert workers(rig.nginx.folder / "nginx.pid").serving.keys() == before.serving.keys()


async def test_a_configuration_that_nginx_refuses_leaves_the_old_file_and_the_old_weights(rig: Rig) -> None:
    driver = rig.driver()
    await driver.place("nginx", to("v2", "v1", share=0.5))
    before = rig.nginx.include.read_text()
    good = rig.nginx.config.read_text()
    rig.nginx.config.write_text(good + "nonsense;")
    with pytest.raises(EngineRefused, match=r"the old file is back: .*unknown directive \"nonsense\""):
        await driver.place("nginx", to("v2"))
    assert rig.nginx.include.read_text() == before
    seen = await seen_by(driver)
    assert (seen.weights, seen.pending) == ({"v1": 0.5, "v2": 0.5}, "")  # nginx has the old file, also by its age
    with pytest.raises(Refused, match='unknown directive "nonsense"'):
        await driver.prepare("v2")
    assert set(await clients(rig.nginx.url, 20)) == {"v1", "v2"}
    rig.nginx.config.write_text(good)
    await driver.place("nginx", to("v2"))
    assert await clients(rig.nginx.url, 5) == {"v2": 5}


async def test_a_file_that_nginx_has_not_loaded_is_pending_until_a_reload(rig: Rig) -> None:
    driver = rig.driver()
    text = rig.nginx.include.read_text()
    await asyncio.sleep(0.05)  # the clock of processes has ticks of 10 ms
    rig.nginx.include.write_text(text.replace(rig.versions.address("v1"), rig.versions.address("v2")))
    seen = await seen_by(driver)
    assert seen.serving == "v2"
    assert seen.pending == f"nginx has not loaded {rig.nginx.include}: 2 of its workers are older than the file"
    assert await clients(rig.nginx.url, 3) == {"v1": 3}
    await driver.place("nginx", to("v2"))
    assert (await seen_by(driver)).pending == ""
    assert await clients(rig.nginx.url, 3) == {"v2": 3}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pid_file": "/none.pid"}, "/none.pid names no process .* is nginx running here"),
        ({"program": "/none/nginx"}, "/none/nginx could not be started"),
        ({"include": "/none.conf"}, "/none.conf does not exist; write `upstream chat"),
        ({"upstream": "other"}, "has other contents than the driver writes: it has no `upstream other`"),
        ({"access_log": "/none.log"}, "access_log: /none.log cannot be read"),
    ],
)
async def test_planning_names_the_fault_of_the_set_up_and_its_cure(
    rig: Rig, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        await rig.driver(**fields).prepare("v2")


async def test_a_file_that_is_not_included_is_refused_and_put_back(rig: Rig, tmp_path: Path) -> None:
    other = tmp_path / "other.conf"
    other.write_text(rig.nginx.include.read_text())
    driver = rig.driver(include=str(other))
    with pytest.raises(EngineRefused, match=f"does not include {other}; add `include {other};`"):
        await driver.place("nginx", to("v2"))
    assert (await seen_by(driver)).serving == "v1"


async def test_an_order_that_is_cut_off_before_nginx_accepted_it_leaves_the_old_file(rig: Rig) -> None:
    driver = rig.driver(program=str(waiting := rig.nginx.folder / "waiting"))
    waiting.write_text("#!/bin/sh\ntouch tested; exec sleep 600\n".replace("tested", str(waiting) + ".called"))
    waiting.chmod(0o755)
    before, age = rig.nginx.include.read_text(), rig.nginx.include.stat().st_mtime_ns
    order = asyncio.create_task(driver.place("nginx", to("v2")))
    await until(waiting.with_suffix(".called").exists)
    assert rig.nginx.include.read_text() != before
    order.cancel()
    await asyncio.gather(order, return_exceptions=True)
    assert (rig.nginx.include.read_text(), rig.nginx.include.stat().st_mtime_ns) == (before, age)
    seen = await seen_by(driver)
    assert (seen.serving, seen.pending) == ("v1", "")


async def test_a_reload_by_somebody_else_during_a_refused_order_is_not_taken_for_the_old_weights(rig: Rig) -> None:
    driver = rig.driver(program=str(refusing := rig.nginx.folder / "refusing"))
    reload = f"nginx -c {rig.nginx.config} -s reload"
    refusing.write_text(f"#!/bin/sh\n{reload}; until test -e {refusing}.go; do sleep 0.02; done; echo no >&2; exit 1\n")
    refusing.chmod(0o755)
    pid_file = rig.nginx.folder / "nginx.pid"
    old = set(workers(pid_file).serving)
    order = asyncio.create_task(driver.place("nginx", to("v2")))
    await until(lambda: bool(now := workers(pid_file).serving) and not old & set(now))
    refusing.with_suffix(".go").touch()
    with pytest.raises(EngineRefused, match=r"the old file is back: .*no$"):
        await order
    seen = await seen_by(driver)
    assert seen.serving == "v1"
    assert "nginx has not loaded" in seen.pending
    assert await clients(rig.nginx.url, 3) == {"v2": 3}


async def test_a_file_that_did_not_exist_does_not_stay_when_nginx_refuses_it(rig: Rig, tmp_path: Path) -> None:
    driver = rig.driver(include=str(tmp_path / "fresh.conf"))
    with pytest.raises(EngineRefused, match=r"does not include .*fresh\.conf"):
        await driver.place("nginx", to("v2"))
    assert not (tmp_path / "fresh.conf").exists()


async def test_a_model_that_nginx_refuses_does_not_disturb_another_model_of_the_same_nginx(rig: Rig) -> None:
    other = rig.nginx.folder / "other.conf"
    other.write_text(f"upstream other {{\n  server {rig.versions.address('v1')};\n}}\n")
    config = rig.nginx.config.read_text()
    rig.nginx.config.write_text(config.replace("include ", f"include {other};\n  include ", 1))
    good, bad = rig.driver(), rig.driver(include=str(other), upstream="other", options=["nonsense"])
    for share in (0.2, 0.4, 0.5):
        refused, placed = await asyncio.gather(
            bad.place("nginx", to("v2")), good.place("nginx", to("v2", "v1", share=share)), return_exceptions=True
        )
        assert isinstance(refused, EngineRefused)
        assert placed is None
    assert (await seen_by(good)).weights == {"v1": 0.5, "v2": 0.5}
    assert (await seen_by(bad)).weights == {"v1": 1.0}


async def test_a_reload_by_a_command_is_confirmed_by_new_workers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.driver(reload=["nginx", "-c", str(rig.nginx.config), "-s", "reload"]).place("nginx", to("v2"))
    assert await clients(rig.nginx.url, 3) == {"v2": 3}
    with pytest.raises(EngineRefused, match="the command of reload: failed: no such unit"):
        await rig.driver(reload=["sh", "-c", "echo no such unit >&2; exit 5"]).place("nginx", to("v1"))
    monkeypatch.setattr(nginx_proxy, "RELOAD_S", 0.2)
    with pytest.raises(Unavailable, match=r"its old workers still serve after 0\.2 s; its error log"):
        await rig.driver(reload=["true"]).place("nginx", to("v1", "v2", share=0.5))


async def test_without_a_log_nothing_is_counted_and_the_plan_says_so(rig: Rig) -> None:
    driver = rig.driver(access_log=None)
    assert (await seen_by(driver)).requests is None
    known = (await driver.prepare("v2")).known
    assert any("add `access_log FILE controlplane_chat;` to nginx.conf" in sentence for sentence in known)


async def test_counts_go_on_when_the_log_is_rotated(rig: Rig) -> None:
    driver = rig.driver()
    await driver.place("nginx", to("v2"))
    await seen_by(driver)
    await clients(rig.nginx.url, 3)
    await counted(driver, v2=3)
    rig.nginx.log.rename(rig.nginx.log.with_suffix(".1"))
    await asyncio.to_thread(rig.nginx.restart)
    await clients(rig.nginx.url, 2)
    await counted(driver, v2=5)
