"""What only the store in a file can get right or wrong."""

import resource
import sqlite3
from pathlib import Path

import pytest

from ntvl.registry.base import Claim, Lease, StoreError
from ntvl.registry.sqlite import SCHEMA_VERSION, SqliteStore

HOME, ANN = b"h" * 32, b"a" * 32
LEASE = Lease(HOME, ANN, "10.77.0.5", "ann", 100.0)


def test_claims_and_leases_survive_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    store.put_claim(Claim("home", HOME, "10.77.0.0/16", 100.0), now=0.0)
    store.put_lease(LEASE, now=0.0)
    store.close()
    store.close()
    again = SqliteStore(tmp_path / "leases.db")
    assert again.claim_of_name("home") == Claim("home", HOME, "10.77.0.0/16", 100.0)
    assert again.lease_of(HOME, ANN) == LEASE
    again.close()


def test_what_was_written_survives_a_program_that_is_killed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    store.put_lease(LEASE, now=0.0)
    for name in ("leases.db", "leases.db-wal"):
        (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    store.close()
    again = SqliteStore(tmp_path / "copy-leases.db")
    assert again.lease_of(HOME, ANN) == LEASE
    again.close()


def test_it_writes_ahead(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "leases.db").close()
    plain = sqlite3.connect(tmp_path / "leases.db")
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    plain.close()


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be taken for one" * 40, b"x" * 100])
def test_a_file_that_is_no_database_is_named_in_one_sentence(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "leases.db").write_bytes(damage)
    with pytest.raises(StoreError, match=r"leases\.db is damaged .*move it away"):
        SqliteStore(tmp_path / "leases.db")


def test_a_damaged_page_is_noticed_at_start(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    for number in range(400):
        store.put_lease(Lease(HOME, number.to_bytes(32, "big"), f"10.0.{number >> 8}.{number & 255}", "n", 1.0), 0.0)
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:16384] = b"\xa5" * 8192
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path)


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    SqliteStore(path).close()
    plain = sqlite3.connect(path)
    plain.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    plain.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="later version"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    plain = sqlite3.connect(tmp_path / "leases.db")
    plain.execute("CREATE TABLE recipes (name TEXT)")
    plain.close()
    before = (tmp_path / "leases.db").read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(tmp_path / "leases.db")
    assert (tmp_path / "leases.db").read_bytes() == before


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent/leases\.db"):
        SqliteStore(tmp_path / "absent" / "leases.db")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.lease_of(HOME, ANN)


def test_a_full_disk_costs_the_write_and_not_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    store.put_lease(LEASE, now=0.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreError, match="check its directory and the disk"):
            for number in range(5000):
                store.put_lease(Lease(HOME, number.to_bytes(32), f"10.0.{number >> 8}.{number & 255}", "n", 1.0), 0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.lease_of(HOME, ANN) == LEASE
    assert store.put_lease(Lease(HOME, b"z" * 32, "10.9.9.9", "z", 1.0), 0.0)
    store.close()
