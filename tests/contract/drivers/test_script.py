"""The driver `exec`: programs that answer, refuse, hang, flood, and answer something else."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import BackendObservation, Driver, EngineRefused, Placement
from tests.contract.drivers.cases import made
from tests.contract.drivers.versions import Versions

HALF = Placement("chat", "v2", ("v1",), "", 0.5)


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Callable[..., Driver]]:
    """Makes a driver of a shell script with this body."""
    drivers: list[Driver] = []
    async with Versions() as versions:

        def make(body: str, **fields: Any) -> Driver:
            script = tmp_path / "program"
            script.write_text(f"#!/bin/sh\n{body}\n")
            script.chmod(0o755)
            given = {"command": [str(script)], "weights": True, **fields}
            drivers.append(made(versions.section(driver="exec", **given)))
            return drivers[-1]

        yield make
        for driver in drivers:
            await driver.close()


async def seen_by(driver: Driver) -> BackendObservation:
    return (await driver.observe()).backend("exec")


async def test_a_call_is_one_json_object_and_the_environment_is_what_is_listed(
    program: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setenv("REGION", "eu")
    body = f"env > {tmp_path}/env; cat > {tmp_path}/said; echo '{{\"schema\": 1}}'"
    await program(body, environment=["REGION", "UNSET"]).place("exec", HALF)
    said = json.loads((tmp_path / "said").read_text())
    assert {name: said[name] for name in ("schema", "verb", "model", "weights")} == {
        "schema": 1,
        "verb": "place",
        "model": "chat",
        "weights": {"v1": 0.5, "v2": 0.5},
    }
    assert set(said["versions"]) == {"v1", "v2", "v3"}
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert found["PATH"] == os.environ["PATH"]
    assert found["REGION"] == "eu"
    assert set(found) - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "REGION"}


async def test_what_a_program_observes_is_checked_and_shown(program: Callable[..., Driver]) -> None:
    said = {
        "schema": 1,
        "weights": {"v1": 0.75, "v2": 0.25},
        "open": {"v1": 2},
        "requests": {"v1": 9},
        "pending": "soon",
    }
    seen = await seen_by(program(f"cat > /dev/null; echo '{json.dumps(said)}'"))
    assert (seen.weights, seen.open, seen.requests, seen.pending) == (said["weights"], {"v1": 2}, {"v1": 0}, "soon")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 1", "ended with status 1 at observe: it wrote nothing to standard error"),
        ("echo broken >&2; exit 7", "ended with status 7 at observe: broken"),
        ("echo no >&2; exit 3", "refused observe: no"),
        ("echo hi", "is not of the schema"),
        ("echo []", "expected one JSON object"),
        ("echo '{}'", 'expected "schema": 1, got null'),
        ("""echo '{"schema": 1}'""", 'expected "weights": the share of each version'),
        ("""echo '{"schema": 1, "weights": {"v9": 1}}'""", "'v9', which is no version in fleet.yaml"),
        ("""echo '{"schema": 1, "weights": {"v1": 2}}'""", "the weight of v1 must be a share from 0 to 1"),
        ("""echo '{"schema": 1, "weights": {"v1": 0.5}}'""", "the weights add up to 0.5 instead of 1"),
        ("""echo '{"schema": 1, "weights": {}, "open": {"v1": -1}}'""", "open must hold a whole number"),
        ("yes", "wrote more than 1048576 bytes and was killed"),
        ("sleep 600", "did not end within 0.5 s and was killed"),
    ],
)
async def test_a_program_that_fails_makes_the_state_unknown(
    program: Callable[..., Driver], body: str, words: str
) -> None:
    seen = await seen_by(program(body, timeout="500ms" if "sleep" in body else "30s"))
    assert (seen.reachable, seen.weights) == (False, {})
    assert words in seen.error


async def test_status_3_refuses_and_every_other_failure_leaves_the_result_open(program: Callable[..., Driver]) -> None:
    with pytest.raises(EngineRefused, match="refused place: not on Fridays"):
        await program("echo not on Fridays >&2; exit 3").place("exec", HALF)
    with pytest.raises(Unavailable, match="ended with status 4 at place"):
        await program("exit 4").place("exec", HALF)
    with pytest.raises(Unavailable, match="command: must name a program"):
        await program("true", command=["/none/program"]).place("exec", HALF)


async def test_planning_shows_the_programs_own_reasons(program: Callable[..., Driver]) -> None:
    said = json.dumps({"schema": 1, "reasons": ["no room on gpu-3"]})
    with pytest.raises(Refused, match="no room on gpu-3"):
        await program(f"echo '{said}'").prepare("v2")


async def test_without_weights_only_whole_moves_are_ordered(program: Callable[..., Driver]) -> None:
    driver = program("echo '{\"schema\": 1}'", weights=False)
    assert not driver.capabilities.weights
    with pytest.raises(EngineRefused, match="moves only all requests at once"):
        await driver.place("exec", HALF)
    await driver.place("exec", Placement("chat", "v2", (), ""))
