"""The clock that goes on while the machine sleeps."""

import time

import pytest

from arvados_fuse.clock import asleep_s, lasting_clock
from tests.support.sleeping import Machine


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_it_counts_what_the_machine_has_slept(machine):
    before = lasting_clock()
    machine.sleep(1000)
    assert 1000 <= lasting_clock() - before < 1100


def test_waiting_does_not(machine):
    before = time.monotonic()
    machine.sleep(1000)
    assert time.monotonic() - before < 100


def test_the_difference_is_told(machine):
    before = asleep_s()
    machine.sleep(1000)
    assert asleep_s() - before == pytest.approx(1000, abs=1)
