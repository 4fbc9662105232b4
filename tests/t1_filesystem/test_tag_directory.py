"""Tags: a directory each, with the tagged collections by uuid."""

import pytest

from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.tags import TagsDirectory
from tests.support.fakes import manifest_of

ONE, TWO = "zzzzz-4zz18-000000000000001", "zzzzz-4zz18-000000000000002"


@pytest.fixture
def tags(mount):
    for uuid in (ONE, TWO):
        mount.cluster.add_collection(uuid, "run", manifest_of({"a.txt": b"alpha"}))
    mount.cluster.tagged_by = {"best": [ONE, TWO], "a/b": [ONE], "a_b": [TWO], "nothing": []}
    tags = TagsDirectory(mount.around, None, "by_tag", "")
    tags.plant()
    return tags


def test_lists_the_tags_and_asks_for_no_collection(tags, mount):
    assert set(tags.listing().directories) == {"best", "a_b", "a_b (a_b)", "nothing"}
    assert mount.cluster.asked == ["tags"]


def test_a_tag_lists_its_collections_by_uuid(tags):
    assert list(tags.child("best").listing().directories) == [ONE, TWO]
    assert list(tags.child("nothing").listing().directories) == []


def test_tags_that_are_shown_alike_are_told_apart(tags):
    assert list(tags.child("a_b").listing().directories) == [ONE]
    assert list(tags.child("a_b (a_b)").listing().directories) == [TWO]


def test_a_tagged_collection_has_its_files(tags):
    assert tags.child("best").child(ONE).child("a.txt").size == 5


@pytest.mark.parametrize("name", [TWO, "run", "README"])
def test_what_is_not_tagged_is_not_there(tags, name):
    with pytest.raises(NoSuchEntry):
        tags.child("a_b").child(name)


def test_a_tag_that_is_taken_away_is_gone_after_the_refresh_time(tags, mount):
    best = tags.child("best")
    assert len(best.listing().directories) == 2
    mount.cluster.tagged_by["best"] = [TWO]
    mount.clock.now += 16
    assert list(best.listing().directories) == [TWO]
    del mount.cluster.tagged_by["best"]
    mount.clock.now += 16
    assert "best" not in tags.listing().directories


def test_listing_a_tag_confirms_the_records_of_its_collections(tags, mount):
    best = tags.child("best")
    assert best.child(ONE).mtime_ns == mount.cluster.items[ONE].modified_ns
    assert mount.cluster.asked == ["tags", "tagged best"]
