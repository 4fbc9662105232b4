"""How many copies of a block are asked for, in which storage classes, and when those are enough."""

import pytest

from arvados_fuse.api import Desired
from arvados_fuse.commit.copies import Copies, Standard

CLUSTER = Standard(2, ())


@pytest.mark.parametrize("desired", [None, Desired(), Desired(None, ())])
def test_who_says_nothing_gets_what_is_usual(desired):
    assert CLUSTER.copies(desired) == Copies(2, ())


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_a_collection_has_as_many_copies_as_it_wants(replicas):
    assert CLUSTER.copies(Desired(replicas)) == Copies(replicas, ())


def test_a_collection_is_in_the_classes_that_it_wants():
    assert CLUSTER.copies(Desired(None, ("hot", "cold"))) == Copies(2, ("hot", "cold"))


def test_classes_of_the_command_line_come_first():
    standard = Standard(2, ("archive",))
    assert standard.copies(Desired(3, ("hot",))) == Copies(3, ("archive",))
    assert standard.copies(None) == Copies(2, ("archive",))


@pytest.mark.parametrize(
    ("stored", "wanted", "is_enough"),
    [
        (Copies(2, ()), Copies(2, ()), True),
        (Copies(3, ()), Copies(2, ()), True),
        (Copies(1, ()), Copies(2, ()), False),
        (Copies(2, ("hot", "cold")), Copies(2, ("hot",)), True),
        (Copies(2, ("hot",)), Copies(2, ("hot", "cold")), False),
        (Copies(2, ()), Copies(2, ("hot",)), False),
        (Copies(2, ("hot",)), Copies(2, ()), False),
    ],
)
def test_copies_include_what_is_wanted(stored, wanted, is_enough):
    """Which classes the cluster chooses itself is not known here."""
    assert stored.include(wanted) is is_enough
