"""A draft that is moved to a newer base loses nothing of what either side did.

The base is changed by the model ("theirs") while a draft of it is changed as well ("ours").
"""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from arvados_fuse.collection.draft import DraftDirectory, DraftFile
from arvados_fuse.collection.merge import rebase
from tests.support.drafts import Model, outcome, tree_of
from tests.t2_model.test_draft_properties import (
    Pair,
    complete,
    contents,
    data,
    edits,
    operations,
    repeatable,
    small,
)


def conflict_name(name):
    return f"{name}~ours~"


def changed_by(content, steps):
    """What somebody else makes of a content."""
    model = Model(content)
    for action, *arguments in steps:
        if action not in ("hold", "write held", "forget"):
            outcome(getattr(model, action), *arguments)
    return model.content


class MergingPair(Pair):
    """As Pair, with another client that changes what the cluster has."""

    def rebase(self, theirs=None):
        """Move the draft to what the cluster has, after it has got `theirs` from somebody else."""
        if theirs is not None:
            before = self.cluster
            new = self.blocks.stored(theirs)
            same = {path for path in theirs if theirs[path] == before.get(path, b"nothing")}
            self.stored = {p: self.stored[p] if p in same else new[p] for p in theirs}
        conflicts = rebase(self.draft, tree_of(self.stored), conflict_name)
        self.model.content = self.blocks.draft_content(self.draft)
        for conflict in conflicts:
            for path in (conflict.path, conflict.kept_as):
                assert tuple(path.split("/")) in self.model.content
        self.held = [[file, self.blocks.read_map(file.extents)] for file, _ in self.held]
        self.check()
        return conflicts


def files_of(content):
    return {path: held for path, held in content.items() if held is not None}


@repeatable
@given(contents, edits, st.booleans(), edits)
def test_our_own_commit_as_the_new_base_changes_nothing_that_shows(content, steps, commits, more):
    pair = MergingPair(content)
    pair.run(steps)
    if commits:
        pair.commit(more)
    shown = dict(pair.model.content)
    assert not pair.rebase()
    assert pair.model.content == shown
    pair.run(more)
    pair.commit()
    pair.rebase()
    assert not pair.draft.is_dirty
    assert not any(
        isinstance(entry, DraftFile)
        for directory in directories(pair.draft.root)
        for entry in directory.overlay.values()
    ), "clean files are left in the overlay"


def directories(directory):
    yield directory
    for entry in directory.overlay.values():
        if isinstance(entry, DraftDirectory):
            yield from directories(entry)


@repeatable
@given(contents, st.lists(operations.filter(lambda step: step[0] in ("hold", "forget"))), edits)
def test_draft_without_changes_shows_theirs(content, looks, remote):
    pair = MergingPair(content)
    pair.run(looks)
    theirs = changed_by(pair.cluster, remote)
    assert not pair.rebase(theirs)
    assert pair.model.content == theirs
    assert not pair.draft.is_dirty


@repeatable
@given(contents, edits, st.booleans(), edits, edits, edits)
def test_merge_keeps_what_either_side_wrote(content, earlier, commits, ours, remote, more):
    pair = MergingPair(content)
    pair.run(earlier)
    if commits:
        pair.commit()
    pair.run(ours)
    before, mine = dict(pair.cluster), dict(pair.model.content)
    theirs = changed_by(before, remote)
    conflicts = pair.rebase(theirs)
    result = pair.model.content
    for path, held in files_of(theirs).items():
        if before.get(path, b"nothing") != held:
            assert held in result.values(), "something that they wrote is lost"
            if path not in files_of(before) and not any(step[0] == "rename" for step in ours):
                assert result[path] == held, "they made this file, and it has not its name"
    written = set(files_of(mine).values()) - set(before.values())
    assert written <= set(result.values()), "something that we wrote is lost"
    if not conflicts:
        assert all(not path[-1].endswith("~ours~") for path in result)
    pair.run(more)
    pair.commit()
    assert not pair.draft.is_dirty
    assert not pair.rebase()


@repeatable
@given(contents, st.lists(st.tuples(edits, edits, edits), min_size=1, max_size=3))
def test_two_clients_that_take_turns_end_with_the_same(content, rounds):
    """The cluster's content is what the draft shows, after each commit on top of theirs."""
    pair = MergingPair(content)
    for ours, meanwhile, remote in rounds:
        pair.run(ours)
        pair.commit(meanwhile)
        pair.rebase(changed_by(pair.cluster, remote))
        pair.commit()
        assert pair.cluster == pair.model.content


# -- exactly, where directories are directories and files are files -------------------------

dirs = st.sampled_from([(), ("d",), ("e",), ("d", "e")])
file_paths = st.tuples(dirs, st.sampled_from("fg")).map(lambda pair: (*pair[0], pair[1]))
plain_edits = st.lists(
    st.one_of(
        st.tuples(st.just("create"), file_paths),
        st.tuples(st.just("write"), file_paths, small, data),
        st.tuples(st.just("write"), file_paths, small, data),
        st.tuples(st.just("unlink"), file_paths),
        st.tuples(st.just("mkdir"), dirs.filter(bool)),
        st.tuples(st.just("rmdir"), dirs.filter(bool)),
    ),
    max_size=12,
)
FULL = complete({(*d, f): f.encode() for d, f in product([(), ("d",), ("d", "e")], "fg")})


@repeatable
@given(plain_edits, plain_edits)
def test_merge_is_exactly_the_table(ours, remote):
    pair = MergingPair(FULL)
    touched, made = set(), set()
    for step in ours:
        before = dict(pair.model.content)
        pair.run([step])
        if (step[0] == "write" and step[1] in before) or step[1] not in before:
            touched.add(step[1])
        made |= pair.model.content.keys() - before.keys()
    mine, theirs = dict(pair.model.content), changed_by(FULL, remote)
    pair.rebase(theirs)
    assert pair.model.content == three_way(FULL, mine, theirs, touched, made & mine.keys())


def three_way(base, ours, theirs, touched, made):
    """The merge by its table, for contents in which no name is a file here and a directory there.

    A file that is not there is None here. What we wrote counts as changed whatever it is: while it
    is in the journal, nobody knows whether somebody else wrote the same. Only nothing is the same.
    """
    result = {}
    for path in base.keys() | ours.keys() | theirs.keys():
        if path[-1] not in "fg":
            continue
        b, o, t = (content.get(path) for content in (base, ours, theirs))
        if o is None and t == b:
            chosen = {}
        elif o is None or path not in touched or o == t == b"":
            chosen = {path: t}
        elif t in (b, None):
            chosen = {path: o}
        else:
            chosen = {path: t, (*path[:-1], conflict_name(path[-1])): o}
        result |= {p: held for p, held in chosen.items() if held is not None}
    for path in ours.keys() | theirs.keys():
        if path[-1] in "fg":
            continue
        if path not in base or (path in ours and path in theirs) or path in made:
            result[path] = None
    return complete(result)
