"""Blocks of a temporary collection, of which nobody knows but the mount, stay in Keep."""

import hashlib
import re
import threading
from contextlib import ExitStack, nullcontext

import pytest

from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.copies import Standard
from arvados_fuse.commit.known import KnownBlocks
from arvados_fuse.commit.preservation import Preservation
from arvados_fuse.commit.recovery import Nobody
from arvados_fuse.commit.session import SCRATCH_PREFIX, Session
from arvados_fuse.commit.steps import Steps
from arvados_fuse.commit.uploads import Uploader
from arvados_fuse.errors import AccessRefused, TimedOut
from arvados_fuse.journal.journal import Journal
from tests.support.journals import ABOUT_US

NEVER_S = 1e9


class Keep:
    """Blocks that are served to the token alone that they were stored with.

    token: the one of now; refused: tokens that are good for nothing
    """

    def __init__(self):
        self.token = "first"
        self.refused = set()
        self.blocks = {}
        self.stored = []

    def put(self, data, *, classes, replicas, md5=None):
        block = f"{hashlib.md5(data).hexdigest()}+{len(data)}"
        self.blocks[block] = bytes(data)
        self.stored.append(block)
        return f"{block}+A{self.token}@70000000"

    def get(self, locator, sink, progress, restarted):
        self._get(locator, sink, self.token)

    def with_token(self, token):
        keep = self

        class Reader:
            def get(self, locator, sink, progress, restarted):
                keep._get(locator, sink, token)

        return Reader()

    def _get(self, locator, sink, token):
        if token in self.refused or f"+A{token}@" not in locator:
            raise AccessRefused("no")
        sink[:] = self.blocks[re.match(r"[^+]*\+\d*", locator)[0]]


class Scratch:
    """A temporary collection: its session, and the steps that bring it to Keep."""

    def __init__(self, directory, signature_ttl_s):
        self.keep = Keep()
        locked = threading.Lock()
        uploader = Uploader(
            self.keep, KnownBlocks(lambda: self.keep.token, signature_ttl_s / 2), Standard(1, ())
        )
        self.preservation = Preservation(self.keep, uploader, locked, signature_ttl_s)
        self.steps = Steps(
            None, None, uploader, self.preservation, locked=locked, conflict_name=str.upper
        )
        self.journal = Journal.create(directory, ABOUT_US, 1 << 30)
        self.session = Session(
            f"{SCRATCH_PREFIX}1",
            Tree.from_manifest(""),
            "",
            Nobody(),
            manifest_size=0,
            journal=self.journal,
            uploader=uploader,
            unlocked=nullcontext(),
        )

    def write(self, name, data):
        root = self.session.draft.root
        file = root.open_file(name) if root.has(name) else self.session.create(root, name)
        self.session.write(file, 0, data)

    def remove(self, name):
        self.session.draft.root.unlink(name)

    def compose(self):
        return self.steps.compose(self.session)


@pytest.fixture
def begin(tmp_path):
    """Begin a temporary collection, for signatures of a lifetime."""
    with ExitStack() as journals:

        def start(signature_ttl_s):
            scratch = Scratch(tmp_path, signature_ttl_s)
            journals.callback(scratch.journal.close)
            return scratch

        yield start


@pytest.fixture
def scratch(begin):
    return begin(NEVER_S)


def tokens(manifest):
    """The tokens for which the blocks of a manifest are signed."""
    return set(re.findall(r"\+A(\w+)@", manifest))


def test_what_was_stored_lately_is_not_stored_again(scratch):
    scratch.write("f", b"content")
    assert tokens(scratch.compose()) == {"first"}
    scratch.compose()
    assert len(scratch.keep.stored) == 1


def test_what_was_stored_long_ago_is_stored_again(begin):
    """Garbage is what nobody has stored for the lifetime of a signature."""
    scratch = begin(0.0)
    scratch.write("f", b"content")
    for count in (1, 2, 3):
        scratch.compose()
        assert len(scratch.keep.stored) == count


def test_it_is_looked_at_before_a_signature_runs_out(begin):
    """A block may be known for half of its life when it becomes part of the collection."""
    preservation = begin(800.0).preservation
    longest_known_s, longest_stay_s = 400.0, 200.0
    assert longest_known_s + longest_stay_s + preservation.interval_s < 800.0


