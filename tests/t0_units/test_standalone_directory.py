"""The directory, the certificate and the identity of a standalone cluster."""

import os
import sqlite3
import ssl
import stat
from contextlib import closing

import pytest

from arvados_fuse.standalone import clock, directory, identity
from arvados_fuse.standalone.certificate import tls_context
from arvados_fuse.standalone.directory import DirectoryInUse, DirectoryUnusable
from arvados_fuse.standalone.records.database import Database, DatabaseUnusable


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_is_private(tmp_path):
    place = tmp_path / "deep" / "cluster"
    directory.prepare(place)
    assert mode(place) == 0o700
    place.chmod(0o755)
    directory.prepare(place)
    assert mode(place) == 0o700


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryUnusable, match=r"Not a directory|File exists"):
        directory.prepare(tmp_path / "file" / "cluster")


def test_directory_of_others_is_left_as_it_is(tmp_path):
    """Somebody has forgotten the last part of the path: nobody is locked out of his home."""
    (tmp_path / "thesis.tex").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(DirectoryUnusable, match=r"it holds thesis\.tex, and is no cluster's"):
        directory.prepare(tmp_path)
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "users.lock",
        "log",
        "arv-mount.log",
        "tls.pem",
        ".tls.pem.x1",
        "blocks",
        "lost+found",
    ],
)
def test_directory_of_a_cluster_that_is_not_complete(tmp_path, name):
    """A start that was cut off, the log of `make mount`, the blocks of a keepstore, a new disk."""
    (tmp_path / name).mkdir()
    directory.prepare(tmp_path)


def test_directory_of_a_cluster_may_hold_other_things(tmp_path):
    (tmp_path / "cluster.sqlite").touch()
    (tmp_path / "notes").touch()
    directory.prepare(tmp_path)


def test_only_one_cluster_has_the_lock(tmp_path):
    assert not directory.is_locked(tmp_path)
    with directory.take_lock(tmp_path):
        assert directory.is_locked(tmp_path)
        with pytest.raises(DirectoryInUse, match="in use"):
            directory.take_lock(tmp_path)
    assert not directory.is_locked(tmp_path)
    directory.take_lock(tmp_path).close()


