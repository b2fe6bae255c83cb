import pytest

from ntvl.proto.birthday import GUESSES_MAX, MAPPINGS, Birthday
from ntvl.proto.technique import Facts
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Nat

EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")
BLOCK = Nat("address-dependent", "address-and-port-dependent", "block-random", 0, 40_000, 41_023)
OURS = (Candidate("host", "192.168.1.2", 4000, 9), Candidate("srflx", "198.51.100.2", 61000, 5))
THEIRS = (
    Candidate("host", "10.0.0.3", 4000, 9),
    Candidate("srflx", "2001:db8::3", 4000, 8),
    Candidate("srflx", "203.0.113.3", 62000, 5),
)
TECHNIQUE = Birthday()


def facts(local_nat: Nat, remote_nat: Nat, seed: int = 1, number: int = 1) -> Facts:
    return Facts(OURS, THEIRS, number, local_nat, remote_nat, seed)


def test_the_side_with_random_ports_opens_mappings_towards_the_one_address_of_the_other() -> None:
    schedule = TECHNIQUE.schedule(facts(RANDOM, EASY))
    assert {shot.aim for shot in schedule} == {THEIRS[2]}
    assert [shot.socket for shot in schedule] == list(range(1, MAPPINGS + 1))
    assert TECHNIQUE.sockets(facts(RANDOM, EASY)) == MAPPINGS <= 128


def test_the_other_side_sends_one_packet_a_port_from_the_main_one() -> None:
    schedule = TECHNIQUE.schedule(facts(EASY, RANDOM))
    assert TECHNIQUE.sockets(facts(EASY, RANDOM)) == 0
    assert len({shot.aim.port for shot in schedule}) == len(schedule) == GUESSES_MAX <= 2000
    assert {(shot.aim.host, shot.socket, shot.is_guess) for shot in schedule} == {("203.0.113.3", 0, True)}
    assert min(shot.aim.port for shot in schedule) >= 1024


def test_a_known_block_is_all_that_is_guessed_in() -> None:
    ports = sorted(shot.aim.port for shot in TECHNIQUE.schedule(facts(EASY, BLOCK)))
    assert ports == list(range(40_000, 41_024))


def test_a_range_in_the_wrong_order_is_taken_as_it_is_meant() -> None:
    backwards = Nat("address-dependent", "", "block-random", 0, 41_023, 40_000)
    assert len(TECHNIQUE.schedule(facts(EASY, backwards))) == 1024


def test_no_second_has_more_than_200_packets() -> None:
    for nats in ((EASY, RANDOM), (RANDOM, EASY), (EASY, BLOCK)):
        times = [shot.delay_s for shot in TECHNIQUE.schedule(facts(*nats))]
        assert all(later - sooner >= 0.995 for sooner, later in zip(times, times[200:], strict=False))


def test_each_attempt_guesses_other_ports() -> None:
    first, second = ([shot.aim.port for shot in TECHNIQUE.schedule(facts(EASY, RANDOM, seed))] for seed in (1, 2))
    assert first != second


def test_a_heavy_punch_costs_a_quarter_of_easytiers_at_most() -> None:
    both = TECHNIQUE.schedule(facts(EASY, RANDOM)) + TECHNIQUE.schedule(facts(RANDOM, EASY))
    assert len(both) <= 9000 / 4


@pytest.mark.parametrize(
    ("nats", "obstacle"),
    [
        ((UNKNOWN_NAT, RANDOM), "one side does not know its NAT yet"),
        ((RANDOM, UNKNOWN_NAT), "one side does not know its NAT yet"),
        ((RANDOM, BLOCK), "both NATs choose a new port for each peer"),
        ((EASY, EASY), "no NAT chooses a new port for each peer"),
    ],
)
def test_what_is_in_the_way_is_said_in_words(nats: tuple[Nat, Nat], obstacle: str) -> None:
    assert TECHNIQUE.obstacle(facts(*nats)) == obstacle
    assert TECHNIQUE.schedule(facts(*nats)) == []


def test_a_peer_without_a_public_address_cannot_be_guessed_at() -> None:
    inside = Facts(OURS, THEIRS[:2], 1, EASY, RANDOM)
    assert TECHNIQUE.obstacle(inside) == "the peer has no public IPv4 address"


def test_an_open_host_needs_no_server_to_tell_its_address() -> None:
    public = Candidate("host", "203.0.113.3", 4000, 9)
    assert {s.aim for s in TECHNIQUE.schedule(Facts(OURS, (public,), 1, RANDOM, EASY))} == {public}


def test_nobody_has_us_punch_into_a_private_network_unless_our_own_internet_is_one() -> None:
    inside = Candidate("srflx", "10.0.0.3", 62000, 5)
    assert TECHNIQUE.obstacle(Facts(OURS, (inside,), 1, EASY, RANDOM)) == "the peer has no public IPv4 address"
    assert TECHNIQUE.obstacle(Facts(OURS[:1], (inside,), 1, EASY, RANDOM)) == "the peer has no public IPv4 address"
    ours = (Candidate("srflx", "10.0.0.2", 61000, 5),)
    assert {s.aim.host for s in TECHNIQUE.schedule(Facts(ours, (inside,), 1, EASY, RANDOM))} == {"10.0.0.3"}


def test_no_guess_goes_to_a_port_of_the_system_whatever_the_peer_says() -> None:
    low = Nat(RANDOM.mapping, RANDOM.filtering, RANDOM.allocation, 0, 1, 1100)
    ports = {shot.aim.port for shot in TECHNIQUE.schedule(facts(EASY, low))}
    assert ports == set(range(1024, 1101))
    none = Nat(RANDOM.mapping, RANDOM.filtering, RANDOM.allocation, 0, 1, 900)
    assert {shot.aim.port for shot in TECHNIQUE.schedule(facts(EASY, none))} == {1024}


def test_the_second_of_three_attempts_opens_half_of_the_mappings_without_reaching_the_other_side() -> None:
    def openers(local: Nat, remote: Nat, number: int) -> int:
        shots = TECHNIQUE.schedule(facts(local, remote, number=number))
        assert {shot.ttl for shot in shots} <= {0, 3}
        return sum(shot.ttl > 0 for shot in shots)

    assert [openers(RANDOM, EASY, number) for number in range(1, 6)] == [0, MAPPINGS // 2, 0, 0, MAPPINGS // 2]
    assert sum(openers(EASY, RANDOM, number) for number in range(1, 6)) == 0


def test_both_ends_leave_it_where_one_is_seen_at_a_private_address_by_its_own_supernode() -> None:
    inside = (Candidate("srflx", "10.5.0.101", 61000, 5),)
    assert TECHNIQUE.obstacle(Facts(inside, THEIRS, 1, EASY, RANDOM)) == "this end has no public IPv4 address"
    assert TECHNIQUE.obstacle(Facts(THEIRS, inside, 1, RANDOM, EASY)) == "the peer has no public IPv4 address"
    assert TECHNIQUE.obstacle(Facts(inside, inside, 1, EASY, RANDOM)) == "", "one Internet of their own"