def test_a_new_token_gets_all_blocks_signed_for_it(scratch):
    scratch.write("f", b"content")
    scratch.write("g", b"more")
    scratch.compose()
    scratch.write("h", b"with the first token in the journal, and sent with the second")
    scratch.keep.token = "second"
    assert tokens(scratch.compose()) == {"second"}
    assert tokens(scratch.compose()) == {"second"}


def test_a_token_that_changes_while_a_manifest_is_made_is_noticed(scratch, monkeypatch):
    put = scratch.keep.put

    def put_and_change(data, **how):
        locator = put(data, **how)
        scratch.keep.token = "second"
        return locator

    monkeypatch.setattr(scratch.keep, "put", put_and_change)
    scratch.write("f", b"content")
    assert tokens(scratch.compose()) == {"second"}


def test_a_block_that_was_signed_just_after_the_change_is_read_with_the_new_token(scratch):
    put = scratch.keep.put

    def change_and_put(data, **how):
        scratch.keep.token = "second"
        return put(data, **how)

    scratch.keep.put = change_and_put
    scratch.write("f", b"content")
    assert tokens(scratch.compose()) == {"second"}


def test_what_cannot_be_read_any_more_is_named_and_all_else_goes_on(scratch):
    for name in "abcde":
        scratch.write(name, name.encode())
        scratch.compose()
    scratch.write("new", b"not sent yet")
    scratch.keep.token = "second"
    scratch.keep.refused.add("first")
    with pytest.raises(AccessRefused, match="a, b, c and 2 more files in a temporary collection"):
        scratch.compose()
    assert scratch.session.outbox.pending_bytes == 0, "what is in the journal is brought to Keep"
    for name in "abcde":
        scratch.remove(name)
    assert tokens(scratch.compose()) == {"second"}


def test_what_is_open_and_has_no_name_is_stored_anew_until_it_is_closed(scratch):
    for name in ("removed", "replaced", "closed", "other"):
        scratch.write(name, name.encode())
    scratch.compose()
    root = scratch.session.draft.root
    still_open = [root.open_file("removed"), root.open_file("replaced")]
    for name in ("removed", "closed"):
        scratch.session.unlink(root, name)
    scratch.session.rename(root, "other", root, "replaced")
    scratch.keep.token = "second"
    scratch.compose()
    for file in still_open:
        assert {locator for locator, _, _ in file.extents.segments()}
        assert all("+Asecond@" in locator for locator, _, _ in file.extents.segments())
    del file
    still_open.clear()
    assert scratch.session.paths_with(set(scratch.session.locators())) == ["replaced"]


def test_what_has_no_name_and_cannot_be_read_any_more_keeps_nothing_else_from_being_saved(scratch):
    scratch.write("removed", b"content")
    scratch.compose()
    root = scratch.session.draft.root
    still_open = root.open_file("removed")
    scratch.session.unlink(root, "removed")
    scratch.write("new", b"more")
    scratch.keep.token = "second"
    scratch.keep.refused.add("first")
    assert tokens(scratch.compose()) == {"second"}
    assert still_open.parent is None


def test_what_was_written_again_is_not_missed(scratch):
    scratch.write("f", b"before")
    scratch.compose()
    scratch.keep.token = "second"
    scratch.keep.refused.add("first")
    scratch.write("f", b"behind")
    assert tokens(scratch.compose()) == {"second"}


def test_what_was_done_before_a_failure_is_done(scratch, monkeypatch):
    scratch.write("f", b"content")
    scratch.compose()
    scratch.write("g", b"more")
    scratch.compose()
    scratch.keep.token = "second"
    put, calls = scratch.keep.put, []

    def fail_once(data, **how):
        calls.append(bytes(data))
        if len(calls) == 2:
            raise TimedOut("too slow")
        return put(data, **how)

    monkeypatch.setattr(scratch.keep, "put", fail_once)
    with pytest.raises(TimedOut):
        scratch.compose()
    assert tokens(scratch.compose()) == {"second"}
    assert len(calls) == 3, "one of them again"