def test_environment_is_private_and_reads_back(tmp_path):
    token = 'it\'s $HOME; "x"'
    variables = {
        "ARVADOS_API_HOST": "127.0.0.1:1",
        "ARVADOS_API_TOKEN": token,
        "ARVADOS_API_HOST_INSECURE": "1",
    }
    directory.write_environment(tmp_path, "127.0.0.1:1", token)
    assert mode(tmp_path / "env.sh") == 0o600
    assert directory.read_environment(tmp_path) == variables
    assert (tmp_path / "env.sh").read_text().splitlines()[0] == (
        "export ARVADOS_API_HOST=127.0.0.1:1"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["env.sh"]
    directory.remove_environment(tmp_path)
    directory.remove_environment(tmp_path)
    assert directory.read_environment(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"export 'A", b"\xff\xfe", b"export ARVADOS_API_HOST=127.0.0.1:1\n", b"hello\n"],
)
def test_environment_that_somebody_has_spoilt_is_none(tmp_path, content):
    """So that who needs the cluster starts it, and with it comes a good one."""
    (tmp_path / "env.sh").write_bytes(content)
    assert directory.read_environment(tmp_path) is None


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    directory.write_file(path, b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        directory.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_certificate_is_made_once_and_is_for_this_machine(tmp_path):
    path = tmp_path / "tls.pem"
    tls_context(path)
    content = path.read_bytes()
    assert mode(path) == 0o600
    tls_context(path)
    assert path.read_bytes() == content
    client = ssl.create_default_context(cafile=str(path))
    (trusted,) = client.get_ca_certs()
    assert set(trusted["subjectAltName"]) == {("IP Address", "127.0.0.1"), ("DNS", "localhost")}


def test_certificate_that_cannot_be_read_is_made_anew(tmp_path):
    path = tmp_path / "tls.pem"
    path.write_bytes(b"nonsense")
    tls_context(path)
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY")


def test_identity_is_made_once(tmp_path):
    path = tmp_path / "cluster.sqlite"
    first, second = Database(path), Database(path)
    assert identity.establish(first) == identity.establish(second) == identity.establish(first)
    first.close()
    second.close()


def test_two_clusters_differ(tmp_path):
    databases = [Database(tmp_path / name) for name in "ab"]
    one, other = map(identity.establish, databases)
    assert one.signing_key != other.signing_key
    assert one.administrator_token != other.administrator_token
    for database in databases:
        database.close()


def test_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "cluster.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(DatabaseUnusable, match=r"cluster\.sqlite"):
        Database(path)
    assert path.read_bytes().startswith(b"nonsense")


def test_database_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "cluster.sqlite"
    Database(path).close()
    size = path.stat().st_size
    for kept in (10, 50, 100, 4096, size // 2, size - 4096):
        os.truncate(path, kept)
        with pytest.raises(DatabaseUnusable, match=r"cannot use the database .*cluster\.sqlite"):
            Database(path)
        path.unlink()
        Database(path).close()


def test_database_whose_schema_is_no_text_is_named(tmp_path):
    """Then the library that reads SQLite's own complaint fails, and not with an error of SQLite."""
    path = tmp_path / "cluster.sqlite"
    Database(path).close()
    content = path.read_bytes()
    assert content.count(b"CREATE TABLE meta ") == 1
    path.write_bytes(content.replace(b"CREATE TABLE meta ", b"CREATE T\xa0BLE meta "))
    with pytest.raises(DatabaseUnusable, match=r"cluster\.sqlite: it is damaged"):
        Database(path)


def test_database_of_another_program_is_not_touched(tmp_path):
    path = tmp_path / "cluster.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(DatabaseUnusable, match=r"cluster\.sqlite is not of a cluster"):
        Database(path)
    with closing(sqlite3.connect(path)) as connection:
        assert [*connection.execute("SELECT name FROM sqlite_master")] == [("bookmarks",)]


@pytest.mark.parametrize("key", ["cluster_id", "signing_key", "administrator_token_uuid"])
def test_identity_that_is_not_whole_is_said(tmp_path, key):
    with closing(Database(tmp_path / "cluster.sqlite")) as database:
        identity.establish(database)
        with database.write() as db:
            db.execute("DELETE FROM meta WHERE key = ?", (key,))
        with pytest.raises(DatabaseUnusable, match=rf"cluster\.sqlite is damaged: .* no {key}"):
            identity.establish(database)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM {}", "UPDATE {} SET expires_at = '2020'", "UPDATE {} SET scopes = '[\"GET /\"]'"],
    ids=["removed", "given an end", "restricted"],
)
def test_the_administrators_token_is_replaced_when_it_is_no_good_any_more(tmp_path, change):
    """Whoever has it may do that to it; the cluster starts all the same."""
    with closing(Database(tmp_path / "cluster.sqlite")) as database:
        first = identity.establish(database)
        with database.write() as db:
            uuid = first.administrator_token.split("/")[1]
            table = "api_client_authorizations"
            db.execute(f"{change.format(table)} WHERE uuid = ?", (uuid,))
        second = identity.establish(database)
        assert second.administrator_token != first.administrator_token
        assert second._replace(administrator_token=first.administrator_token) == first
        assert identity.establish(database) == second


class TestNumbers:
    """What the cluster has noted as a number, such as its ports."""

    @pytest.fixture
    def database(self, tmp_path):
        with closing(Database(tmp_path / "cluster.sqlite")) as database:
            yield database

    def test_are_read_as_they_were_noted(self, database):
        assert identity.get_number(database, "api_port", least=0, most=9) is None
        for number in (0, 9):
            with database.write() as db:
                identity.set_value(db, "api_port", str(number))
                assert identity.get_number(database, "api_port", least=0, most=9) == number

    @pytest.mark.parametrize("text", ["", "nonsense", "-1", "10", "1.5", "9" * 5000])
    def test_are_refused_if_they_make_no_sense(self, database, text):
        with database.write() as db:
            identity.set_value(db, "api_port", text)
        with pytest.raises(DatabaseUnusable) as caught:
            identity.get_number(database, "api_port", least=0, most=9)
        said = str(caught.value)
        assert "cluster.sqlite is damaged: api_port is" in said
        assert "not a number from 0 to 9" in said
        assert len(said) < 500


def test_database_of_another_version_is_not_touched(tmp_path):
    path = tmp_path / "cluster.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseUnusable, match="layout 99"):
        Database(path)


def test_a_full_disk_is_said_and_the_database_works_on(tmp_path):
    """SQLite undoes such a transaction by itself, and there is nothing left to be undone."""
    with closing(Database(tmp_path / "cluster.sqlite")) as database:
        with database.read() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"), database.write() as db:
            identity.set_value(db, "large", "x" * 100_000)
        with database.write() as db:
            identity.set_value(db, "small", "x")
            assert identity.get_value(db, "large") is None


def test_transaction_is_all_or_nothing(tmp_path):
    database = Database(tmp_path / "cluster.sqlite")

    def fail_half_way():
        with database.write() as db:
            identity.set_value(db, "key", "value")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    with database.read() as db:
        assert identity.get_value(db, "key") is None
    database.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09.000000000Z"),
        ("2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.123456000Z"),
        ("2024-05-06T07:08:09+02:00", "2024-05-06T05:08:09.000000000Z"),
        ("2024-05-06 07:08:09", "2024-05-06T07:08:09.000000000Z"),
        ("2024-05-06", "2024-05-06T00:00:00.000000000Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000000000Z"),
    ],
)
def test_timestamps_have_one_form(text, expected):
    assert clock.timestamp(text) == expected
    assert len(clock.now()) == len(expected)


@pytest.mark.parametrize("text", ["", "nonsense", "2024-13-01", "0001-01-01T00:00:00+10:00"])
def test_texts_that_are_no_timestamps(text):
    with pytest.raises(ValueError):
        clock.timestamp(text)
