"""The sample project of a new cluster."""

import calendar
import hashlib
import itertools
import struct

import pytest

from arvados_fuse.standalone import sample, sample_content
from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.keep.blocks import BlockStore
from tests.support.local_cluster import LocalCluster

PROJECTS = [["group_class", "=", "project"]]


@pytest.fixture(scope="module")
def numbers():
    return sample_content.primes(sample_content.PRIMES_BELOW)


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        cluster.store = BlockStore(tmp_path / "blocks")
        yield cluster


def add(cluster):
    sample.add(cluster.core, [cluster.store], cluster.identity)


def test_primes_are_as_many_as_is_known(numbers):
    """There are 1,077,871 primes below 2**24; the largest is 2**24 - 3."""
    assert len(numbers) == 4 * 1_077_871
    assert struct.unpack("<I", numbers[-4:])[0] == 2**24 - 3


def test_primes_are_those_that_trial_division_finds(numbers):
    def is_prime(number):
        return all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    expected = list(itertools.islice(filter(is_prime, itertools.count(2)), 5000))
    prefix = numbers[: 4 * len(expected)]
    assert list(struct.unpack(f"<{len(expected)}I", prefix)) == expected
    packed = b"".join(number.to_bytes(4, "little") for number in expected)
    assert hashlib.md5(prefix).digest() == hashlib.md5(packed).digest()


@pytest.mark.parametrize("limit", [3, 4, 5, 9, 10, 11, 25, 26, 49, 50, 121, 122])
def test_primes_below_a_limit(limit):
    expected = [n for n in range(2, limit) if all(n % d for d in range(2, n))]
    found = sample_content.primes(limit)
    assert [n for (n,) in struct.iter_unpack("<I", found)] == expected


def test_sample_is_a_project_of_the_administrator(cluster):
    add(cluster)
    (project,) = cluster.call("GET", "groups", filters=PROJECTS)["items"]
    assert project["name"] == "Sample project"
    assert project["owner_uuid"] == cluster.identity.administrator_uuid
    names = cluster.names("groups/contents", uuid=project["uuid"], order="name")
    assert names == ["Calendar 2020-2031", "Primes", "Read me first"]


def test_every_block_of_the_sample_is_there(cluster):
    add(cluster)
    select = ["manifest_text", "file_size_total"]
    for item in cluster.call("GET", "collections", select=select)["items"]:
        block = item["manifest_text"].split(" ")[1].split("+")
        content = cluster.store.path(block[0]).read_bytes()
        assert len(content) == int(block[1]) == item["file_size_total"]
        assert hashlib.md5(content).hexdigest() == block[0]


def test_calendar_is_a_tree_with_an_empty_directory(cluster):
    add(cluster)
    select = ["manifest_text", "file_count"]
    (item,) = cluster.call(
        "GET", "collections", filters=[["name", "like", "Calendar%"]], select=select
    )["items"]
    assert item["file_count"] == 12 * 12
    lines = item["manifest_text"].splitlines()
    assert [line.split(" ")[0] for line in lines[:-1]] == [f"./{y}" for y in range(2020, 2032)]
    assert lines[-1].endswith("0:0:\\056")
    position, size, name = lines[4].split(" ")[3].split(":")
    assert name == "02-February.txt"
    content = cluster.store.path(lines[4].split(" ")[1][:32]).read_bytes()
    text = content[int(position) : int(position) + int(size)].decode()
    assert text == calendar.TextCalendar().formatmonth(2024, 2)


def test_names_with_spaces_and_letters(cluster):
    add(cluster)
    (item,) = cluster.call(
        "GET", "collections", filters=[["name", "=", "Read me first"]], select=["manifest_text"]
    )["items"]
    assert ":a\\040name\\040with\\040spaces.txt" in item["manifest_text"]
    assert ":Gr\u00fc\u00dfe.txt" in item["manifest_text"]


def test_sample_is_added_once_and_never_to_a_cluster_that_was_used(cluster):
    add(cluster)
    add(cluster)
    assert len(cluster.names()) == 3
    with cluster.database.write() as db:
        db.execute("DELETE FROM collections")
        db.execute("DELETE FROM groups")
    add(cluster)
    assert cluster.names() == []


def test_failure_half_way_leaves_nothing_and_the_next_start_does_it(cluster, monkeypatch):
    real, calls = records.insert, []

    def fail_at_the_third(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(records, "insert", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        add(cluster)
    assert cluster.names() == cluster.names("groups", filters=PROJECTS) == []
    monkeypatch.undo()
    add(cluster)
    assert len(cluster.names()) == 3
