"""Small words of messages."""

import pytest

from arvados_fuse.words import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 failures"), (1, "1 failure"), (2, "2 failures")]
)
def test_one_thing_is_not_said_to_be_several(number: int, words: str) -> None:
    assert counted(number, "failure") == words
