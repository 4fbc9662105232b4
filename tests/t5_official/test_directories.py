"""Both drivers side by side on one cluster: the same directories, names, modes and contents.

What is meant to differ stands in DIFFERENCES, each with its reason, and must still differ.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount
from tests.support.people import Person

OFFICIAL = Path(__file__).parents[2] / ".venv-official" / "bin" / "arv-mount"
NONE = "0" * 15


class Difference(NamedTuple):
    """Paths that may differ: those that match, and why."""

    path: str
    reason: str


DIFFERENCES = (
    Difference(
        r"twice \([0-9a-z-]{27}\)(/|$)",
        "a collection that has its name with a project is not shown there; here both are reached",
    ),
    Difference(r"^tags/gone/[0-9a-z-]{27}$", "a tagged collection in the trash is listed there"),
    Difference(r"(^|/)README$", "the text is ours"),
)


class Sharer(Person):
    """A user who shares, with the settings of a mount."""

    def __init__(self, cluster: RunningCluster, name: str) -> None:
        super().__init__(cluster, name)
        self.env = {**os.environ, **cluster.env, "ARVADOS_API_TOKEN": self.token}

    def group(self, name: str, owner: str | None = None, **more) -> str:
        """Make a project, or another group, and return its uuid."""
        body = {"name": name, "group_class": "project", **more}
        if owner:
            body["owner_uuid"] = owner
        return self.api.groups().create(body={"group": body}).execute()["uuid"]

    def link(self, link_class: str, name: str, head: str, tail: str | None = None) -> None:
        body = {"link_class": link_class, "name": name, "head_uuid": head}
        if tail:
            body["tail_uuid"] = tail
        self.api.links().create(body={"link": body}).execute()


class World:
    """A cluster with two users who share, and one of everything that a mount can show."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.anna, self.bert = Sharer(cluster, "anna"), Sharer(cluster, "bert")
        self._fill_home(self.bert)
        self._share(cluster, self.anna, self.bert)
        self._tag(self.bert)
        root = cluster.api()
        self.role = root.groups().create(
            body={"group": {"name": "a role", "group_class": "role"}}
        ).execute()["uuid"]  # fmt: skip

    def _fill_home(self, bert: Sharer) -> None:
        self.top = top = bert.group("Top")
        files = {"a/b.txt": b"bravo", "c": b"c", "ordner/größe": b"123"}
        run = create(bert.api, "run 42", files, owner=top)
        self.run, self.pdh = run["uuid"], run["portable_data_hash"]
        bert.api.collections().create(
            body={"collection": {"owner_uuid": top, "manifest_text": ""}}
        ).execute()  # fmt: skip
        create(bert.api, "empty", {}, owner=top)
        create(bert.api, "odd\nname é\\ *", {"x": b"2"}, owner=top)
        create(bert.api, "twice", {"of the": b"collection"}, owner=top)
        create(bert.api, "of the project", {"x": b""}, owner=bert.group("twice", top))
        trashed = create(bert.api, "trashed", {"x": b"t"}, owner=top)
        bert.api.collections().delete(uuid=trashed["uuid"]).execute()
        bert.api.groups().delete(uuid=bert.group("trashed too", top)).execute()
        workflow = {"name": "not shown", "owner_uuid": top, "definition": ""}
        bert.api.workflows().create(body={"workflow": workflow}).execute()
        inner = bert.group("inner", top)
        create(bert.api, "deep", {"x": b"3"}, owner=inner)
        only_c = [["uuid", "is_a", "arvados#collection"], ["collections.name", "like", "r%"]]
        self.filter = bert.group(
            "collections with r", top, group_class="filter", properties={"filters": only_c}
        )
        around = {"filters": [["uuid", "=", top]]}
        self.loop = bert.group("contains Top", top, group_class="filter", properties=around)
        bert.group("of its parent", inner, group_class="filter", properties=around)

    def _share(self, cluster: RunningCluster, anna: Sharer, bert: Sharer) -> None:
        admin = cluster.api()
        body = {"link_class": "permission", "name": "can_read"}
        for_bert = anna.group("For Bert")
        create(anna.api, "data", {"f": b"from Anna"}, owner=for_bert)
        deep = anna.group("Shared deep", anna.group("Not shared"))
        create(anna.api, "data", {"g": b"from deep"}, owner=deep)
        alone = create(anna.api, "alone", {"f": b"x"})["uuid"]
        for head in (for_bert, deep, alone):
            anna.link("permission", "can_read", head, bert.uuid)
        link = {**body, "tail_uuid": bert.uuid, "head_uuid": anna.uuid}
        admin.links().create(body={"link": link}).execute()

    def _tag(self, bert: Sharer) -> None:
        for name in ("best", "a/b"):
            bert.link("tag", name, self.run)
        bert.link("tag", "of a project", self.top)
        gone = create(bert.api, "tagged and gone", {"f": b"y"})["uuid"]
        bert.link("tag", "gone", gone)
        bert.api.collections().delete(uuid=gone).execute()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield World(cluster)


