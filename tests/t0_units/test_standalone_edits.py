"""Edits of single files in a collection: replace_files and replace_segments.

(Arvados documentation, "API Reference", "Collections".)
"""

from __future__ import annotations

import pytest

from arvados_fuse.standalone import manifest_text
from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
FOOBAR = "3858f62230ac3c915f300c664312c63f+6"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"
FOO_TEXT = f". {FOO} 0:3:foo\n"
BAR_TEXT = f". {BAR} 0:3:bar\n"
TREE_TEXT = f". {FOO} 0:3:foo\n./d {BAR} 0:3:bar 1:2:part\n"


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def content(cluster, uuid):
    """The manifest that is stored."""
    selected = cluster.call("GET", f"collections/{uuid}", select=["unsigned_manifest_text"])
    return selected["unsigned_manifest_text"]


def replaced(cluster, before, files, **attributes):
    """The content of a collection with the manifest `before` after replace_files, or an error."""
    uuid = cluster.create(manifest_text=before)["uuid"]
    body = {"collection": attributes, "replace_files": files}
    answer = cluster.call("PUT", f"collections/{uuid}", body)
    if isinstance(answer, tuple):
        assert content(cluster, uuid) == before, "a refused edit has changed something"
        return answer
    after = content(cluster, uuid)
    lines = manifest_text.lines_of(after)
    assert answer["portable_data_hash"] == manifest_text.portable_data_hash(after, lines)
    return after


