from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from controlplane.demo.faults import DESCRIPTIONS, SECRET_HEADER, DemoFault, DemoFaults
from controlplane.demo.simulate import Admin, SimulatedFleet, main
from controlplane.errors import NotFound


def test_faults_add_up_until_they_are_cleared() -> None:
    seen: list[frozenset[DemoFault]] = []
    faults = DemoFaults(seen.append)
    faults.apply("slow-v2")
    assert faults.apply("gpu-hot") == {DemoFault.SLOW_V2, DemoFault.GPU_HOT}
    assert faults.apply("clear") == frozenset()
    assert [len(active) for active in seen] == [1, 2, 0]


def test_an_unknown_fault_names_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"'hot'.*slow-v2, errors, down-v2, gpu-hot, vram-full, clear"):
        DemoFaults().apply("hot")


def test_every_fault_is_described() -> None:
    assert set(DESCRIPTIONS) == set(DemoFault)


async def test_the_admin_port_needs_its_secret(serve: Any) -> None:
    faults = DemoFaults()
    url = await serve(Admin(faults, "s3cret").app()) + "/fault"
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {SECRET_HEADER: "guess"}):
            async with session.post(url, json={"name": "gpu-hot"}, headers=headers) as response:
                assert response.status == 403
            async with session.get(url, headers=headers) as response:
                assert response.status == 403
    assert faults.active == frozenset()


async def test_the_admin_port_applies_lists_and_refuses(serve: Any) -> None:
    faults = DemoFaults()
    url = await serve(Admin(faults, "s3cret").app()) + "/fault"
    async with aiohttp.ClientSession(headers={SECRET_HEADER: "s3cret"}) as session:
        async with session.post(url, json={"name": "gpu-hot"}) as response:
            assert (await response.json())["active"] == ["gpu-hot"]
        async with session.get(url) as response:
            answer = await response.json()
            assert answer["active"] == ["gpu-hot"]
            assert answer["available"]["slow-v2"].startswith("version 2")
        async with session.post(url, json={"name": "nonsense"}) as response:
            assert response.status == 404
            assert "slow-v2" in (await response.json())["detail"]
        for body in (b"{", b"[]", b"{}"):
            async with session.post(url, data=body) as response:
                assert response.status == 400


async def test_gpus_work_for_the_engine_that_they_are_given_to(serve: Any) -> None:
    fleet = SimulatedFleet(DemoFaults())
    url = await serve(fleet.dcgm_app())
    async with aiohttp.ClientSession() as session, session.get(url + "/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert (await response.text()).count("DCGM_FI_DEV_GPU_TEMP{") == 4


def test_the_process_refuses_to_start_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CP_DEMO_SECRET", raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(["--vllm-v1", "1", "--vllm-v2", "2", "--dcgm", "3", "--admin", "4"])
    assert stopped.value.code == 2
    assert "set CP_DEMO_SECRET" in capsys.readouterr().err
