"""Names in manifests: what an escape stands for, and what has to be escaped."""

import os

import pytest

from arvados_fuse.collection.escape import escape, unescape


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("plain", "plain"),
        (r"my\040file", "my file"),
        (r"\000\001\177", "\x00\x01\x7f"),
        (r"back\134slash", "back\\slash"),
        (r"\134040", r"\040"),
        (r"one\072two", "one:two"),
        (r"a\057b", "a/b"),
        ("é文\U0001f9ec", "é文\U0001f9ec"),
    ],
)
def test_three_octal_digits_are_one_byte(token, name):
    assert unescape(token) == name


def test_a_run_of_escapes_is_decoded_as_utf8():
    assert unescape(r"\303\251") == "é"
    assert unescape(r"x\346\226\207\040y") == "x文 y"


def test_bytes_that_are_not_utf8_become_what_the_system_makes_of_them():
    assert unescape(r"a\377\303b") == os.fsdecode(b"a\xff\xc3b")


def test_a_long_run_of_escapes_is_decoded_like_a_short_one():
    assert unescape(r"\303\251" * 1000) == "é" * 1000


@pytest.mark.parametrize("token", [r"\4", r"\400", r"\777", r"\08x", r"\\", "end\\", r"\x41"])
def test_a_backslash_that_begins_no_escape_stands_for_itself(token):
    assert unescape(token) == token


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("my file", r"my\040file"),
        ("\x00\t\n\r\x1f", r"\000\011\012\015\037"),
        ("a:b\\c", r"a\072b\134c"),
        ("dir/é文\x7f\u00a0+'\"", "dir/é文\x7f\u00a0+'\""),
        (os.fsdecode(b"\xff"), r"\377"),
    ],
)
def test_control_characters_space_backslash_colon_and_broken_utf8_are_escaped(name, token):
    assert escape(name) == token
    assert unescape(token) == name
