"""Filters, order, pages and selected attributes of lists."""

import pytest

from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"

RECORDS = (
    # name, description, files, properties
    ("alpha", "First", ("one.txt", "two words.txt"), {"n": 1, "s": "x", "tags": ["a", "b"]}),
    ("Beta", None, ("one.txt",), {"n": 2, "s": "X", "flag": True}),
    ("gamma_1", "100% sure", (), {"n": 10, "t": "10", "http://example.org/p": "uri"}),
    ("gamma%2", None, ("sub/dir/file",), {}),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        for name, description, files, properties in RECORDS:
            tokens = " ".join("0:3:" + path.replace(" ", "\\040") for path in files)
            cluster.create(
                name=name,
                description=description,
                properties=properties,
                manifest_text=f". {FOO} {tokens}\n" if files else "",
                replication_desired=len(files) or None,
                preserve_version=name == "Beta",
            )
        yield cluster


def found(cluster, *filters):
    """First letters of the names found, gamma%2 is 2."""
    names = cluster.names(filters=list(filters), order=["created_at"])
    return "".join({"gamma%2": "2"}.get(name, name[0]) for name in names)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (["name", "=", "alpha"], "a"),
        (["name", "=", "ALPHA"], ""),
        (["name", "!=", "alpha"], "Bg2"),
        (["description", "=", None], "B2"),
        (["description", "!=", None], "ag"),
        (["description", "<>", "First"], "Bg2"),
        (["name", ">", "b"], "g2"),
        (["name", "<=", "Beta"], "B"),
        (["name", "like", "gamma%"], "g2"),
        (["name", "like", "gamma\\%%"], "2"),
        (["name", "like", "gamma__"], "g2"),
        (["name", "LIKE", "gamma\\__"], "g"),
        (["name", "like", "BETA"], ""),
        (["name", "ilike", "bETA"], "B"),
        (["name", "ilike", "%ET%"], "B"),
        (["name", "in", ["alpha", "Beta", "other"]], "aB"),
        (["name", "in", []], ""),
        (["name", "not in", ["alpha"]], "Bg2"),
        (["description", "not in", ["First"]], "Bg2"),
        (["description", "not in", ["First", None]], "g"),
        (["file_count", "=", 1], "B2"),
        (["file_count", ">=", "1"], "aB2"),
        (["file_count", "in", [0, 2]], "ag"),
        (["replication_desired", "<", 2], "B2"),
        (["replication_desired", "!=", 1], "ag"),
        (["preserve_version", "=", True], "B"),
        (["preserve_version", "=", "t"], "B"),
        (["preserve_version", "!=", "false"], "B"),
        (["created_at", ">", "2020-01-01T00:00:00+02:00"], "aBg2"),
        (["created_at", "<", "2020-01-01 00:00:00Z"], ""),
        (["trash_at", "=", None], "aBg2"),
        (["uuid", "is_a", "arvados#collection"], "aBg2"),
        (["uuid", "is_a", ["arvados#group", "arvados#collection"]], "aBg2"),
        (["uuid", "is_a", "arvados#group"], ""),
        (["owner_uuid", "is_a", "arvados#user"], "aBg2"),
        (["owner_uuid", "is_a", "arvados#nonsense"], ""),
        (["storage_classes_desired", "=", '["default"]'], "aBg2"),
        (["storage_classes_desired", "=", '[ "other" ]'], ""),
        (["storage_classes_desired", "contains", "default"], "aBg2"),
        (["properties", "=", '{"s":"X","n":2,"flag":true}'], "B"),
        (["properties", "exists", "n"], "aBg"),
        (["properties", "contains", ["n", "s"]], "aB"),
        (["properties.n", "=", 1], "a"),
        (["properties.n", "=", "1"], ""),
        (["properties.n", "!=", 1], "Bg2"),
        (["properties.n", ">", 1], "Bg"),
        (["properties.n", "<=", 2], "aB"),
        (["properties.t", "<", 0], "g"),
        (["properties.s", "like", "x"], "a"),
        (["properties.s", "ilike", "x"], "aB"),
        (["properties.n", "in", [1, 10]], "ag"),
        (["properties.n", "not in", [1, 10]], "B2"),
        (["properties.n", "exists", True], "aBg"),
        (["properties.n", "exists", False], "2"),
        (["properties.tags", "contains", "a"], "a"),
        (["properties.s", "contains", "x"], "a"),
        (["properties.flag", "=", True], "B"),
        (["properties.<http://example.org/p>", "=", "uri"], "g"),
        (["properties.http://example.org/p", "=", "uri"], "g"),
        (["file_names", "like", "%two words%"], "a"),
        (["file_names", "ilike", "%SUB/DIR/file%"], "2"),
        (["any", "ilike", "%first%"], "a"),
        (["any", "like", "%two words%"], "a"),
        (["any", "like", "%flag%"], "B"),
        (["any", "=", "alpha"], "a"),
        (["any", "in", ["alpha", "First"]], "a"),
        ("(file_count = replication_desired)", "aB2"),
        ("(file_count < file_size_total)", "aB2"),
    ],
    ids=str,
)
def test_filter(cluster, condition, expected):
    assert found(cluster, condition) == expected


def test_filters_all_have_to_hold(cluster):
    assert found(cluster, ["name", "like", "gamma%"], ["file_count", "=", 0]) == "g"
    assert found(cluster) == "aBg2"


