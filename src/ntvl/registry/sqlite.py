"""The registry in one file: SQLite, so that leases survive a restart of the supernode.

Write-ahead logging with synchronous=NORMAL: a crash of the program loses nothing, a crash of the machine at most the
last moments, and no lease waits for a disk. One connection; the state directory's lock keeps a second program away.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ntvl.registry.base import Claim, Lease, StoreError

__all__ = ["SCHEMA_VERSION", "SqliteStore"]

SCHEMA_VERSION: Final = 1
"""In `PRAGMA user_version`; a file with a higher one is from a later ntvl and is left alone."""
_APPLICATION_ID: Final = 0x6E74766C
"""In `PRAGMA application_id`: "ntvl"."""

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE claims (
  name TEXT PRIMARY KEY,
  key BLOB NOT NULL UNIQUE,
  subnet TEXT NOT NULL,
  expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (
  community BLOB NOT NULL,
  node BLOB NOT NULL,
  address TEXT NOT NULL,
  name TEXT NOT NULL,
  expires_at REAL NOT NULL,
  PRIMARY KEY (community, node),
  UNIQUE (community, address)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_CLAIM: Final = "SELECT name, key, subnet, expires_at FROM claims "
_LEASE: Final = "SELECT community, node, address, name, expires_at FROM leases "


class SqliteStore:
    """Is a `LeaseStore` in a file.

    Args:
        path: the file, made where it is missing; its directory must be there.
    Raises:
        StoreError: the file cannot be used: no permission, damaged, not ours, or from a later ntvl.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self._open(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._error(error) from error
        except StoreError:
            connection.close()
            raise
        self._connection = connection

    def claim_of_name(self, name: str) -> Claim | None:
        """See `LeaseStore`."""
        with self._using() as connection:
            row = connection.execute(_CLAIM + "WHERE name = ?", (name,)).fetchone()
        return None if row is None else Claim(*row)

    def claim_of_key(self, key: bytes) -> Claim | None:
        """See `LeaseStore`."""
        with self._using() as connection:
            row = connection.execute(_CLAIM + "WHERE key = ?", (key,)).fetchone()
        return None if row is None else Claim(*row)

    def put_claim(self, claim: Claim, now: float) -> bool:
        """See `LeaseStore`."""
        with self._transaction() as connection:
            rows = connection.execute(_CLAIM + "WHERE name = ? OR key = ?", (claim.name, claim.key)).fetchall()
            in_the_way = [o for o in (Claim(*row) for row in rows) if (o.name, o.key) != (claim.name, claim.key)]
            if any(other.expires_at > now for other in in_the_way):
                return False
            for other in in_the_way:
                connection.execute("DELETE FROM leases WHERE community = ?", (other.key,))
                connection.execute("DELETE FROM claims WHERE name = ?", (other.name,))
            connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET subnet = excluded.subnet, expires_at = excluded.expires_at",
                (claim.name, claim.key, claim.subnet, claim.expires_at),
            )
        return True

    def lease_of(self, community: bytes, node: bytes) -> Lease | None:
        """See `LeaseStore`."""
        with self._using() as connection:
            row = connection.execute(_LEASE + "WHERE community = ? AND node = ?", (community, node)).fetchone()
        return None if row is None else Lease(*row)

    def lease_at(self, community: bytes, address: str) -> Lease | None:
        """See `LeaseStore`."""
        with self._using() as connection:
            row = connection.execute(_LEASE + "WHERE community = ? AND address = ?", (community, address)).fetchone()
        return None if row is None else Lease(*row)

    def put_lease(self, lease: Lease, now: float) -> bool:
        """See `LeaseStore`."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM leases WHERE community = ? AND address = ? AND node != ? AND expires_at <= ?",
                (lease.community, lease.address, lease.node, now),
            )
            try:
                connection.execute(
                    "INSERT INTO leases VALUES (?, ?, ?, ?, ?) ON CONFLICT (community, node) DO UPDATE "
                    "SET address = excluded.address, name = excluded.name, expires_at = excluded.expires_at",
                    (lease.community, lease.node, lease.address, lease.name, lease.expires_at),
                )
            except sqlite3.IntegrityError:
                return False
        return True

    def leases(self, community: bytes) -> list[Lease]:
        """See `LeaseStore`."""
        with self._using() as connection:
            return [Lease(*row) for row in connection.execute(_LEASE + "WHERE community = ?", (community,))]

    def lease_count(self, community: bytes) -> int:
        """See `LeaseStore`."""
        with self._using() as connection:
            return int(
                connection.execute("SELECT count(*) FROM leases WHERE community = ?", (community,)).fetchone()[0]
            )

    def claim_count(self) -> int:
        """See `LeaseStore`."""
        with self._using() as connection:
            return int(connection.execute("SELECT count(*) FROM claims").fetchone()[0])

    def extend(self, members: Iterable[tuple[bytes, bytes]], expires_at: float) -> None:
        """See `LeaseStore`."""
        pairs = list(members)
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE leases SET expires_at = max(expires_at, ?) WHERE community = ? AND node = ?",
                ((expires_at, community, node) for community, node in pairs),
            )
            connection.executemany(
                "UPDATE claims SET expires_at = max(expires_at, ?) WHERE key = ?",
                ((expires_at, community) for community in {community for community, _ in pairs}),
            )

    def purge(self, before: float) -> None:
        """See `LeaseStore`."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM leases WHERE expires_at < ?", (before,))
            connection.execute(
                "DELETE FROM claims WHERE expires_at < ? AND key NOT IN (SELECT community FROM leases)", (before,)
            )

    def close(self) -> None:
        """See `LeaseStore`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _open(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        ours = int(connection.execute("PRAGMA application_id").fetchone()[0]) == _APPLICATION_ID
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not ours and not empty:
            raise StoreError(
                f"{self._path} is a database of another program; move it away or choose another directory with "
                "--state DIR."
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} was written by a later version of ntvl (format {version}, this one knows "
                f"{SCHEMA_VERSION}); update ntvl, or choose another directory with --state DIR."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if empty:
            connection.executescript(_SCHEMA)
        elif (verdict := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise StoreError(f"the lease database {self._path} is closed already.")
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise self._error(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Holds the file for writing; what was written before a `return` or the end stays, before an error goes."""
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _error(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorname", "")
        if not code or code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return StoreError(
                f"the lease database {self._path} is damaged ({error}); restore it, or move it away to start with no "
                "leases."
            )
        return StoreError(f"cannot use the lease database {self._path}: {error}; check its directory and the disk.")
