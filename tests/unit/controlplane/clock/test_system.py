"""The timeline: it follows small differences, and steps only when it is told to."""

from __future__ import annotations

import pytest

from tests.fakes.machine_clock import Machine


@pytest.mark.parametrize("by", [1.0, -1.0, 30.0, -30.0, 300.0, -300.0, 3600.0, -3600.0])
def test_a_step_is_measured_and_followed_only_when_it_is_adopted(by: float) -> None:
    machine = Machine()
    clock = machine.clock
    machine.elapsed += 10
    machine.set(by)
    assert clock.now() == 1_000_060.0
    assert clock.measure() == by
    assert clock.now() == 1_000_060.0
    machine.elapsed += 1
    step = clock.adopt()
    assert step is not None
    assert (step.by_s, step.at, step.number) == (by, 1_000_061.0 + by, 1)
    assert clock.now() == 1_000_061.0 + by
    assert clock.measure() == 0
    report = clock.report()
    assert (report.forward, report.back, report.last, report.creep_s) == (int(by > 0), int(by < 0), step, 0.0)


def test_a_step_that_was_taken_back_before_it_was_adopted_is_none() -> None:
    machine = Machine()
    clock = machine.clock
    machine.set(-300)
    assert clock.measure() == -300
    machine.set(300)
    assert clock.adopt() is None
    assert clock.report().last is None


@pytest.mark.parametrize(("ppm", "creeps"), [(50, False), (-50, False), (600, True), (-600, True)])
def test_a_clock_that_creeps_is_followed_and_adds_up(ppm: int, creeps: bool) -> None:
    machine = Machine()
    clock = machine.clock
    for _ in range(7200):
        machine.elapsed += 1
        machine.set(ppm / 1e6)
        assert clock.measure() == 0
    assert clock.now() == machine.wall()
    assert clock.report().creep_s == pytest.approx(3600 * ppm / 1e6, rel=0.02)
    assert clock.report().creeps is creeps
    for _ in range(3700):
        machine.elapsed += 1
        clock.measure()
    assert clock.report().creep_s == pytest.approx(0, abs=1e-6)


def test_being_held_up_between_two_readings_is_no_step() -> None:
    machine = Machine()
    clock = machine.clock
    readings = iter([60.0, 75.0])
    clock.monotonic = lambda: next(readings, 75.0)
    machine.elapsed = 60.0
    assert clock.measure() == 0
    assert clock.report().creep_s == 0