class TestReplaceFiles:
    """replace_files: target paths, each with the source of what is to be there."""

    @pytest.mark.parametrize(
        ("files", "after"),
        [
            ({"/foo": ""}, f"./d {BAR} 0:3:bar 1:2:part\n"),
            ({"/d": ""}, FOO_TEXT),
            ({"/d/bar": "", "/d/part": ""}, f"{FOO_TEXT}./d {EMPTY} 0:0:\\056\n"),
            ({"/nothing": "", "/no/thing": "", "/foo/thing": ""}, TREE_TEXT),
            ({"/new": "current/foo", "/foo": ""}, TREE_TEXT.replace("foo", "new")),
            ({"/foo": "current/d/bar", "/d": ""}, f". {BAR} 0:3:foo\n"),
            ({"/foo": "current/d/bar", "/d/bar": "current/foo", "/d/part": ""},
             f". {BAR} 0:3:foo\n./d {FOO} 0:3:bar\n"),
            ({"/x/y": "current/d", "/d": "", "/foo": ""}, f"./x/y {BAR} 0:3:bar 1:2:part\n"),
            ({"/d": "current/foo"}, f". {FOO} 0:3:d 0:3:foo\n"),
            ({"/d": "current/"}, f"{FOO_TEXT}./d {FOO} 0:3:foo\n./d/d {BAR} 0:3:bar 1:2:part\n"),
            ({"/d": "", "/d/only": "current/foo"}, f"{FOO_TEXT}./d {FOO} 0:3:only\n"),
            ({"/": ""}, ""),
            ({"/a b:\u00e9": "current/foo", "/foo": "", "/d": ""},
             f". {FOO} 0:3:a\\040b\\072\u00e9\n"),
        ],
        ids=lambda value: str(value) if isinstance(value, dict) else "",
    )  # fmt: skip
    def test_current_content_moves(self, cluster, files, after):
        assert replaced(cluster, TREE_TEXT, files) == after

    def test_content_of_other_collections_is_found_by_its_hash(self, cluster):
        pdh = cluster.create(manifest_text=TREE_TEXT)["portable_data_hash"]
        assert replaced(cluster, FOO_TEXT, {"/x": f"{pdh}/d/bar", "/foo": ""}) == (
            f". {BAR} 0:3:x\n"
        )
        for source in (pdh, f"{pdh}/"):
            assert replaced(cluster, FOO_TEXT, {"/": source}) == TREE_TEXT
            assert replaced(cluster, BAR_TEXT, {"/": "", "/sub": source}) == (
                f"./sub {FOO} 0:3:foo\n./sub/d {BAR} 0:3:bar 1:2:part\n"
            )

    def test_content_comes_with_the_request(self, cluster):
        after = replaced(cluster, FOO_TEXT, {"/d/new": "manifest_text/bar"}, manifest_text=BAR_TEXT)
        assert after == f"{FOO_TEXT}./d {BAR} 0:3:new\n"

    def test_new_collection_is_made_of_parts(self, cluster):
        pdh = cluster.create(manifest_text=TREE_TEXT)["portable_data_hash"]
        body = {"replace_files": {"/a": f"{pdh}/foo", "/b": f"{pdh}/d"}}
        record = cluster.call("POST", "collections", body)
        assert content(cluster, record["uuid"]) == (f". {FOO} 0:3:a\n./b {BAR} 0:3:bar 1:2:part\n")
        assert record["file_count"] == 3
        assert "+A" in record["manifest_text"]

    def test_other_attributes_change_with_it(self, cluster):
        uuid = cluster.create(manifest_text=FOO_TEXT, name="before")["uuid"]
        body = {"collection": {"name": "after"}, "replace_files": {"/x": "current/foo"}}
        assert cluster.call("PUT", f"collections/{uuid}", body)["name"] == "after"
        parameter = cluster.call("PUT", f"collections/{uuid}", replace_files={"/foo": ""})
        assert (parameter["name"], parameter["file_count"]) == ("after", 1)

    @pytest.mark.parametrize(
        "files",
        [
            {"foo": ""},
            {"": ""},
            {"/foo/": ""},
            {"//foo": ""},
            {"/./foo": ""},
            {"/../foo": ""},
            {"/\ud800": "current/foo"},
            {"/x": "current"},
            {"/x": "current/nothing"},
            {"/x": "current/foo/below"},
            {"/x": "current/d/"},
            {"/x": "current/../foo"},
            {"/x": "manifest_text/foo"},
            {"/x": "zzzzz-4zz18-012345678901234/foo"},
            {"/x": 1},
            {"/x": None},
            {"/": "current/foo"},
            {"/": "", "/x": "current/foo"},
            {"/foo/below": "current/foo"},
            {"/x": "current/d", "/x/y": "current/foo"},
            {"/x": "current/d", "/x/y": ""},
            {"/": f"{FOO}/", "/x": ""},
        ],
        ids=str,
    )
    def test_nonsense_is_refused(self, cluster, files):
        cluster.create(manifest_text=". " + FOO + " 0:3:x\n")
        if files.get("/"):
            files = {**files, "/": cluster.create(manifest_text=BAR_TEXT)["portable_data_hash"]}
            files = files if len(files) > 1 else {"/": files["/"] + "/bar"}
        assert replaced(cluster, TREE_TEXT, files)[0] == 400

    def test_content_that_nobody_has_is_not_found(self, cluster):
        assert replaced(cluster, FOO_TEXT, {"/x": f"{EMPTY[:32]}+45/x"})[0] == 404

    @pytest.mark.parametrize("text", [BAR_TEXT, "nonsense", 7])
    def test_manifest_that_is_of_no_use_is_refused(self, cluster, text):
        assert replaced(cluster, FOO_TEXT, {"/x": "current/foo"}, manifest_text=text)[0] == 400

    def test_attributes_of_a_wrong_hash_are_refused(self, cluster):
        edit = {"/x": "current/foo"}
        assert replaced(cluster, FOO_TEXT, edit, portable_data_hash=EMPTY)[0] == 422

    def test_only_blocks_that_the_caller_may_read_can_come_with_the_request(self, cluster):
        cluster.token = cluster.add_user()
        hint = cluster.signer.hint(FOO[:32], cluster.token, 2_000_000_000)
        signed = f". {FOO}{hint} 0:3:foo\n"
        body = {"replace_files": {"/x": "manifest_text/foo"}}
        answer = cluster.call("POST", "collections", {**body, "manifest_text": signed})
        assert content(cluster, answer["uuid"]) == f". {FOO} 0:3:x\n"
        answer = cluster.call("POST", "collections", {**body, "manifest_text": FOO_TEXT})
        assert answer[0] == 403
        # What is in the collection needs no signature.
        (item,) = cluster.call("GET", "collections")["items"]
        body = {"replace_files": {"/y": "current/x"}}
        assert cluster.call("PUT", f"collections/{item['uuid']}", body)["file_count"] == 2


