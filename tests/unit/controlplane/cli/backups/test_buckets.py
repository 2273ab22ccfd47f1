"""`backup create` of a bucket, and addresses that are refused, in a subprocess."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.fakes.s3.faults import Fault, Kind, Operation
from tests.fakes.s3.server import s3_server
from tests.patience import PROCESS_S, wait_until
from tests.unit.controlplane.cli.backups.conftest import PROGRAM, Machine


def test_a_bucket_is_backed_up_under_the_name_of_its_prefix_and_restored_into_a_folder(machine: Machine) -> None:
    with s3_server() as server:
        machine.environment |= server.environment
        server.put("t/triton/chat/1/model.bin", bytes(range(256)) * 20_000)
        server.put("t/triton/ensemble/1/", b"")
        made = json.loads(machine.backup("create", "s3://models/t/triton", "-o", "json").stdout)
        assert (made["subject"], made["source"], made["files"]) == ("triton", "s3://models/t/triton", 1)
        machine.backup("restore", "triton", machine.home / "out")
        assert (machine.home / "out" / "chat" / "1" / "model.bin").read_bytes() == bytes(range(256)) * 20_000
        assert (machine.home / "out" / "ensemble" / "1").is_dir()
        said = machine.backup("create", "s3://models/none", code=1).stderr
        assert "s3://models/none cannot be backed up: no object is below it" in said
        server.faults = [Fault(Kind.REFUSED, Operation.LIST)]
        said = machine.backup("create", "s3://models/t/triton", code=1).stderr
        assert "s3://models/t/triton: listing: " in said and "AccessDenied" in said


def test_ctrl_c_does_not_wait_for_a_bucket_that_hangs(machine: Machine) -> None:
    with s3_server() as server:
        server.put("t/model.bin", bytes(20 << 20))
        server.faults = [Fault(Kind.HANG, Operation.GET)]
        process = subprocess.Popen(
            [*PROGRAM, "backup", "create", "s3://models/t"],
            env=machine.environment | server.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: server.count(Operation.GET) >= 4, PROCESS_S)
        process.send_signal(signal.SIGINT)
        # The deadlines of its requests are a minute, and each is repeated.
        said = process.communicate(timeout=PROCESS_S)[1]
    assert "ended: no snapshot was made" in said and "Traceback" not in said
    assert list((machine.repository / "intents").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("create", "https://models/t"), 2, "is no folder and no bucket"),
        (("create", "s3://key:secret@models/t"), 1, "credentials or options in it is refused"),
        (("restore", "models", "s3://models/t"), 2, "a bucket cannot get a whole tree at one instant"),
    ],
)
def test_addresses_that_are_refused(machine: Machine, words: tuple[str, ...], code: int, told: str) -> None:
    said = machine.backup(*words, code=code).stderr
    assert told in said and "secret" not in said


def test_a_source_around_the_repository_is_refused(machine: Machine) -> None:
    with s3_server() as server:
        machine.environment |= server.environment
        bucket = ("--repository", "s3://models/t/backups", "--key-file", machine.home / "own.key")
        machine.backup("init", *bucket)
        for source in ("s3://models/t", "S3://models/t", "s3://models/t/backups/", "s3://models/t/backups/packs"):
            assert "must not contain each other" in machine.backup("create", source, *bucket, code=2).stderr
