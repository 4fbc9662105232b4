"""Blocks whose signatures can be used again, and until when."""

import time

import pytest

from arvados_fuse.commit import known
from arvados_fuse.commit.copies import Copies
from arvados_fuse.commit.known import KnownBlocks

BLOCK = "a" * 32 + "+10"
SIGNED = f"{BLOCK}+Asignature@1"
TWO = Copies(2, ())


class World:
    token = "first"
    now = 1000.0


@pytest.fixture
def world():
    return World()


@pytest.fixture
def blocks(world):
    return KnownBlocks(lambda: world.token, 60.0, lambda: world.now)


def test_a_block_is_known_for_its_time(blocks, world):
    assert blocks.locator(BLOCK, TWO) is None
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    world.now += 59
    assert blocks.locator(BLOCK, TWO) == SIGNED
    world.now += 1
    assert blocks.locator(BLOCK, TWO) is None


def test_a_signature_is_for_one_token(blocks, world):
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    world.token = "second"
    assert blocks.locator(BLOCK, TWO) is None


def test_a_block_that_was_on_its_way_when_the_token_changed_is_not_known(blocks, world):
    world.token = "second"
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    assert blocks.locator(BLOCK, TWO) is None


def test_what_is_forgotten_is_sent_again(blocks):
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    blocks.forget(BLOCK)
    blocks.forget(BLOCK)
    assert blocks.locator(BLOCK, TWO) is None


def test_those_used_last_are_remembered(blocks, monkeypatch):
    monkeypatch.setattr(known, "MOST_BLOCKS", 2)
    names = [f"{digit * 32}+1" for digit in "abc"]
    for name in names[:2]:
        blocks.stored(name, name, "first", TWO)
    assert blocks.locator(names[0], TWO)
    blocks.stored(names[2], names[2], "first", TWO)
    assert [blocks.locator(name, TWO) for name in names] == [names[0], None, names[2]]


def test_a_block_of_fewer_copies_than_are_wanted_is_not_known(blocks):
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    assert blocks.locator(BLOCK, Copies(3, ())) is None
    assert blocks.locator(BLOCK, Copies(2, ("archive",))) is None
    assert blocks.locator(BLOCK, Copies(1, ())) == SIGNED


def test_a_block_grows_old_while_the_machine_sleeps(monkeypatch):
    """What was stored before a long sleep may be collected as garbage by then."""
    passed = {time.CLOCK_BOOTTIME: 0.0, time.CLOCK_MONOTONIC: 0.0}
    monkeypatch.setattr(time, "clock_gettime", passed.__getitem__)
    blocks = KnownBlocks(lambda: "first", 60.0)
    blocks.stored(BLOCK, SIGNED, "first", TWO)
    passed[time.CLOCK_BOOTTIME] = 59.0
    assert blocks.locator(BLOCK, TWO) == SIGNED
    passed[time.CLOCK_BOOTTIME] = 61.0
    assert blocks.locator(BLOCK, TWO) is None
