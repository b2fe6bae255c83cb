"""Who gets which address, in which words others are refused."""

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.proto import leases as module
from ntvl.proto.leases import LEASE_S, Leases, parse_subnet
from ntvl.registry.base import Claim, LeaseStore
from ntvl.registry.memory import MemoryStore
from ntvl.registry.sqlite import SqliteStore

HOME, WORK = b"h" * 32, b"w" * 32
DAY = 86400.0
START = 1.8e9


def node(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Bench:
    """Grants addresses of one community, at a time that a test sets."""

    def __init__(self, store: LeaseStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.leases = Leases(self.store)
        self.wall = START
        self.live: Collection[bytes] = ()
        self.may_found = True

    def admit(self, name: str = "home", key: bytes = HOME, live: Collection[bytes] = ()) -> Claim:
        return self.leases.admit(name, key, wall=self.wall, is_live=live.__contains__, may_found=lambda: self.may_found)

    def grant(
        self,
        number: int,
        address: str = "",
        *,
        lease: str = "auto",
        subnet: str = "",
        key: bytes = HOME,
        name: str = "",
    ) -> str:
        return self.leases.grant(
            self.admit("home" if key == HOME else "work", key),
            node(number),
            name or f"node{number}",
            lease=lease,
            address=address,
            subnet=subnet,
            wall=self.wall,
            live=self.live.__contains__,
        )

    def refusal(self, number: int, address: str = "", *, lease: str = "static", subnet: str = "") -> PeerError:
        with pytest.raises(PeerError) as caught:
            self.grant(number, address, lease=lease, subnet=subnet)
        assert caught.value.reason in REASONS
        return caught.value


def test_the_same_node_gets_the_same_address_again() -> None:
    bench = Bench()
    first = bench.grant(1)
    assert first.startswith("10.77.")
    assert first.endswith("/16")
    bench.grant(2)
    assert bench.grant(1) == first


def test_an_address_is_kept_for_thirty_days_after_the_last_contact() -> None:
    bench = Bench()
    address = bench.grant(1, subnet="10.0.0.0/30")
    bench.grant(2, subnet="10.0.0.0/30")
    bench.wall += 20 * DAY
    bench.leases.extend([(HOME, node(1)), (HOME, node(2))], bench.wall)
    bench.wall += LEASE_S - 1
    assert bench.refusal(3, lease="auto").reason == "subnet-full"
    bench.wall += 1
    assert bench.grant(1) == address
    assert bench.grant(3) != address


def test_a_late_node_finds_its_address_where_nobody_took_it() -> None:
    bench = Bench()
    address = bench.grant(1, "10.77.3.3")
    bench.wall += LEASE_S + 1
    assert bench.grant(1) == address == "10.77.3.3/16"


def test_addresses_of_live_nodes_never_expire_even_when_the_clock_jumps() -> None:
    bench = Bench()
    address = bench.grant(1, subnet="10.0.0.0/30")
    other = bench.grant(2, subnet="10.0.0.0/30")
    bench.wall += 400 * DAY
    bench.live = {node(1), node(2)}
    assert bench.refusal(3, lease="auto").reason == "subnet-full"
    assert bench.refusal(3, address).reason == "address-taken"
    bench.live = {node(1)}
    assert bench.grant(3) == other


def test_a_clock_that_was_ahead_takes_nothing_when_it_is_set_right() -> None:
    bench = Bench()
    bench.wall += 400 * DAY
    address = bench.grant(1, subnet="10.0.0.0/30")
    bench.wall -= 400 * DAY
    bench.leases.extend([(HOME, node(1))], bench.wall)
    assert bench.refusal(2, address).reason == "address-taken"


def test_a_wish_is_honoured_when_it_is_free_or_ones_own() -> None:
    bench = Bench()
    assert bench.grant(1, "10.77.9.9/16") == "10.77.9.9/16"
    assert bench.grant(1, "10.77.9.9") == "10.77.9.9/16"
    assert bench.grant(1, "10.77.9.10") == "10.77.9.10/16"
    assert bench.grant(2, "10.77.9.10") != "10.77.9.10/16"
    assert bench.grant(3, "10.77.9.9") == "10.77.9.9/16"


@pytest.mark.parametrize("wish", ["10.77.0.0", "10.77.255.255", "10.78.0.1", "192.168.0.1/24", "nonsense", "fd00::1"])
def test_a_wish_that_cannot_be_is_passed_over(wish: str) -> None:
    assert Bench().grant(1, wish, subnet="10.77.0.0/16").startswith("10.77.")


def test_two_supernodes_tend_to_hand_out_the_same_addresses() -> None:
    left, right = Bench(), Bench()
    assert [left.grant(n) for n in range(20)] == [right.grant(n) for n in reversed(range(20))][::-1]


def test_the_start_in_the_subnet_differs_by_community() -> None:
    bench = Bench()
    assert bench.grant(1) != bench.grant(1, key=WORK)


@pytest.mark.parametrize(("subnet", "hosts"), [("10.0.0.0/30", 2), ("10.0.0.0/29", 6), ("192.168.7.0/25", 126)])
def test_a_small_subnet_is_used_up_to_the_last_host_address(subnet: str, hosts: int) -> None:
    bench = Bench()
    granted = [bench.grant(n, subnet=subnet) for n in range(hosts)]
    network = parse_subnet(subnet)
    assert {g.split("/")[0] for g in granted} == {str(host) for host in network.hosts()}
    error = bench.refusal(hosts, lease="auto", subnet=subnet)
    assert error.reason == "subnet-full"
    assert subnet in error.detail


def test_an_enormous_subnet_costs_no_more_than_a_small_one() -> None:
    bench = Bench()
    granted = {bench.grant(n, subnet="10.0.0.0/8") for n in range(300)}
    assert len(granted) == 300
    assert all(g.endswith("/8") and g not in ("10.0.0.0/8", "10.255.255.255/8") for g in granted)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(25, 30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 130), st.booleans(), st.booleans()), max_size=60),
)
def test_two_nodes_never_share_an_address(prefix: int, asks: list[tuple[int, int, bool, bool]]) -> None:
    bench = Bench()
    held: dict[int, str] = {}
    for number, host, static, later in asks:
        bench.wall += LEASE_S / 2 if later else 0.0
        bench.live = {node(n) for n in held}
        try:
            address = bench.grant(
                number, f"10.0.0.{host}", lease="static" if static else "auto", subnet=f"10.0.0.0/{prefix}"
            )
        except PeerError as error:
            assert error.reason in ("address-taken", "address-outside", "subnet-full")
        else:
            held[number] = address
        assert len(set(held.values())) == len(held)


