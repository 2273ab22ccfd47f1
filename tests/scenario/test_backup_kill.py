"""Writers, prunes and restores that are killed at random instants, on a folder and on a bucket."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.s3.server import s3_server
from tests.scenario.backup_attack import Attack

ROUNDS = 3


@pytest.fixture(params=["folder", "bucket"])
def attack(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attack]:
    with ExitStack() as stack:
        address, variables = (tmp_path / "repository").as_uri(), {}
        if request.param == "bucket":
            address, variables = "s3://models/repository", stack.enter_context(s3_server()).environment
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield Attack(address, tmp_path, random.Random(), variables)


def test_processes_that_are_killed_at_random_instants_lose_nothing(attack: Attack) -> None:
    attack.begin()
    for _ in range(ROUNDS):
        attack.attack()
    assert attack.ends.total() == 4 * ROUNDS
