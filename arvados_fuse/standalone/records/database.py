"""SQLite: a connection for each thread, transactions that write one after the other.

Write-ahead log with ``synchronous=FULL``: a transaction that has returned is on disk. Readers
see the state of the moment when their transaction began, and never wait for a writer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from arvados_fuse.standalone.records import reach, sqlfunctions
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import RESOURCES

__all__ = ["Database", "DatabaseUnusable"]

LAYOUT_VERSION = 2
"""Number of the layout of the tables; a database with another number is not touched."""

_META = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


class DatabaseUnusable(Exception):
    """The database cannot be opened, is damaged, or was made by another program or version."""


class Database:
    """The database of one cluster. Its methods may be called from any thread.

    is_ready: the tables are known to be there, and to be ours
    """

    def __init__(self, path: Path, *, is_ready: bool = False) -> None:
        self._path = path
        self._local = threading.local()
        self._writing = threading.Lock()
        self._opened: list[sqlite3.Connection] = []
        self._after_commit: Callable[[], None] | None = None
        if is_ready:
            return
        try:
            self._make_tables()
        except sqlite3.Error as error:
            raise DatabaseUnusable(f"cannot use the database {path}: {error}") from error
        except UnicodeDecodeError as error:  # from sqlite3, which fails to read the complaint
            raise DatabaseUnusable(f"cannot use the database {path}: it is damaged") from error

    def damaged(self, what: str) -> DatabaseUnusable:
        """Return the error for content that makes no sense; `what` says what is wrong."""
        return DatabaseUnusable(
            f"the database {self._path} is damaged: {what}; restore it from a copy of the directory"
        )

    def close(self) -> None:
        """Close the connections of all threads; none of them may use the database any more."""
        for connection in self._opened:
            connection.close()

    def call_after_commit(self, function: Callable[[], None] | None) -> None:
        """Call `function` after each writing transaction, in the thread of the writer.

        It has to be quick, for a request waits for it. None: call nothing any more.
        """
        self._after_commit = function

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Run a block in a transaction that only reads.

        Inside another transaction of the same thread it is a part of that one.
        """
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            # What has been noted in temporary tables stays.
            connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run a block in a transaction that writes. One runs at a time, in the whole process.

        Committed, and on disk, when the block ends; undone if it raises.
        """
        with self._writing, self._transaction() as connection:
            yield connection
        if self._after_commit is not None:
            self._after_commit()

    @contextmanager
    def write_unless_busy(self) -> Iterator[sqlite3.Connection | None]:
        """Like `write`, for what can wait: yields None if another transaction writes.

        What is written does not count as a change that others have to hear of.
        """
        if not self._writing.acquire(blocking=False):
            yield None
            return
        try:
            with self._transaction() as connection:
                yield connection
        finally:
            self._writing.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself undoes it when the disk is full
                connection.execute("ROLLBACK")
            raise

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._opened.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        # Each thread uses its own; only close() comes from another thread.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # After a large manifest the log would stay that large for ever.
        connection.execute("PRAGMA journal_size_limit = 16777216")
        sqlfunctions.register(connection)
        for statement in reach.TEMPORARY_DDL:
            connection.execute(statement)
        return connection

    def _make_tables(self) -> None:
        with closing(self._connect()) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, LAYOUT_VERSION):
                raise DatabaseUnusable(
                    f"the database {self._path} has layout {version}, this program needs layout"
                    f" {LAYOUT_VERSION}: use the version that made it, or another directory"
                )
            if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                # Ours get tables and version in one transaction.
                raise DatabaseUnusable(
                    f"the database {self._path} is not of a cluster: use another directory"
                )
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_META)
            for resource in RESOURCES:
                _add_columns(connection, resource)
                for statement in resource.ddl:
                    connection.execute(statement)
            for statement in reach.DDL:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")
            connection.execute("COMMIT")


def _add_columns(connection: sqlite3.Connection, resource: Resource) -> None:
    """Add the columns that a table lacks which an older version of this program has made."""
    known = {row["name"] for row in connection.execute(f"PRAGMA table_info({resource.name})")}
    for attribute in resource.columns if known else ():
        if attribute.name not in known:
            connection.execute(
                f"ALTER TABLE {resource.name} ADD COLUMN {attribute.name} {attribute.type.sql}"
            )