def test_a_static_address_of_somebody_else_is_refused_with_his_name() -> None:
    bench = Bench()
    bench.grant(1, "10.77.0.5", name="printer")
    error = bench.refusal(2, "10.77.0.5/16")
    assert error.reason == "address-taken"
    assert "10.77.0.5 is leased to 'printer' (AAAAAAAA), for 30 days more" in error.detail
    bench.live = {node(1)}
    assert "'printer' (AAAAAAAA), who is there now" in bench.refusal(2, "10.77.0.5/16").detail


@pytest.mark.parametrize("address", ["10.78.0.1", "10.77.0.0/16", "10.77.255.255/16", "10.77.0.5/24"])
def test_a_static_address_outside_is_refused(address: str) -> None:
    error = Bench().refusal(1, address, subnet="10.77.0.0/16")
    assert error.reason == "address-outside"
    assert "10.77.0.0/16" in error.detail


@pytest.mark.parametrize("address", ["", "nonsense", "fd00::1/64"])
def test_a_static_lease_names_an_address(address: str) -> None:
    assert Bench().refusal(1, address).reason == "format"


def test_a_static_address_brings_its_subnet_where_none_is_known() -> None:
    bench = Bench()
    assert bench.grant(1, "192.168.50.7/24", lease="static") == "192.168.50.7/24"
    assert bench.grant(2).startswith("192.168.50.")


def test_no_lease_is_no_address_and_sets_no_subnet() -> None:
    bench = Bench()
    assert bench.grant(1, "10.1.1.1", lease="none", subnet="10.1.0.0/16") == ""
    assert bench.admit().subnet == ""
    assert bench.store.lease_count(HOME) == 0


def test_another_kind_of_lease_is_refused() -> None:
    assert Bench().refusal(1, lease="forever").reason == "format"


def test_another_subnet_is_refused_while_others_hold_addresses() -> None:
    bench = Bench()
    bench.grant(1, subnet="10.88.0.0/16")
    bench.grant(2)
    error = bench.refusal(2, lease="auto", subnet="10.77.0.0/16")
    assert error.reason == "subnet-differs"
    assert "10.88.0.0/16" in error.detail


def test_who_is_alone_may_change_the_subnet() -> None:
    bench = Bench()
    bench.grant(1, subnet="10.88.0.0/16")
    assert bench.grant(1, subnet="10.99.0.0/24").startswith("10.99.0.")
    assert bench.admit().subnet == "10.99.0.0/24"
    assert bench.grant(2).startswith("10.99.0.")


