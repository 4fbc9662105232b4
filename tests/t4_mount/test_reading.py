"""Programs that read a mounted collection: what docs/semantics.md promises about reading."""

import hashlib
import mmap
import os
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.contents import create, pseudo_random

FILES = {
    "readme.txt": b"Hello, Keep.\n",
    "empty": b"",
    "tables/2024/a b.csv": b"x,y\n1,2\n",
    "tables/2024/na\u00efve \u2603.txt": "snow\u2603man\n".encode(),
    "tables/big.bin": pseudo_random(3_000_000, seed=1),
    "tables/2025/colon:back\\slash": b"odd\n",
}


@pytest.fixture(scope="module")
def record(cluster):
    return create(cluster.api(), "reading", FILES)


@pytest.fixture
def root(mount, record):
    """The collection, mounted alone."""
    return mount("--collection", record["uuid"]).directory


def run(*command: object, cwd=None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_has_its_content(root):
    for path, content in FILES.items():
        assert (root / path).read_bytes() == content


def test_find_sees_the_whole_tree(root):
    found = run("find", ".", "-type", "f", cwd=root).splitlines()
    assert sorted(found) == sorted(f"./{path}" for path in FILES)


def test_ls_shows_dot_and_dotdot(root):
    assert run("ls", "-a", root / "tables").split() == [".", "..", "2024", "2025", "big.bin"]


def test_cp_and_diff_agree(root, tmp_path):
    run("cp", "-r", root, tmp_path / "copy")
    run("diff", "-r", root, tmp_path / "copy")


def test_tar_holds_the_bytes(root, tmp_path):
    run("tar", "-c", "-f", tmp_path / "all.tar", "-C", root, ".")
    with tarfile.open(tmp_path / "all.tar") as archive:
        for path, content in FILES.items():
            assert archive.extractfile(f"./{path}").read() == content


def test_rsync_copies_times_too(root, tmp_path):
    run("rsync", "-a", f"{root}/", tmp_path / "copy")
    assert run("rsync", "-a", "--itemize-changes", f"{root}/", tmp_path / "copy") == ""


def test_grep_finds_text(root):
    assert run("grep", "-r", "snow", root).strip().endswith("snow\u2603man")


def test_dd_with_odd_block_size(root, tmp_path):
    run("dd", f"if={root / 'tables/big.bin'}", f"of={tmp_path / 'copy'}", "bs=12345", "status=none")
    assert (tmp_path / "copy").read_bytes() == FILES["tables/big.bin"]


def test_mmap_reads_any_page(root):
    content = FILES["tables/big.bin"]
    with open(root / "tables/big.bin", "rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[2_999_990:] == content[2_999_990:]
            assert mapped[1_000_000:1_000_100] == content[1_000_000:1_000_100]
            assert hashlib.md5(mapped).digest() == hashlib.md5(content).digest()


def test_pread_anywhere(root):
    content = FILES["tables/big.bin"]
    descriptor = os.open(root / "tables/big.bin", os.O_RDONLY)
    try:
        for offset, size in [(0, 1), (131071, 3), (2_999_999, 10), (3_000_000, 10), (9_999_999, 1)]:
            assert os.pread(descriptor, size, offset) == content[offset : offset + size]
    finally:
        os.close(descriptor)


def test_many_threads_read_one_descriptor(root):
    content = FILES["tables/big.bin"]
    descriptor = os.open(root / "tables/big.bin", os.O_RDONLY)
    try:
        with ThreadPoolExecutor(8) as pool:
            offsets = range(0, len(content), 100_003)
            pieces = pool.map(lambda offset: os.pread(descriptor, 100_003, offset), offsets)
            assert b"".join(pieces) == content
    finally:
        os.close(descriptor)


def test_stat_values(root, record):
    status = (root / "tables/big.bin").stat()
    assert oct(status.st_mode) == "0o100555"
    assert status.st_size == 3_000_000
    assert status.st_blocks == (3_000_000 + 511) // 512
    assert status.st_blksize == 65536
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert status.st_nlink == 1
    modified = record["modified_at"][:19].replace("T", " ")
    shown = run("date", "-u", "+%Y-%m-%d %H:%M:%S", "-r", root / "tables/big.bin").strip()
    assert shown == modified
    directory = (root / "tables").stat()
    assert oct(directory.st_mode) == "0o40555"
    assert directory.st_mtime_ns == status.st_mtime_ns


def test_inode_numbers_of_readdir_and_stat_agree(root):
    for path, _, _ in os.walk(root):
        with os.scandir(path) as entries:
            for entry in entries:
                assert entry.inode() == os.stat(entry.path).st_ino


def test_statfs_answers(root):
    status = os.statvfs(root)
    assert status.f_namemax == 255
    assert status.f_bsize == 131072
    run("df", root)


def test_missing_file_is_enoent(root):
    with pytest.raises(FileNotFoundError):
        (root / "nothing").stat()


def test_changes_are_refused_with_erofs(root):
    attempts = [
        lambda: (root / "new").write_text("x"),
        lambda: (root / "readme.txt").write_text("x"),
        lambda: (root / "new").mkdir(),
        lambda: (root / "readme.txt").unlink(),
        lambda: (root / "readme.txt").rename(root / "other"),
        lambda: (root / "readme.txt").chmod(0o777),
        lambda: os.symlink("readme.txt", root / "link"),
        lambda: os.truncate(root / "readme.txt", 0),
        lambda: os.utime(root / "readme.txt"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only file system"):
            attempt()


def test_page_cache_survives_close_and_reopen(root):
    """The kernel answers the second reader by itself: all pages are still there."""
    path = root / "tables/big.bin"
    path.read_bytes()
    resident = run("fincore", "--bytes", "--noheadings", "--output", "RES", path)
    assert int(resident) >= 3_000_000


def test_seek_in_an_open_directory(mount, cluster):
    files = {f"file-{number:04}": b"" for number in range(2000)}
    record = create(cluster.api(), "many names", files)
    root = mount("--collection", record["uuid"]).directory
    assert sorted(os.listdir(root)) == sorted(files)
    script = (
        "import ctypes, sys; c = ctypes.CDLL(None); c.opendir.restype = c.readdir.restype ="
        " ctypes.c_void_p; c.telldir.restype = ctypes.c_long;"
        "d = ctypes.c_void_p(c.opendir(sys.argv[1].encode()));"
        "[c.readdir(d) for _ in range(700)]; mark = c.telldir(d);"
        "name = lambda: ctypes.string_at(c.readdir(d) + 19);"
        "first = name(); [c.readdir(d) for _ in range(900)];"
        "c.seekdir(d, ctypes.c_long(mark)); assert name() == first; print(first.decode())"
    )
    assert run("python3", "-c", script, root).startswith("file-")


def test_file_of_many_small_segments(mount, cluster):
    """Bytes that lie scattered over a block come out in the order of the manifest."""
    api = cluster.api()
    content = pseudo_random(100_000, seed=3)
    record = create(api, "scattered", {"f": content})
    locator = record["manifest_text"].split()[1]
    pieces = [(start, 997) for start in range(0, 99_000, 997)][::-1]
    tokens = " ".join(f"{start}:{size}:f" for start, size in pieces)
    record = api.collections().create(body={"manifest_text": f". {locator} {tokens}\n"}).execute()
    expected = b"".join(content[start : start + size] for start, size in pieces)
    assert (mount("--collection", record["uuid"]) / "f").read_bytes() == expected


def test_readers_of_many_files_at_once(mount, cluster):
    files = {f"d{n % 10}/f{n}": pseudo_random(5000, seed=n) for n in range(200)}
    root = mount("--collection", create(cluster.api(), "many", files)["uuid"]).directory
    wrong = []

    def read(paths):
        for path in paths:
            if (root / path).read_bytes() != files[path]:
                wrong.append(path)

    paths = list(files)
    readers = [threading.Thread(target=read, args=(paths[n::8],)) for n in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not wrong
