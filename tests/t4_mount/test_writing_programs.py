"""Programs that write to a collection: what docs/semantics.md promises about writing.

After each test the mount is ended, and the cluster must have, for another client, what it showed.
"""

import hashlib
import os
import shelve
import sqlite3
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.support.contents import pseudo_random
from tests.support.workplace import Workplace, errno_of, new_collection, saved, shown

YEAR_2001 = 1_000_000_000


@pytest.fixture
def work(cluster, mount):
    """An empty collection on a mount; in the end the cluster has what was written to it."""
    api = cluster.api()
    uuid = new_collection(api)
    workplace = Workplace(mount("--read-write", "--collection", uuid), api, uuid)
    yield workplace
    workplace.end()


@pytest.fixture
def source(tmp_path):
    """A directory on the local disk, to be filled."""
    path = tmp_path / "source"
    path.mkdir()
    return path


def sh(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(directory: Path, files: int) -> None:
    """Make a tree like that of source code: small files in directories of 50, old times."""
    for number in range(files):
        path = directory / f"part{number // 50}" / f"file {number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number}\n".encode() * (number % 300))
        os.utime(path, (YEAR_2001 + number, YEAR_2001 + number))
    (directory / "empty").mkdir()
    script = directory / "run.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    for path in directory.iterdir():
        os.utime(path, (YEAR_2001, YEAR_2001))


def stats(root: Path) -> dict:
    """Mode, size and time of all files and directories below `root`."""
    found = {path.relative_to(root): path.lstat() for path in root.rglob("*")}
    return {
        path: (s.st_mode, s.st_mtime, None if stat.S_ISDIR(s.st_mode) else s.st_size)
        for path, s in found.items()
    }


class TestGit:
    GIT = ("git", "-c", "user.name=A Tester", "-c", "user.email=a@example.com")

    @pytest.fixture
    def origin(self, source):
        fill(source, 120)
        sh(*self.GIT, "init", "-q", "-b", "main", cwd=source)
        sh(*self.GIT, "add", ".", cwd=source)
        sh(*self.GIT, "commit", "-q", "-m", "The first", cwd=source)
        return source

    def test_clone_is_clean_and_whole(self, work, origin):
        work.run(*self.GIT, "clone", "-q", f"file://{origin}", "clone")
        assert work.run(*self.GIT, "-C", "clone", "status", "--porcelain") == ""
        work.run(*self.GIT, "-C", "clone", "fsck", "--strict", "--no-progress")
        content = {p: c for p, c in shown(work / "clone").items() if not p.startswith(".git/")}
        assert content == {
            p: c for p, c in shown(origin).items() if not p.startswith(".git/") and c is not None
        }

    def test_commits_branches_and_packs(self, work):
        work.run(*self.GIT, "init", "-q", "-b", "main", "repository")
        git = (*self.GIT, "-C", "repository")
        for number in range(3):
            (work / "repository/file").write_text(f"version {number}\n")
            work.run(*git, "add", "file")
            work.run(*git, "commit", "-q", "-m", f"Version {number}")
        work.run(*git, "checkout", "-q", "-b", "side", "HEAD~1")
        assert (work / "repository/file").read_text() == "version 1\n"
        work.run(*git, "checkout", "-q", "main")
        work.run(*git, "gc", "-q")
        assert work.run(*git, "status", "--porcelain") == ""
        assert work.run(*git, "log", "--format=%s").splitlines() == [
            "Version 2",
            "Version 1",
            "Version 0",
        ]
        work.run(*git, "fsck", "--strict", "--no-progress")