def test_expired_leases_do_not_hold_a_subnet() -> None:
    bench = Bench()
    bench.grant(1, subnet="10.88.0.0/16")
    bench.wall += LEASE_S + 1
    assert bench.grant(2, subnet="10.99.0.0/24").startswith("10.99.0.")


@pytest.mark.parametrize(
    "subnet",
    [
        "10.0.0.0/7",
        "10.0.0.0/31",
        "10.0.0.0/32",
        "0.0.0.0/0",
        "127.0.0.0/8",
        "224.0.0.0/8",
        "240.0.0.0/8",
        "0.0.0.0/8",
        "fd00::/64",
        "x",
        "10.0.0.0/33",
    ],
)
def test_a_subnet_that_is_not_for_hosts_is_refused(subnet: str) -> None:
    assert Bench().refusal(1, lease="auto", subnet=subnet).reason == "address-outside"


def test_a_subnet_may_be_written_with_host_bits() -> None:
    assert str(parse_subnet("10.77.3.4/16")) == "10.77.0.0/16"


def test_a_name_belongs_to_the_key_that_came_first() -> None:
    bench = Bench()
    bench.admit("home", HOME)
    with pytest.raises(PeerError, match="community 'home' under another key: the secret differs") as caught:
        bench.admit("home", WORK)
    assert caught.value.reason == "community-key"
    bench.wall += LEASE_S - 1
    with pytest.raises(PeerError):
        bench.admit("home", WORK)
    bench.wall += 1
    assert bench.admit("home", WORK).key == WORK
    with pytest.raises(PeerError):
        bench.admit("home", HOME)


def test_a_name_with_live_members_is_not_free_whatever_the_clock_says() -> None:
    bench = Bench()
    bench.admit("home", HOME)
    bench.wall += 400 * DAY
    with pytest.raises(PeerError, match="community-key"):
        bench.admit("home", WORK, live={HOME})


def test_only_a_new_claim_needs_leave_to_be_made() -> None:
    bench = Bench()
    bench.admit("home", HOME)
    bench.may_found = False
    bench.wall += 2 * 3600
    bench.admit("home", HOME)
    with pytest.raises(PeerError, match="community-key"):
        bench.admit("home", WORK)
    with pytest.raises(PeerError, match="rate"):
        bench.admit("work", WORK)
    bench.wall += LEASE_S + 1
    with pytest.raises(PeerError, match="rate"):
        bench.admit("home", WORK)


def test_a_key_has_one_name() -> None:
    bench = Bench()
    bench.admit("home", HOME)
    with pytest.raises(PeerError, match="as 'home'") as caught:
        bench.admit("other", HOME)
    assert caught.value.reason == "community-key"


def test_names_and_leases_are_known_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    address = Bench(store).grant(1, subnet="10.0.0.0/24")
    store.close()
    store = SqliteStore(tmp_path / "leases.db")
    bench = Bench(store)
    assert bench.refusal(2, address).reason == "address-taken"
    assert bench.grant(1) == address
    assert bench.leases.knows("home", HOME)
    assert not bench.leases.knows("home", WORK)
    store.close()


def test_communities_are_bounded_and_expired_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLAIMS_MAX", 3)
    bench = Bench()
    for number in range(3):
        bench.admit(f"c{number}", node(number))
    with pytest.raises(PeerError, match="queue-full"):
        bench.admit("home", HOME)
    bench.wall += LEASE_S + 1
    assert bench.admit("home", HOME).key == HOME


def test_leases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASES_MAX", 3)
    bench = Bench()
    addresses = [bench.grant(number) for number in range(3)]
    assert bench.refusal(9, lease="auto").reason == "queue-full"
    assert [bench.grant(number) for number in range(3)] == addresses


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def put_lease(self, lease: object, now: float) -> bool:
        self.writes += 1
        return super().put_lease(lease, now)  # type: ignore[arg-type]

    def extend(self, members: Iterable[tuple[bytes, bytes]], expires_at: float) -> None:
        self.writes += 1
        super().extend(members, expires_at)


def test_a_registration_that_changes_nothing_writes_nothing() -> None:
    store = CountingStore()
    bench = Bench(store)
    bench.grant(1)
    bench.wall += 600.0
    bench.grant(1)
    assert store.writes == 1
    bench.wall += 3600.0
    bench.grant(1)
    assert store.writes == 2
