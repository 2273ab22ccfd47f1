"""A disk that takes no more: the gateway serves on, applies what is new, and writes what waited when there is room."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.gateway.desired.codec import decode, sealed
from controlplane.gateway.desired.document import Desired, LimitSpec
from tests.fakes.chat_engine import chat_engine
from tests.fakes.gateway_control_plane import desired_of, gateway_control_plane
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import GatewayUp, chat, gateway_up

REFUSED = "File too large"
"""The kernel's word for RLIMIT_FSIZE. A full file system says `No space left on device` at the same calls."""


def limited(desired: Desired) -> Desired:
    """Return a state whose model has a budget, so that what is spent is written."""
    limits = LimitSpec(daily_tokens=1_000_000)
    return sealed(replace(desired, models=tuple(replace(model, limits=limits) for model in desired.models)))


async def bound(gateway: GatewayUp, size: int) -> None:
    """Let no file of the gateway's processes grow beyond a size. -1: without a bound."""
    for pid in (gateway.pid, *await gateway.workers()):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.parametrize("size", [1, 100], ids=["nothing is written", "a part of a line is written"])
async def test_a_full_disk_stops_no_request_and_loses_no_record(tmp_path: Path, size: int) -> None:
    async with (
        asyncio.timeout(2 * PROCESS_S),
        chat_engine("one") as one,
        chat_engine("two") as two,
        gateway_control_plane() as (plane, port),
    ):
        fleet = (
            "fleet: {name: test}\n"
            f'gateway: {{name: gw, workers: 2, control_plane: {{url: "http://127.0.0.1:{port}"}}}}\n'
        )
        plane.give(first := limited(desired_of(1, v1=(1000, one.url))))
        async with gateway_up(tmp_path, fleet) as gateway:
            await plane.report_with(first.revision)
            assert [await chat(gateway.port) for _ in range(4)] == ["one"] * 4
            while plane.ledger.requests < 4:
                await plane.next_report()

            await bound(gateway, size)
            assert [await chat(gateway.port) for _ in range(8)] == ["one"] * 8
            await gateway.said(f"usage records wait in memory: .*{REFUSED}")
            await gateway.said(f"spent.json: {REFUSED}; after a crash budgets would begin with older sums")
            plane.give(second := limited(desired_of(2, v1=(0, one.url), v2=(1000, two.url))))
            await plane.report_with(second.revision)
            await gateway.said(f"desired.json cannot be written: {REFUSED}; without it a restart begins with an older")
            plane.shares = {"model/chat": 0.5, "key/" + "k" * 100: 0.5}
            await gateway.said(
                f"shares.json cannot be written: {REFUSED}; without it a restart begins with older shares"
            )
            assert [await chat(gateway.port) for _ in range(8)] == ["two"] * 8
            assert plane.ledger.requests == 4
            assert decode((tmp_path / "data" / "desired.json").read_bytes()) == first, "a whole file, or the old one"

            await bound(gateway, -1)
            while plane.ledger.requests < 20:
                await plane.next_report()
            await gateway.said("usage records are written again", times=2)
            plane.give(third := limited(desired_of(3, v1=(1000, one.url))))
            await plane.report_with(third.revision)
            while decode((tmp_path / "data" / "desired.json").read_bytes()).revision != third.revision:
                await plane.next_report()
        assert plane.ledger.requests == 20, "each record is counted once"
        assert not [file.name for file in (tmp_path / "data").rglob("*") if file.suffix == ".new"]
        assert not [line for line in gateway.log if "later release" in line or "damaged" in line]