@pytest.mark.parametrize(
    "condition",
    [
        "nonsense",
        "(name < uuid)",
        ["name", "="],
        ["name", "=", "x", "y"],
        [1, "=", "x"],
        ["name", 1, "x"],
        ["nonsense", "=", "x"],
        ["kind", "=", "x"],
        ["name", "@@", "x"],
        ["name", "=", {"a": 1}],
        ["name", "=", ["x"]],
        ["name", "in", "x"],
        ["name", "like", 1],
        ["name", "exists", "x"],
        ["name", "<", None],
        ["name.sub", "=", "x"],
        ["file_count", "=", 1.5],
        ["file_count", "=", "nonsense"],
        ["file_count", "in", ["1"]],
        ["file_count", "like", "1"],
        ["preserve_version", "=", "nonsense"],
        ["preserve_version", "<", True],
        ["created_at", ">", "nonsense"],
        ["created_at", ">", 1],
        ["uuid", "is_a", 1],
        ["properties", "=", "nonsense"],
        ["properties", "contains", []],
        ["properties.n", "nonsense", 1],
        ["properties.n", "exists", 1],
        ["properties.n", "in", 1],
        ["properties.n", "like", 1],
    ],
    ids=str,
)
def test_bad_filter_is_refused_and_named(cluster, condition):
    status, text = cluster.call("GET", "collections", filters=[condition])
    assert status == 422
    assert "filter" in text


def test_filters_have_to_be_an_array(cluster):
    assert cluster.call("GET", "collections", filters="nonsense")[0] == 422
    assert cluster.call("GET", "collections", filters='{"a": 1}')[0] == 422


def test_usual_order_is_newest_first(cluster):
    assert cluster.names() == [record[0] for record in reversed(RECORDS)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", ["Beta", "alpha", "gamma%2", "gamma_1"]),
        (["name desc"], ["gamma_1", "gamma%2", "alpha", "Beta"]),
        ("file_count desc,name", ["alpha", "Beta", "gamma%2", "gamma_1"]),
        (["file_count", "collections.name DESC"], ["gamma_1", "gamma%2", "Beta", "alpha"]),
        (["nonsense", "name; DROP TABLE x", "groups.name", "name"], None),
        (["name", "name", "name desc"], None),
    ],
    ids=str,
)
def test_order(cluster, order, expected):
    assert cluster.names(order=order) == (expected or ["Beta", "alpha", "gamma%2", "gamma_1"])


def test_pages(cluster):
    page = cluster.call("GET", "collections", order="name", limit=2, offset=1)
    assert [item["name"] for item in page["items"]] == ["alpha", "gamma%2"]
    assert (page["limit"], page["offset"], page["items_available"]) == (2, 1, 4)
    assert page["kind"] == "arvados#collectionList"


def test_limits_are_clamped_not_refused(cluster):
    page = cluster.call("GET", "collections", limit=100000)
    assert (page["limit"], len(page["items"])) == (1000, 4)
    page = cluster.call("GET", "collections", limit=0)
    assert (page["items"], page["items_available"]) == ([], 4)


def test_counting_can_be_left_out(cluster):
    assert "items_available" not in cluster.call("GET", "collections", count="none")
    assert cluster.call("GET", "collections", count="nonsense")[0] == 422


@pytest.mark.parametrize("parameters", [{"limit": -1}, {"offset": -1}, {"limit": "x"}], ids=str)
def test_bad_pages_are_refused(cluster, parameters):
    assert cluster.call("GET", "collections", **parameters)[0] == 422


def test_select(cluster):
    page = cluster.call("GET", "collections", select=["uuid", "name"])
    assert all(set(item) == {"uuid", "name", "kind", "etag"} for item in page["items"])
    assert cluster.call("GET", "collections", select=["nonsense"])[0] == 422
    assert cluster.call("GET", "collections", select=["file_names"])[0] == 422


def test_distinct(cluster):
    page = cluster.call("GET", "collections", select=["file_count"], distinct=True)
    assert sorted(item["file_count"] for item in page["items"]) == [0, 1, 2]
    assert page["items_available"] == 3


def test_paging_by_key_as_the_sdk_does(cluster):
    names, last = [], []
    while True:
        page = cluster.call(
            "GET",
            "collections",
            limit=2,
            count="none",
            order=["uuid asc", "uuid asc"],
            filters=[["uuid", ">=", last[-1]], ["uuid", "!=", last[-1]]] if last else [],
        )
        if not page["items"]:
            break
        names += [item["name"] for item in page["items"]]
        last = [item["uuid"] for item in page["items"]]
    assert sorted(names) == sorted(record[0] for record in RECORDS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"alpha", "Beta", "gamma_1", "gamma%2"}),
        ({"name": "alpha"}, {"alpha"}),
        ({"name": ["alpha", "Beta"], "preserve_version": True}, {"Beta"}),
        ({"description": None}, {"Beta", "gamma%2"}),
        ({"any": ["contains", "FIRST"]}, {"alpha"}),
    ],
)
def test_where_says_which_values_attributes_have(cluster, values, expected):
    assert set(cluster.names(where=values)) == expected


def test_where_and_filters_count_both(cluster):
    assert cluster.names(where={"description": None}, filters=[["name", "<", "b"]]) == ["Beta"]


def test_where_knows_no_other_attributes(cluster):
    assert cluster.call("GET", "collections", where={"colour": "red"})[0] == 422
