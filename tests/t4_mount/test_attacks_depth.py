"""Directories nested deeper than anybody needs: refused where they are made, and harmless."""

import errno
import os
import shutil

import pytest

from arvados_fuse.collection.depth import MAX_DEPTH
from tests.support.workplace import Workplace, new_collection

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"


def dig(top, levels):
    """Make so many levels of directories; return how many it became, and what ended it."""
    here = os.open(top, os.O_RDONLY)
    made = 0
    try:
        while made < levels:
            os.mkdir("d", dir_fd=here)
            made += 1
            above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(above)
    except OSError as error:
        return made, errno.errorcode[error.errno]
    finally:
        os.close(here)
    return made, "ok"


def test_are_made_as_deep_as_may_be_and_saved(cluster, mount):
    api = cluster.api()
    uuid = new_collection(api)
    work = Workplace(mount("--read-write", "--collection", uuid), api, uuid)
    assert dig(work.root, MAX_DEPTH + 1) == (MAX_DEPTH, "ENAMETOOLONG")
    deepest = work.root / "/".join("d" * MAX_DEPTH)
    deepest.joinpath("leaf").write_text("leaf")
    os.rename(deepest, deepest.with_name("e"))
    (work.root / "more").mkdir()
    with pytest.raises(OSError, match="File name too long"):
        os.rename(work.root / "d", work.root / "more" / "d")
    work.running.unmount()
    # The SDK gets nowhere near that deep.
    text = api.collections().get(uuid=uuid).execute()["manifest_text"]
    assert [line.split(" ")[0] for line in text.splitlines()] == [
        "/".join([".", *["d"] * (MAX_DEPTH - 1), "e"]),
        "./more",
    ]


def test_are_removed_again(cluster, mount):
    api = cluster.api()
    uuid = new_collection(api)
    work = Workplace(mount("--read-write", "--collection", uuid), api, uuid)
    dig(work.root, MAX_DEPTH)
    (work / "file").write_text("kept")
    shutil.rmtree(work / "d")
    work.end()


def test_that_others_have_made_are_an_error_of_their_collection(cluster, mount):
    api = cluster.api()
    deep = new_collection(
        api, manifest_text=f"./{'d/' * 3000}e d41d8cd98f00b204e9800998ecf8427e+0 0:0:f\n"
    )
    running = mount("--read-write", "--by-id")
    running.expected_log.append(f"nested more than {MAX_DEPTH} deep")
    with pytest.raises(OSError, match="Input/output error"):
        os.listdir(running / deep)
    assert os.listdir(running / "by_id") is not None


def test_of_projects_are_no_trouble(cluster, mount):
    """A path from the root of the mount may have any length."""
    api = cluster.api()
    owner = top = None
    for _ in range(60):
        body = {"group_class": "project", "name": "p", **({"owner_uuid": owner} if owner else {})}
        made = api.groups().create(body={"group": body}, ensure_unique_name=True).execute()
        owner = made["uuid"]
        top = top or owner
    running = mount("--read-write", "--project", top)
    deepest = running / "/".join("p" * 59)
    (deepest / "collection").mkdir()
    assert dig(deepest / "collection", MAX_DEPTH) == (MAX_DEPTH, "ok")
    running.unmount()