def environment(person: Sharer, command: Path, home: Path) -> dict[str, str]:
    """What a driver needs, with a home and so caches of its own."""
    env = {**person.env, "HOME": str(home / command.parent.parent.name)}
    if command == OFFICIAL:
        env.pop("PYTHONPATH", None)  # where its package would be found under the name of ours
    return env


@pytest.fixture
def both(world, tmp_path):
    """Mount for Bert with `both(*arguments)`; returns (official, ours)."""
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:

        def mount(*arguments: str) -> tuple[Path, Path]:
            return tuple(
                mounts.enter_context(
                    RunningMount(
                        next(directories),
                        "--disable-event-listening",  # nothing changes while it is mounted
                        *arguments,
                        env=environment(world.bert, command, tmp_path),
                        command=command,
                    )
                ).directory
                for command in (OFFICIAL, ARV_MOUNT)
            )

        yield mount


def seen(root: Path) -> dict[str, tuple]:
    """All that a walk finds below `root`: mode, and content of files, by path."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(directory, name)
            mode = path.stat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else None
            found[str(path.relative_to(root))] = (stat.filemode(mode), content)
    return found


def differences(official: Path, ours: Path) -> set[str]:
    """Paths that a walk sees differently."""
    there, here = seen(official), seen(ours)
    assert len(there) >= 1
    return {path for path in there.keys() | here.keys() if there.get(path) != here.get(path)}


def unexpected(paths: set[str]) -> set[str]:
    return {path for path in paths if not any(re.search(d.path, path) for d in DIFFERENCES)}


CUSTOM = (
    *("--mount-home", "home", "--mount-shared", "shared", "--mount-by-id", "ids"),
    *("--mount-by-pdh", "hashes", "--mount-by-tag", "tags"),
)


def test_all_kinds_of_directories(both):
    found = differences(*both(*CUSTOM))
    assert not unexpected(found)
    for difference in DIFFERENCES:
        assert any(re.search(difference.path, path) for path in found), (
            f"{difference.path} differs no more: take it out of the list"
        )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all"],
        ["--custom"],
        ["--home"],
        ["--shared"],
        ["--by-tag"],
        ["--by-id"],
        ["--by-pdh"],
        ["--filters", '[["name", "like", "%e%"]]'],
        ["--filters", '[["collections.name", "like", "%r%"]]'],
        ["--home", "--filters", '[["groups.name", "like", "%o%"]]'],
        ["--filters", '[["name", "!=", "best"]]'],
    ],
)
def test_layouts(both, arguments):
    tags = "" if "--by-tag" not in arguments else "tags/"
    by_tag = re.compile(r"^by_tag/")
    found = {by_tag.sub("tags/", tags + path) for path in differences(*both(*arguments))}
    assert not unexpected(found)


@pytest.mark.parametrize("what", ["top", "filter"])
def test_projects(both, world, what):
    assert not unexpected(differences(*both("--project", getattr(world, what))))


def test_a_filter_group_at_the_root_in_itself(both, world):
    """There it is found once more before it is empty: the root does not count as being inside."""
    official, ours = both("--project", world.loop)
    assert "Top/contains Top/Top" in seen(official)
    assert os.listdir(ours / "Top/contains Top") == []


@pytest.mark.parametrize("what", ["run", "pdh"])
def test_collections(both, world, what):
    assert not differences(*both("--collection", getattr(world, what)))


@pytest.mark.parametrize("mode", ["--by-id", "--by-pdh"])
def test_what_can_be_asked_for_by_its_id(both, world, mode):
    roots = both(mode)
    ids = [world.run, world.pdh, world.top, world.filter, world.role, world.bert.uuid]
    ids += [world.run[:-15] + NONE, f"{NONE}{NONE}00+1", "nonsense", "README"]
    answers = [[(root / ident).exists() for ident in ids] for root in roots]
    assert answers[0] == answers[1]
    assert sorted(os.listdir(roots[0])) == sorted(os.listdir(roots[1]))
    assert not unexpected(differences(*roots))


RECORDS = (
    "home/.arvados#project",
    "home/Top/.arvados#project",
    "home/Top/run 42/.arvados#collection",
    "home/Top/contains Top/.arvados#project",
    "shared/Anna Tester/.arvados#project",
    "shared/Anna Tester/For Bert/.arvados#project",
    "shared/.arvados#project",
    "tags/.arvados#project",
    "home/Top/.arvados#collection",
    "home/Top/run 42/a/.arvados#collection",
    "home/Top/run 42/.arvados#project",
)


@pytest.mark.parametrize("path", RECORDS)
def test_records_are_found_by_name(both, path):
    answers = []
    for root in both(*CUSTOM):
        file = root / path
        if not file.exists():
            answers.append(None)
            continue
        text = re.sub(r"\+A[0-9a-f]+@[0-9a-f]+", "", file.read_text())
        answers.append((text, stat.filemode(file.stat().st_mode), json.loads(text)["uuid"]))
    assert answers[0] == answers[1]


def test_an_id_with_something_after_it_is_none_here(both, world):
    """There it is a second name of the same thing."""
    official, ours = both("--by-id")
    assert (official / f"{world.pdh}+x").exists()
    assert not (ours / f"{world.pdh}+x").exists()


def test_other_objects_are_not_shown(both, world):
    """Nor are they there without being listed."""
    held = world.bert.api.groups().contents(uuid=world.top).execute()["items"]
    assert "not shown" in [record.get("name") for record in held]
    for root in both("--project", world.top):
        assert not [name for name in os.listdir(root) if name.startswith("not shown")]
        for name in ("not shown", "not shown.workflow", "not shown.arvados#workflow"):
            assert not (root / name).exists()


def test_versions_are_ours_alone(both, world):
    official, ours = both("--by-id")
    path = f"{world.run}/.arvados#versions"
    assert not (official / path).exists()
    assert os.listdir(ours / path) == ["1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--home", "--mount-home", "x"],
        ["--all", "--mount-by-id", "x"],
        ["--mount-home", "a/b"],
        ["--mount-home", ""],
        ["--mount-tmp", "."],
        ["--home", "--by-id"],
        ["--filters", "["],
        ["--filters", "{}"],
        ["--filters", '[["name", "="]]'],
    ],
)
def test_exit_codes_of_what_contradicts_itself(world, tmp_path, arguments):
    (tmp_path / "mnt").mkdir()
    codes = []
    for command in (OFFICIAL, ARV_MOUNT):
        words = [command, *arguments, tmp_path / "mnt"]
        env = environment(world.bert, command, tmp_path / "home")
        codes.append(subprocess.run(words, env=env, capture_output=True, check=False).returncode)
    assert codes[0] == codes[1] != 0
