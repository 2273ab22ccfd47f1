from __future__ import annotations

import pytest

from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.gateway.limits.directory import Directory
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.memory import AT_LAYOUT, MOST_LIMITS, REQUESTS_USED, SLOTS, Memory
from controlplane.gateway.seams import Area
from tests.fakes.limits import new_area


@pytest.fixture
def memory() -> Memory:
    return Memory(new_area())


@pytest.fixture
def directory(memory: Memory) -> Directory:
    return Directory(memory, Locks(memory))


def test_every_process_finds_the_same_slot(memory: Memory, directory: Directory) -> None:
    places = directory.allot(["key/a", "tenant/a", "model/a"])
    assert len({place.slot for place in places.values()}) == 3
    other = Memory(memory.area)
    assert {limit_id: Directory(other, Locks(other)).find(limit_id) for limit_id in places} == places


def test_a_slot_stays_while_its_limit_does(directory: Directory) -> None:
    before = directory.allot(["key/a", "key/b"])
    after = directory.allot(["key/c", "key/b", "key/a"])
    assert {limit_id: after[limit_id] for limit_id in before} == before


def test_a_freed_slot_is_another_limit_s_with_another_generation(memory: Memory, directory: Directory) -> None:
    directory.allot(["key/a"])
    old = directory.find("key/a")
    assert old is not None
    memory.floats[memory.slot(old.slot) + REQUESTS_USED] = 5.0
    assert directory.free_all_but([]) == 1
    assert directory.find("key/a") is None
    new = directory.allot(["key/a"])["key/a"]
    assert new.slot == old.slot and new.generation > old.generation
    assert memory.floats[memory.slot(new.slot) + REQUESTS_USED] == 0.0


def test_limits_are_found_behind_freed_ones(directory: Directory) -> None:
    """Thousands of ids collide; freeing half of them loses none of the others."""
    ids = [f"key/{number}" for number in range(MOST_LIMITS)]
    places = directory.allot(ids)
    kept = ids[::2]
    assert directory.free_all_but(kept) == MOST_LIMITS // 2
    assert {limit_id: directory.find(limit_id) for limit_id in kept} == {
        limit_id: places[limit_id] for limit_id in kept
    }
    assert all(directory.find(limit_id) is None for limit_id in ids[1::2])


def test_years_of_changing_keys_fill_nothing(directory: Directory) -> None:
    for year in range(6):
        ids = [f"key/{year}/{number}" for number in range(SLOTS // 4)]
        assert len({place.slot for place in directory.allot(ids).values()}) == len(ids)
        directory.free_all_but(ids)
    assert directory.find("key/0/0") is None


def test_too_many_limits_are_refused_and_change_nothing(directory: Directory) -> None:
    directory.allot(["key/a"])
    with pytest.raises(BadDesired, match=r"8193 keys, tenants and models have limits; a gateway can hold 8192"):
        directory.allot([f"key/{number}" for number in range(MOST_LIMITS + 1)])
    assert directory.find("key/1") is None and directory.find("key/a") is not None


def test_memory_of_another_layout_is_refused(memory: Memory) -> None:
    memory.floats[AT_LAYOUT] = 99.0
    with pytest.raises(GatewayError, match="layout 99; this release reads 1"):
        Memory(memory.area)
    with pytest.raises(GatewayError, match="has 8 bytes"):
        Memory(Area(memoryview(bytearray(8)), 0, 0))
