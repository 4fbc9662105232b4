"""The versions of a collection: found by name, each with the content that it had."""

import pytest

from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.collection import CollectionDirectory
from tests.support.fakes import manifest_of, portable_data_hash

UUID = "zzzzz-4zz18-000000000000001"
VERSIONS = ".arvados#versions"


def record(number: int, manifest: str) -> dict:
    return {
        "uuid": f"zzzzz-4zz18-00000000000v{number:03}",
        "name": "run",
        "version": number,
        "modified_at": f"2024-01-0{number}T00:00:00Z",
        "portable_data_hash": portable_data_hash(manifest),
        "manifest_text": manifest,
    }


@pytest.fixture
def collection(mount):
    manifests = {n: manifest_of({"f": b"x" * n, f"only{n}": b""}) for n in (1, 2, 3)}
    mount.cluster.add_collection(UUID, "run", manifests[3])
    mount.cluster.stored_versions[UUID] = {n: record(n, m) for n, m in manifests.items()}
    collection = CollectionDirectory(mount.around, None, UUID, "")
    collection.plant()
    return collection


def test_are_found_by_name_and_not_listed(collection):
    assert list(collection.listing().directories) == []
    assert list(collection.child(VERSIONS).listing().directories) == ["1", "2", "3"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_has_its_own_content(collection, number):
    version = collection.child(VERSIONS).child(str(number))
    assert sorted(version.listing().files) == ["f", f"only{number}"]
    assert version.child("f").size == number


def test_each_has_its_own_time(collection):
    versions = collection.child(VERSIONS)
    times = []
    for number in "123":
        version = versions.child(number)
        version.refresh()
        times.append(version.mtime_ns)
    assert times == sorted(set(times))


def test_each_has_its_own_record(collection, mount):
    version = collection.child(VERSIONS).child("2")
    assert b'"version": 2' in version.child(".arvados#collection").content()


@pytest.mark.parametrize("name", ["0", "4", "01", "current", ".arvados#collection"])
def test_other_numbers_do_not_exist(collection, name):
    with pytest.raises(NoSuchEntry):
        collection.child(VERSIONS).child(name)


def test_versions_have_no_versions(collection):
    with pytest.raises(NoSuchEntry):
        collection.child(VERSIONS).child("1").child(VERSIONS)


def test_a_collection_by_its_hash_has_none(mount, collection):
    by_hash = CollectionDirectory(
        mount.around, collection, mount.cluster.items[UUID].portable_data_hash, "x"
    )
    collection.adopt("/x", by_hash)
    with pytest.raises(NoSuchEntry):
        by_hash.child(VERSIONS)


def test_the_directory_stays_when_the_collection_changes(collection, mount):
    versions = collection.child(VERSIONS)
    collection.listing()
    newest = manifest_of({"f": b"12345"})
    mount.cluster.set_manifest(UUID, newest)
    mount.cluster.stored_versions[UUID][4] = record(4, newest)
    mount.clock.now += 16
    collection.listing()
    assert collection.child(VERSIONS) is versions
    assert list(versions.listing().directories) == ["1", "2", "3", "4"]
    assert versions.child("4").child("f").size == 5
    assert versions.child("3").child("f").size == 3