class TestReplaceSegments:
    """replace_segments: parts of blocks, each with the part of another block."""

    @pytest.mark.parametrize(
        ("segments", "after"),
        [
            ({f"{FOO} 0 3": f"{FOOBAR} 0 3", f"{BAR} 0 3": f"{FOOBAR} 3 3"},
             f". {FOOBAR} 0:3:foo 0:6:foobar\n"),
            ({f"{FOO[:32]} 0 3": f"{FOOBAR} 0 3"},
             f". {FOOBAR} {BAR} 0:3:foo 0:3:foobar 6:3:foobar\n"),
            ({f"{FOO} 0 3": f"{FOOBAR} 0 3", f"{FOO} 0 2": f"{FOOBAR} 3 2"}, None),
            ({f"{FOO} 0 3": f"{BAR} 0 3", f"{FOO} 0 2": f"{FOOBAR} 3 2"},
             f". {BAR} 0:3:foo 0:3:foobar 0:3:foobar\n"),
        ],
        ids=["both", "hints are irrelevant", "one is not there", "others are done"],
    )  # fmt: skip
    def test_parts_of_blocks_are_replaced(self, cluster, segments, after):
        before = f". {FOO} {BAR} 0:3:foo 0:6:foobar\n"
        uuid = cluster.create(manifest_text=before)["uuid"]
        cluster.call("PUT", f"collections/{uuid}", replace_segments=segments)
        assert content(cluster, uuid) == (after or before)

    def test_they_are_replaced_after_files(self, cluster):
        body = {
            "collection": {"manifest_text": TREE_TEXT},
            "replace_files": {"/x": "manifest_text/foo"},
            "replace_segments": {f"{FOO} 0 3": f"{FOOBAR} 0 3"},
        }
        uuid = cluster.call("POST", "collections", body)["uuid"]
        assert content(cluster, uuid) == f". {FOOBAR} 0:3:x\n"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (f"{FOO} 0 3", f"{FOOBAR} 0 2"),
            (f"{FOO} 0 3", f"{FOOBAR} 4 3"),
            (f"{FOO} 0 3", f"{FOOBAR[:32]} 0 3"),
            (f"{FOO} 0 3", f"{FOOBAR} 0"),
            (f"{FOO} 0 3", 7),
            ("foo", f"{FOOBAR} 0 3"),
            (f"{FOO} 0 {'9' * 5000}", f"{FOOBAR} 0 {'9' * 5000}"),
        ],
    )
    def test_nonsense_is_refused(self, cluster, old, new):
        uuid = cluster.create(manifest_text=FOO_TEXT)["uuid"]
        body = {"replace_segments": {old: new}}
        assert cluster.call("PUT", f"collections/{uuid}", body)[0] == 400

    def test_only_with_blocks_that_the_caller_may_read(self, cluster):
        cluster.token = cluster.add_user()
        foo, foobar = (
            block + cluster.signer.hint(block[:32], cluster.token, 2_000_000_000)
            for block in (FOO, FOOBAR)
        )
        uuid = cluster.create(manifest_text=f". {foo} 0:3:foo\n")["uuid"]
        for new, status in ((FOOBAR, 403), (foobar, 200)):
            body = {"replace_segments": {f"{FOO} 0 3": f"{new} 0 3"}}
            answer = cluster.call("PUT", f"collections/{uuid}", body)
            assert (answer[0] if isinstance(answer, tuple) else 200) == status
        assert content(cluster, uuid) == f". {FOOBAR} 0:3:foo\n"