class TestSqlite:
    def test_command_creates_and_queries(self, work):
        work.run(
            *("sqlite3", "data.db"),
            "PRAGMA journal_mode=DELETE; CREATE TABLE t(n INTEGER PRIMARY KEY, v TEXT);"
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000)"
            " INSERT INTO t SELECT x, 'value ' || x FROM c; CREATE INDEX i ON t(v);",
        )
        count = "SELECT count(*), sum(n) FROM t; PRAGMA integrity_check;"
        assert work.run("sqlite3", "data.db", count) == "2000|2001000\nok\n"
        assert os.listdir(work.root) == ["data.db"]

    def test_transactions_are_kept_or_rolled_back(self, work):
        database = sqlite3.connect(work / "data.db", isolation_level=None)
        database.execute("CREATE TABLE t(n INTEGER, v BLOB)")
        for number in range(10):
            database.execute("BEGIN")
            database.execute("INSERT INTO t VALUES (?, randomblob(5000))", (number,))
            database.execute("ROLLBACK" if number % 2 else "COMMIT")
        database.execute("DELETE FROM t WHERE n = 4")
        database.execute("VACUUM")
        database.close()
        again = sqlite3.connect(work / "data.db")
        assert again.execute("SELECT n FROM t ORDER BY n").fetchall() == [(0,), (2,), (6,), (8,)]
        assert again.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        again.close()

    def test_second_connection_waits_for_the_lock(self, work):
        first = sqlite3.connect(work / "data.db", isolation_level=None)
        first.execute("CREATE TABLE t(n INTEGER)")
        first.execute("BEGIN EXCLUSIVE")
        second = sqlite3.connect(work / "data.db", isolation_level=None, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.execute("INSERT INTO t VALUES (1)")
        first.execute("COMMIT")
        second.execute("INSERT INTO t VALUES (1)")
        assert first.execute("SELECT * FROM t").fetchall() == [(1,)]
        first.close()
        second.close()

    INSERT = """
import sqlite3, sys
database = sqlite3.connect("data.db", timeout=30, isolation_level=None)
for number in range(12):
    database.execute("INSERT INTO t VALUES (?)", (int(sys.argv[1]) * 12 + number,))
"""

    def test_a_write_ahead_log_is_shared_by_processes(self, work):
        """They share the index of the log through a mapping of a file."""
        database = sqlite3.connect(work / "data.db")
        assert database.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        database.execute("CREATE TABLE t(n INTEGER)")
        database.commit()
        command = [sys.executable, "-c", self.INSERT]
        writers = [subprocess.Popen([*command, str(n)], cwd=work.root) for n in range(3)]
        assert [writer.wait(30) for writer in writers] == [0, 0, 0]
        found = database.execute("SELECT n FROM t ORDER BY n").fetchall()
        assert found == [(number,) for number in range(36)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
        assert os.listdir(work.root) == ["data.db"]


class TestMapping:
    WRITE = """
import mmap, sys
with open("data", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    for start in range(int(sys.argv[1]) * 64, len(mapped), 4 * 64):
        mapped[start : start + 64] = sys.argv[1].encode() * 64
"""

    def test_processes_write_to_the_same_pages(self, work):
        (work / "data").write_bytes(bytes(256 * 1024))
        command = [sys.executable, "-c", self.WRITE]
        writers = [subprocess.Popen([*command, str(n)], cwd=work.root) for n in range(4)]
        assert [writer.wait(30) for writer in writers] == [0] * 4
        cells = b"".join(number * 64 for number in (b"0", b"1", b"2", b"3"))
        assert (work / "data").read_bytes() == cells * 1024


class TestRsync:
    ITEMIZE = ("rsync", "-a", "--itemize-changes")

    def test_second_run_finds_nothing_to_do(self, work, source):
        fill(source, 300)
        assert ">f+++++++++" in work.run(*self.ITEMIZE, f"{source}/", "copy/")
        assert work.run(*self.ITEMIZE, f"{source}/", "copy/") == ""
        assert stats(work / "copy") == stats(source)
        assert shown(work / "copy") == shown(source)

    def test_still_nothing_after_a_commit(self, work, source):
        fill(source, 60)
        work.run(*self.ITEMIZE, f"{source}/", "copy/")
        descriptor = os.open(work / "copy", os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        assert "copy/run.sh" in work.saved()
        assert work.run(*self.ITEMIZE, f"{source}/", "copy/") == ""

    def test_only_what_changed_is_sent_and_what_is_gone_is_deleted(self, work, source):
        fill(source, 60)
        work.run(*self.ITEMIZE, f"{source}/", "copy/")
        (source / "part0/file 7.txt").write_bytes(b"changed")
        (source / "part0/file 8.txt").unlink()
        lines = work.run(*self.ITEMIZE, "--delete", "--inplace", f"{source}/", "copy/").splitlines()
        assert {line.split(maxsplit=1)[1] for line in lines} == {
            "part0/",
            "part0/file 7.txt",
            "part0/file 8.txt",
        }
        assert shown(work / "copy") == shown(source)


def test_tar_extracts_a_source_tree(work, source, tmp_path):
    fill(source, 2000)
    sh("tar", "cf", tmp_path / "tree.tar", ".", cwd=source)
    work.run("tar", "xf", tmp_path / "tree.tar")
    # Compares contents, sizes, modes, owners and times.
    assert work.run("tar", "df", tmp_path / "tree.tar") == ""
    assert shown(work.root) == shown(source)


def test_make_builds_once_and_then_is_up_to_date(work):
    (work / "main.c").write_text(
        '#include <stdio.h>\n#include "part.h"\nint main(void) { puts(NAME); return part(); }\n'
    )
    (work / "part.h").write_text('#define NAME "built"\nint part(void);\n')
    (work / "part.c").write_text('#include "part.h"\nint part(void) { return 7; }\n')
    (work / "Makefile").write_text(
        "program: main.o part.o\n\t$(CC) -o $@ $^\n%.o: %.c part.h\n\t$(CC) -c -o $@ $<\n"
    )
    assert "-o program" in work.run("make")
    assert "is up to date" in work.run("make")
    assert work.run("./program", code=7) == "built\n"
    os.utime(work / "part.c")
    again = work.run("make")
    assert "-o part.o" in again
    assert "-o program" in again
    assert "-o main.o" not in again
    assert "is up to date" in work.run("make")


class TestFio:
    VERIFY = ("--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--size=3m")

    def test_verifies_what_it_wrote(self, work):
        for pattern in ("write", "randwrite", "randrw"):
            work.run(
                *("fio", f"--name={pattern}", "--directory=.", f"--rw={pattern}", "--numjobs=2"),
                *("--bsrange=1k-64k", "--bs_unaligned=1", "--fsync=100", "--randseed=1"),
                *self.VERIFY,
            )

    def test_verifies_in_a_later_mount(self, work, mount):
        job = ("fio", "--name=job", "--directory=.", "--rw=randwrite", "--bs=4k", *self.VERIFY)
        work.run(*job)
        later = mount("--collection", work.uuid)
        work.run(
            *("fio", "--name=job", f"--directory={later.directory}", "--readonly"),
            *("--rw=randread", "--bs=4k", "--size=3m", "--verify=crc32c", "--verify_fatal=1"),
        )


def test_pip_installs_a_package(work, source):
    wheel = source / "parcel-1.0-py3-none-any.whl"
    files = {f"parcel/module{number}.py": f"VALUE = {number}\n" for number in range(40)}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("parcel/__init__.py", "from .module7 import VALUE\n")
        for name, text in files.items():
            archive.writestr(name, text)
        info = "parcel-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    work.run(*pip, "--disable-pip-version-check", "--target", "packages", wheel)
    program = "import sys; sys.path.insert(0, 'packages'); import parcel; print(parcel.VALUE)"
    assert work.run("python3", "-c", program) == "7\n"
    content = shown(work / "packages")
    assert {name: text.encode() for name, text in files.items()}.items() <= content.items()


class TestCopies:
    def test_cp_r(self, work, source):
        fill(source, 120)
        work.run("cp", "-r", source, "copy")
        assert shown(work / "copy") == shown(source)

    def test_cp_p_keeps_modes_and_times(self, work, source):
        fill(source, 120)
        work.run("cp", "-rp", source, "copy")
        assert stats(work / "copy") == stats(source)

    def test_cp_within_the_collection(self, work):
        (work / "one").write_bytes(pseudo_random(300_000))
        work.run("cp", "one", "two")
        assert (work / "two").read_bytes() == pseudo_random(300_000)

    def test_install_sets_the_mode(self, work, source):
        (source / "tool").write_text("#!/bin/sh\necho tool\n")
        work.run("install", "-D", "-m", "750", source / "tool", "bin/tool")
        assert (work / "bin/tool").stat().st_mode & 0o7777 == 0o750
        assert work.run("bin/tool") == "tool\n"


class TestEditors:
    def save(self, path, content):
        """Save as editors do: write another file, make it durable, give it the name."""
        other = path.with_name(f".{path.name}.swp")
        with open(other, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(other, path)

    def test_save_by_rename(self, work):
        for number in range(5):
            self.save(work / "text", f"version {number}\n".encode())
            assert (work / "text").read_bytes() == f"version {number}\n".encode()
        assert os.listdir(work.root) == ["text"]

    def test_a_reader_of_the_old_file_reads_on(self, work):
        self.save(work / "text", b"the old text")
        with open(work / "text", "rb", buffering=0) as reader:
            assert reader.read(4) == b"the "
            self.save(work / "text", b"THE NEW TEXT")
            assert reader.read() == b"old text"
        assert (work / "text").read_bytes() == b"THE NEW TEXT"

    def test_save_with_a_backup(self, work):
        self.save(work / "text", b"one")
        os.rename(work / "text", work / "text~")
        (work / "text").write_bytes(b"two")
        assert shown(work.root) == {"text": b"two", "text~": b"one"}

    def test_sed_in_place(self, work):
        (work / "text").write_text("a colour\n")
        work.run("sed", "-i", "s/colour/color/", "text")
        assert (work / "text").read_text() == "a color\n"


class TestDd:
    def test_odd_block_sizes(self, work, source):
        for block_size in (1, 511, 4097, 70_001):
            content = pseudo_random(2000 if block_size == 1 else 300_000)
            (source / "in").write_bytes(content)
            work.run("dd", f"if={source}/in", f"of=out{block_size}", f"bs={block_size}")
            assert (work / f"out{block_size}").read_bytes() == content

    def test_notrunc_changes_what_it_writes_alone(self, work, source):
        content = bytearray(pseudo_random(200_000))
        (work / "out").write_bytes(content)
        patch = pseudo_random(3 * 1009, seed=2)
        (source / "patch").write_bytes(patch)
        work.run(
            *("dd", f"if={source}/patch", "of=out", "bs=1009", "seek=71", "conv=notrunc,fsync"),
            "status=none",
        )
        content[71 * 1009 : 74 * 1009] = patch
        assert (work / "out").read_bytes() == content

    def test_without_notrunc_the_rest_is_cut_off(self, work):
        (work / "out").write_bytes(b"x" * 5000)
        work.run("dd", "if=/dev/zero", "of=out", "bs=100", "count=3", "seek=2", "status=none")
        assert (work / "out").read_bytes() == b"x" * 200 + bytes(300)


class TestSizes:
    def test_truncate_up_and_down(self, work):
        (work / "f").write_bytes(b"0123456789")
        work.run("truncate", "-s", "100000", "f")
        assert (work / "f").read_bytes() == b"0123456789" + bytes(99990)
        work.run("truncate", "-s", "4", "f")
        assert (work / "f").read_bytes() == b"0123"
        work.run("truncate", "-s", "8", "f")
        assert (work / "f").read_bytes() == b"0123\0\0\0\0"
        work.run("truncate", "-s", "0", "f")
        assert (work / "f").stat().st_size == 0

    def test_holes_are_zeros(self, work):
        with open(work / "sparse", "wb") as file:
            for position in (1_000_003, 5, 3_000_001):
                file.seek(position)
                file.write(b"island")
        expected = bytearray(3_000_007)
        for position in (5, 1_000_003, 3_000_001):
            expected[position : position + 6] = b"island"
        assert (work / "sparse").read_bytes() == expected

    def test_copy_of_a_sparse_file(self, work, source):
        with open(source / "sparse", "wb") as file:
            file.write(b"begin")
            file.truncate(4_000_000)
        work.run("cp", "--sparse=always", source / "sparse", "sparse")
        assert hashlib.md5((work / "sparse").read_bytes()).hexdigest() == (
            hashlib.md5((source / "sparse").read_bytes()).hexdigest()
        )

    def test_appending(self, work):
        for number in range(20):
            work.run("sh", "-c", f"echo line {number} >> log")
        assert (work / "log").read_text() == "".join(f"line {n}\n" for n in range(20))


class TestPython:
    def test_tempfile(self, work):
        with tempfile.TemporaryFile(dir=work.root) as file:
            file.write(b"nobody sees this")
            file.seek(0)
            assert file.read() == b"nobody sees this"
        with tempfile.NamedTemporaryFile(dir=work.root, delete=False) as file:
            file.write(b"kept")
        with tempfile.TemporaryDirectory(dir=work.root) as directory:
            Path(directory, "in it").write_text("x")
        assert shown(work.root) == {os.path.basename(file.name): b"kept"}

    def test_shelve(self, work):
        with shelve.open(str(work / "shelf")) as shelf:
            for number in range(200):
                shelf[f"key {number}"] = list(range(number))
        with shelve.open(str(work / "shelf")) as shelf:
            del shelf["key 7"]
            shelf["key 8"] = "another"
        with shelve.open(str(work / "shelf"), "r") as shelf:
            assert len(shelf) == 199
            assert shelf["key 8"] == "another"
            assert shelf["key 199"] == list(range(199))


def test_find_deletes_a_tree(work, source):
    fill(source, 300)
    work.run("cp", "-r", source, "copy")
    (work / "stays").write_text("x")
    work.run("find", "copy", "-delete")
    assert shown(work.root) == {"stays": b"x"}


def test_find_deletes_a_tree_that_is_committed(work, source):
    fill(source, 300)
    work.run("cp", "-r", source, "copy")
    work.run("sync", "-d", "copy/run.sh")
    assert work.saved()["copy/run.sh"]
    work.run("find", "copy", "-delete")
    assert os.listdir(work.root) == []


class TestLinks:
    def test_are_refused_cleanly(self, work):
        (work / "file").write_text("x")
        assert "not permitted" in work.run("ln", "file", "link", code=1)
        assert "not permitted" in work.run("ln", "-s", "file", "link", code=1)
        assert shown(work.root) == {"file": b"x"}


class TestAttributes:
    def test_touch_d_holds_across_commits(self, work):
        (work / "file").write_text("x")
        work.run("touch", "-d", "2001-09-09T01:46:40.123456789Z", "file")
        assert (work / "file").stat().st_mtime_ns == YEAR_2001 * 10**9 + 123456789
        work.run("sync", "file")
        assert (work / "file").stat().st_mtime_ns == YEAR_2001 * 10**9 + 123456789
        (work / "file").write_text("y")
        assert (work / "file").stat().st_mtime > YEAR_2001 + 10**8

    def test_chmod_and_chown_are_accepted(self, work):
        (work / "file").write_text("x")
        (work / "directory").mkdir()
        work.run("chmod", "640", "file")
        work.run("chmod", "2750", "directory")
        work.run("chown", "12:34", "file", "directory")
        assert (work / "file").stat().st_mode & 0o7777 == 0o640
        assert (work / "directory").stat().st_mode & 0o7777 == 0o2750
        for path in (work / "file", work / "directory"):
            assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


class TestMv:
    """Within a collection, between collections, and of collections between projects."""

    @pytest.fixture
    def home(self, cluster, mount):
        api = cluster.api()
        body = {"group": {"name": f"mv {os.urandom(4).hex()}", "group_class": "project"}}
        top = api.groups().create(body=body).execute()["uuid"]
        for name in ("one", "two"):
            body = {"group": {"name": name, "group_class": "project", "owner_uuid": top}}
            api.groups().create(body=body).execute()
        running = mount("--read-write", "--project", top)
        workplace = Workplace(running, api, top)
        yield workplace
        content = {
            f"{project}/{name}": shown(running / f"{project}/{name}")
            for project in ("one", "two")
            for name in os.listdir(running / project)
        }
        assert running.unmount() == 0
        assert self.saved(api, top) == content

    def saved(self, api, top):
        """All collections in the projects of a project, with what they hold."""
        return {
            f"{project['name']}/{collection['name']}": saved(api, collection["uuid"])
            for project in self.owned(api.groups(), top)
            for collection in self.owned(api.collections(), project["uuid"])
        }

    @staticmethod
    def owned(resource, owner):
        return resource.list(filters=[["owner_uuid", "=", owner]]).execute()["items"]

    def test_within_a_collection(self, work):
        (work / "a").mkdir()
        (work / "a/f").write_text("f")
        work.run("mv", "a", "b")
        work.run("mkdir", "c")
        work.run("mv", "b", "c/")
        work.run("mv", "c/b/f", "top")
        assert shown(work.root) == {"c/b": None, "top": b"f"}
        (work / "other").write_text("other")
        work.run("mv", "other", "top")
        assert shown(work.root) == {"c/b": None, "top": b"other"}

    def test_file_between_collections(self, home):
        home.run("mkdir", "one/from", "one/to")
        (home / "one/from/f").write_bytes(pseudo_random(200_000))
        os.utime(home / "one/from/f", (YEAR_2001, YEAR_2001))
        home.run("mv", "one/from/f", "one/to/g")
        assert shown(home / "one") == {"from": None, "to/g": pseudo_random(200_000)}
        assert (home / "one/to/g").stat().st_mtime == YEAR_2001

    def test_directory_between_collections(self, home, source):
        fill(source, 60)
        home.run("mkdir", "one/from", "one/to")
        home.run("cp", "-rp", source, "one/from/tree")
        home.run("mv", "one/from/tree", "one/to/")
        assert shown(home / "one/to/tree") == shown(source)
        assert stats(home / "one/to/tree") == stats(source)
        assert os.listdir(home / "one/from") == []

    def test_directory_is_not_copied(self, home, cluster):
        """The same inodes are in the other place, and no block is read or sent for it."""
        home.run("mkdir", "one/from", "one/to")
        tree = home / "one/from/tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub/f").write_bytes(pseudo_random(300_000))
        (tree / "g").write_bytes(b"g" * 1000)
        os.utime(tree / "g", (YEAR_2001, YEAR_2001))
        before = {p: (tree / p).stat().st_ino for p in ("", "sub", "sub/f", "g")}
        (home / "one/from/.arvados#commit").read_text()
        cluster.request_counts(reset=True)
        with open(tree / "sub/f", "r+b", buffering=0) as file:
            os.rename(tree, home / "one/to/moved")
            moved = home / "one/to/moved"
            assert {p: (moved / p).stat().st_ino for p in before} == before
            assert not {"GET keep", "PUT keep"} & cluster.request_counts().keys()
            assert (moved / "g").stat().st_mtime == YEAR_2001
            file.write(b"X")
            assert (moved / "sub/f").read_bytes() == b"X" + pseudo_random(300_000)[1:]
        assert os.listdir(home / "one/from") == []

    def test_directory_replaces_an_empty_one_alone(self, home):
        home.run("mkdir", "-p", "one/from", "one/to")
        for path in ("one/from/tree", "one/to/empty", "one/to/full"):
            (home / path).mkdir()
        (home / "one/from/tree/f").write_text("f")
        (home / "one/to/full/g").write_text("g")
        (home / "one/to/file").write_text("file")
        (home / "one/from/file").write_text("other")
        tree, to = home / "one/from/tree", home / "one/to"
        assert errno_of(os.rename, tree, to / "full") == "ENOTEMPTY"
        assert errno_of(os.rename, tree, to / "file") == "ENOTDIR"
        assert errno_of(os.rename, home / "one/from/file", to / "empty") == "EISDIR"
        os.rename(tree, to / "empty")
        assert shown(to) == {"empty/f": b"f", "full/g": b"g", "file": b"file"}
        assert shown(home / "one/from") == {"file": b"other"}

    def test_collection_between_projects(self, home):
        home.run("mkdir", "one/collection")
        (home / "one/collection/f").write_text("content")
        home.run("mv", "one/collection", "two/renamed")
        assert os.listdir(home / "one") == []
        assert shown(home / "two") == {"renamed/f": b"content"}
        (home / "two/renamed/g").write_text("more")

    def test_out_of_and_into_the_mount(self, home, source):
        home.run("mkdir", "one/c")
        (source / "f").write_text("in")
        home.run("mv", source / "f", "one/c/f")
        assert shown(home / "one/c") == {"f": b"in"}
        home.run("mv", "one/c/f", source / "g")
        assert (source / "g").read_text() == "in"
        assert os.listdir(home / "one/c") == []
