"""Both stores keep the same promises."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntvl.registry.base import Claim, Lease, LeaseStore
from ntvl.registry.memory import MemoryStore
from ntvl.registry.sqlite import SqliteStore

HOME, WORK = b"h" * 32, b"w" * 32
ANN, BOB = b"a" * 32, b"b" * 32


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LeaseStore]:
    made: LeaseStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "leases.db")
    yield made
    made.close()


def claim(name: str = "home", key: bytes = HOME, expires_at: float = 100.0, subnet: str = "") -> Claim:
    return Claim(name, key, subnet, expires_at)


def lease(node: bytes, address: str, expires_at: float = 100.0, community: bytes = HOME) -> Lease:
    return Lease(community, node, address, "name", expires_at)


def test_an_empty_store_knows_nobody(store: LeaseStore) -> None:
    assert store.claim_of_name("home") is None
    assert store.claim_of_key(HOME) is None
    assert store.lease_of(HOME, ANN) is None
    assert store.lease_at(HOME, "10.0.0.1") is None
    assert store.leases(HOME) == []
    assert store.lease_count(HOME) == store.claim_count() == 0


def test_a_name_belongs_to_the_key_that_came_first_until_it_expires(store: LeaseStore) -> None:
    assert store.put_claim(claim(), now=0.0)
    assert not store.put_claim(claim(key=WORK), now=99.0)
    assert store.claim_of_name("home") == claim()
    assert store.put_claim(claim(key=WORK, expires_at=200.0), now=100.0)
    assert store.claim_of_name("home") == claim(key=WORK, expires_at=200.0)
    assert store.claim_of_key(HOME) is None
    assert store.claim_count() == 1


def test_a_key_has_one_name(store: LeaseStore) -> None:
    assert store.put_claim(claim(), now=0.0)
    assert not store.put_claim(claim(name="other"), now=0.0)
    assert store.put_claim(claim(name="other", expires_at=300.0), now=150.0)
    assert store.claim_of_name("home") is None
    assert store.claim_of_key(HOME) == claim(name="other", expires_at=300.0)


def test_a_refused_claim_removes_nothing(store: LeaseStore) -> None:
    store.put_claim(claim(expires_at=10.0), now=0.0)
    store.put_claim(claim(name="work", key=WORK, expires_at=100.0), now=0.0)
    assert not store.put_claim(claim(name="home", key=WORK), now=50.0)
    assert store.claim_of_name("home") is not None
    assert store.claim_count() == 2


def test_a_claim_is_changed_in_place(store: LeaseStore) -> None:
    store.put_claim(claim(), now=0.0)
    store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    assert store.put_claim(claim(subnet="10.0.0.0/24", expires_at=500.0), now=0.0)
    assert store.claim_of_key(HOME) == claim(subnet="10.0.0.0/24", expires_at=500.0)
    assert store.lease_count(HOME) == 1


def test_the_leases_of_an_expired_claim_go_with_it(store: LeaseStore) -> None:
    store.put_claim(claim(), now=0.0)
    store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    store.put_claim(claim(key=WORK), now=100.0)
    assert store.lease_of(HOME, ANN) is None
    assert store.lease_at(HOME, "10.0.0.1") is None


def test_two_nodes_never_hold_one_address(store: LeaseStore) -> None:
    assert store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    assert not store.put_lease(lease(BOB, "10.0.0.1"), now=99.9)
    assert store.lease_at(HOME, "10.0.0.1") == lease(ANN, "10.0.0.1")
    assert store.lease_of(HOME, BOB) is None


def test_the_same_address_in_two_communities_is_two_addresses(store: LeaseStore) -> None:
    assert store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    assert store.put_lease(lease(BOB, "10.0.0.1", community=WORK), now=0.0)


def test_an_expired_lease_makes_room_and_stays_till_somebody_wants_it(store: LeaseStore) -> None:
    store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    assert store.lease_of(HOME, ANN) == lease(ANN, "10.0.0.1")
    assert store.put_lease(lease(BOB, "10.0.0.1", expires_at=300.0), now=100.0)
    assert store.lease_of(HOME, ANN) is None
    assert store.lease_at(HOME, "10.0.0.1") == lease(BOB, "10.0.0.1", expires_at=300.0)


def test_a_node_holds_one_address(store: LeaseStore) -> None:
    store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    assert store.put_lease(lease(ANN, "10.0.0.2"), now=0.0)
    assert store.lease_at(HOME, "10.0.0.1") is None
    assert store.leases(HOME) == [lease(ANN, "10.0.0.2")]


def test_a_refused_lease_leaves_the_node_what_it_had(store: LeaseStore) -> None:
    store.put_lease(lease(ANN, "10.0.0.1"), now=0.0)
    store.put_lease(lease(BOB, "10.0.0.2"), now=0.0)
    assert not store.put_lease(lease(BOB, "10.0.0.1"), now=0.0)
    assert store.lease_of(HOME, BOB) == lease(BOB, "10.0.0.2")


def test_extending_never_shortens(store: LeaseStore) -> None:
    store.put_claim(claim(expires_at=100.0), now=0.0)
    store.put_lease(lease(ANN, "10.0.0.1", expires_at=100.0), now=0.0)
    store.put_lease(lease(BOB, "10.0.0.2", expires_at=900.0), now=0.0)
    store.extend([(HOME, ANN), (HOME, BOB), (WORK, ANN)], 500.0)
    assert [store.lease_of(HOME, node).expires_at for node in (ANN, BOB)] == [500.0, 900.0]  # type: ignore[union-attr]
    assert store.lease_at(HOME, "10.0.0.1").expires_at == 500.0  # type: ignore[union-attr]
    assert store.claim_of_name("home") == store.claim_of_key(HOME) == claim(expires_at=500.0)
    store.extend([(HOME, ANN)], 200.0)
    assert store.lease_of(HOME, ANN).expires_at == 500.0  # type: ignore[union-attr]


def test_purging_keeps_claims_that_have_leases(store: LeaseStore) -> None:
    store.put_claim(claim(expires_at=10.0), now=0.0)
    store.put_claim(claim(name="work", key=WORK, expires_at=10.0), now=0.0)
    store.put_lease(lease(ANN, "10.0.0.1", expires_at=10.0), now=0.0)
    store.put_lease(lease(BOB, "10.0.0.2", expires_at=500.0), now=0.0)
    store.purge(before=50.0)
    assert store.leases(HOME) == [lease(BOB, "10.0.0.2", expires_at=500.0)]
    assert store.claim_of_name("home") is not None
    assert store.claim_of_name("work") is None
    store.purge(before=600.0)
    assert store.claim_count() == store.lease_count(HOME) == 0
    assert store.put_lease(lease(ANN, "10.0.0.2"), now=0.0)


Step = tuple[str, int, int, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "lease", "extend", "purge"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.floats(0, 100, allow_nan=False),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_both_stores_answer_alike_whatever_happens(steps: list[Step]) -> None:
    left, right = MemoryStore(), SqliteStore(Path(":memory:"))
    for now, (verb, one, other, expires_at) in enumerate(steps):
        results = [_play(store, verb, one, other, expires_at, float(now)) for store in (left, right)]
        assert results[0] == results[1]
        _check(left)
    for store in (left, right):
        store.close()


def _play(store: LeaseStore, verb: str, one: int, other: int, expires_at: float, now: float) -> object:
    key, node = bytes((one,)) * 32, bytes((other,)) * 32
    verbs: dict[str, Callable[[], object]] = {
        "claim": lambda: store.put_claim(Claim(f"name{other}", key, "", expires_at), now),
        "lease": lambda: store.put_lease(Lease(HOME, node, f"10.0.0.{one}", "", expires_at), now),
        "extend": lambda: store.extend([(key, node), (HOME, node)], expires_at),
        "purge": lambda: store.purge(expires_at),
    }
    result = verbs[verb]()
    keys = [bytes((n,)) * 32 for n in range(4)]
    return (
        result,
        [(store.claim_of_key(k), store.claim_of_name(f"name{n}"), store.lease_of(HOME, k)) for n, k in enumerate(keys)],
        [store.lease_at(HOME, f"10.0.0.{n}") for n in range(4)],
        sorted(store.leases(HOME), key=lambda found: found.node),
        store.lease_count(HOME),
        store.claim_count(),
    )


def _check(store: LeaseStore) -> None:
    addresses = [found.address for found in store.leases(HOME)]
    assert len(addresses) == len(set(addresses))
