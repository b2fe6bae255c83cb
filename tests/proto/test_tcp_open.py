"""The technique for networks without UDP, and what it connects to."""

from hypothesis import given
from hypothesis import strategies as st

from ntvl.proto.tcp_open import PORTS_AHEAD, REMOTES_MAX, TcpOpen, plan_remotes
from ntvl.proto.technique import Facts
from ntvl.wire.address import Address
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Nat

HOST = Candidate("host", "192.168.1.2", 41000, 9)
SEEN = Candidate("srflx", "198.51.100.2", 61000, 5)
COUNTING = Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", -2)
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")


def test_it_is_for_networks_that_drop_udp() -> None:
    technique = TcpOpen()
    assert technique.obstacle(Facts((HOST,), (SEEN,), 1)) == "UDP is not known to be dropped"
    assert technique.obstacle(Facts((HOST,), (), 1, udp=False)) == "the peer offered no address"
    assert technique.obstacle(Facts((HOST,), (SEEN,), 1, udp=False)) == ""


def test_it_is_tried_too_once_udp_has_failed_where_nats_let_it_through() -> None:
    easy = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
    for nats, number, is_tried in [
        ((easy, easy), 1, False),
        ((easy, easy), 2, True),
        ((easy, UNKNOWN_NAT), 2, False),
        ((easy, RANDOM), 2, False),
        ((COUNTING, easy), 3, False),
    ]:
        assert (TcpOpen().obstacle(Facts((HOST,), (SEEN,), number, *nats)) == "") is is_tried


def test_what_others_see_of_the_peer_comes_first() -> None:
    assert plan_remotes([HOST, SEEN, SEEN], UNKNOWN_NAT, guesses=True) == [
        Address("198.51.100.2", 61000),
        Address("192.168.1.2", 41000),
    ]


def test_the_next_ports_of_a_counting_nat_come_before_all_else() -> None:
    remotes = plan_remotes([HOST, SEEN], COUNTING, guesses=True)
    assert [r.port for r in remotes[:PORTS_AHEAD]] == list(range(60998, 60998 - 2 * PORTS_AHEAD, -2))
    assert {r.host for r in remotes[:PORTS_AHEAD]} == {"198.51.100.2"}
    assert [r.port for r in remotes[PORTS_AHEAD:]] == [61000, 41000]
    assert len(plan_remotes([HOST, SEEN], COUNTING, guesses=False)) == 2
    assert len(plan_remotes([HOST, SEEN], RANDOM, guesses=True)) == 2
    assert len(plan_remotes([HOST], COUNTING, guesses=True)) == 1


def test_well_known_ports_are_left_alone() -> None:
    assert plan_remotes([Candidate("srflx", "198.51.100.2", 25)], UNKNOWN_NAT, guesses=True) == []
    low = plan_remotes([Candidate("srflx", "198.51.100.2", 1026)], COUNTING, guesses=True)
    assert [r.port for r in low] == [1024, 1026]


@given(
    st.lists(
        st.builds(
            Candidate,
            st.sampled_from(["host", "srflx", "other"]),
            st.sampled_from(["192.0.2.1", "2001:db8::1"]),
            st.integers(1, 65535),
            st.integers(0, 2**32 - 1),
        ),
        max_size=24,
    ),
    st.integers(-65535, 65535),
)
def test_whatever_a_peer_says_the_plan_is_bounded(candidates: list[Candidate], step: int) -> None:
    nat = COUNTING.__class__(COUNTING.mapping, COUNTING.filtering, COUNTING.allocation, step)
    remotes = plan_remotes(candidates, nat, guesses=True)
    assert len(remotes) == len(set(remotes)) <= REMOTES_MAX
    assert all(1024 <= remote.port <= 65535 for remote in remotes)
    assert {remote.host for remote in remotes} <= {c.host for c in candidates}
