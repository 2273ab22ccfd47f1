"""Ports of the tests' servers: no two processes have one, and none is taken at the moment."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import ports
from tests.patience import PROCESS_S
from tests.ports import BLOCK, BLOCKS, FIRST, Ports, free_address, free_port

ROOT = Path(__file__).parents[2]
OTHER = "import sys; from pathlib import Path; from tests.ports import Ports; print(Ports(Path(sys.argv[1])).next())"


def other_process(folder: Path) -> int:
    """Return the first port of another process, which has ended."""
    command = [sys.executable, "-c", OTHER, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=PROCESS_S)
    return int(done.stdout)


def test_ports_are_outside_those_that_the_kernel_gives_to_clients() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert lowest >= FIRST + BLOCK * BLOCKS
    assert FIRST <= free_port() < FIRST + BLOCK * BLOCKS
    assert free_address().startswith("127.0.0.1:")


def test_another_process_has_other_ports_until_this_one_has_ended(tmp_path: Path) -> None:
    own = Ports(tmp_path)
    assert own.next() // BLOCK * BLOCK == FIRST
    assert other_process(tmp_path) // BLOCK * BLOCK == FIRST + BLOCK
    assert other_process(tmp_path) // BLOCK * BLOCK == FIRST + BLOCK, "its block is free again"


def test_no_port_is_one_that_browsers_refuse() -> None:
    assert FIRST > 10_080


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ports:
    """The only block of a folder: three ports of this process, which nobody else takes."""
    monkeypatch.setattr(ports, "FIRST", FIRST + (free_port() - FIRST) // BLOCK * BLOCK)
    monkeypatch.setattr(ports, "BLOCK", 3)
    monkeypatch.setattr(ports, "BLOCKS", 1)
    return Ports(tmp_path)


def test_each_port_comes_in_its_turn_and_one_in_use_is_passed_by(three: Ports) -> None:
    first, second, third = (three.next() for _ in range(3))
    assert len({first, second, third}) == 3
    with socket.create_server(("127.0.0.1", second)):
        assert [three.next() for _ in range(4)] == [first, third, first, third]
    assert three.next() == first


def test_where_nothing_is_free_that_is_told(three: Ports, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_server(("127.0.0.1", three.next())))
        with pytest.raises(OSError, match="no port of 3 is free"):
            three.next()
    with pytest.raises(OSError, match="1 processes have ports of"):
        Ports(tmp_path)
