import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.proto.prediction import DRIFT_MAX, Prediction
from ntvl.proto.technique import Evidence, Facts, Schedule
from ntvl.wire.address import Address
from ntvl.wire.control import AIM_PORTS_MAX, UNKNOWN_NAT, Aim, Candidate, Nat

EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")
OURS = (Candidate("srflx", "198.51.100.2", 61000, 5),)
THEIRS = (Candidate("host", "10.0.0.3", 4000, 9), Candidate("srflx", "203.0.113.3", 62000, 5))
SERVER = Address("192.0.2.1", 1971)
TECHNIQUE = Prediction()
BEFORE, SHOOTER, AFTER = 1, 2, 3
STEPS = [(1, 1), (1, 2), (2, 1), (2, 2), (-1, 1), (2, -3)]


def counting(step: int = 1) -> Nat:
    return Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", step)


def facts(
    local: Nat,
    remote: Nat,
    *,
    ours: bool = True,
    server: Address | None = SERVER,
    guesses: bool = True,
    number: int = 1,
) -> Facts:
    return Facts(OURS, THEIRS, number, local, remote, seed=9, ours=ours, server=server, guesses=guesses)


def first(schedule: Schedule) -> list[int]:
    """Returns the ports of the first round, which is sent at once, in order."""
    return [shot.aim.port for shot in schedule if shot.delay_s == 0.0]


# --- against one port for all peers ---


def test_the_check_to_the_peer_leaves_between_two_questions_from_sockets_of_their_own() -> None:
    schedule = TECHNIQUE.schedule(facts(counting(), EASY))
    assert TECHNIQUE.sockets(facts(counting(), EASY)) == 3
    opening = [(shot.socket, shot.is_question, shot.aim.host) for shot in schedule if shot.delay_s == 0.0]
    assert opening == [(BEFORE, True, SERVER.host), (SHOOTER, False, "203.0.113.3"), (AFTER, True, SERVER.host)]
    assert {shot.aim.port for shot in schedule if shot.socket == SHOOTER} == {62000}


def test_the_peer_is_told_of_the_ports_between_the_two_answers_and_the_checks_is_among_them() -> None:
    for step, others_before, others_after in itertools.product((1, 2, -1, -5), range(3), range(3)):
        before = 40_000
        shooter = before + step * (1 + others_before)
        after = shooter + step * (1 + others_after)
        aim = TECHNIQUE.announce(facts(counting(step), EASY), Evidence({BEFORE: before, AFTER: after}))
        assert aim is not None
        shots = TECHNIQUE.react(facts(EASY, counting(step)), Evidence(aim=aim))
        ports = {shot.aim.port for shot in shots}
        assert shooter in ports
        assert len(ports) == aim.count == others_before + others_after + 2
        assert {(shot.aim.host, shot.socket, shot.is_guess) for shot in shots} == {("203.0.113.3", 0, True)}


def test_nothing_is_told_before_both_answers_are_there() -> None:
    for seen in ({}, {BEFORE: 40_000}, {AFTER: 40_002}, {SHOOTER: 40_001}):
        assert TECHNIQUE.announce(facts(counting(), EASY), Evidence(dict(seen))) is None


def test_answers_that_make_no_window_are_told_as_one_of_the_usual_size() -> None:
    for after in (39_000, 40_000, 50_000, 40_000 + AIM_PORTS_MAX + 1):
        aim = TECHNIQUE.announce(facts(counting(), EASY), Evidence({BEFORE: 40_000, AFTER: after}))
        assert aim == Aim(9, 40_000, 1, DRIFT_MAX)


def test_the_side_with_one_port_needs_neither_sockets_nor_a_server() -> None:
    here = facts(EASY, counting(), server=None)
    assert (TECHNIQUE.obstacle(here), TECHNIQUE.sockets(here), TECHNIQUE.schedule(here)) == ("", 0, [])
    assert TECHNIQUE.announce(here, Evidence({BEFORE: 1, AFTER: 3})) is None


# --- both count ---


def meets(steps: tuple[int, int], drifts: tuple[int, int], starts: tuple[int, int]) -> bool:
    """Returns whether a check of each leaves from where the other's aims, with counters that others use as well."""
    sides = [(counting(steps[0]), counting(steps[1]), True), (counting(steps[1]), counting(steps[0]), False)]
    aims = [
        TECHNIQUE.announce(facts(local, remote, ours=ours), Evidence({BEFORE: start}))
        for (local, remote, ours), start in zip(sides, starts, strict=True)
    ]
    flows = []
    for place, (local, remote, ours) in enumerate(sides):
        evidence = Evidence({BEFORE: starts[place]}, aim=aims[1 - place])
        ports = first(TECHNIQUE.react(facts(local, remote, ours=ours), evidence))
        own = [starts[place] + steps[place] * (1 + drifts[place] + n) for n in range(len(ports))]
        flows.append(list(zip(own, ports, strict=True)))
    return any((aimed, own) in flows[1] for own, aimed in flows[0])


@pytest.mark.parametrize("steps", STEPS)
def test_two_counters_meet_for_every_sum_of_drifts_below_sixteen(steps: tuple[int, int]) -> None:
    assert DRIFT_MAX == 16
    for drifts in itertools.product(range(DRIFT_MAX), repeat=2):
        assert meets(steps, drifts, (30_000, 50_000)) is (sum(drifts) < DRIFT_MAX), drifts


@given(
    st.sampled_from(STEPS),
    st.integers(0, DRIFT_MAX - 1).flatmap(lambda total: st.integers(0, total).map(lambda d: (d, total - d))),
    st.tuples(st.integers(2000, 60_000), st.integers(2000, 60_000)),
)
def test_two_counters_meet_wherever_they_stand(
    steps: tuple[int, int], drifts: tuple[int, int], starts: tuple[int, int]
) -> None:
    assert meets(steps, drifts, starts)


def test_each_side_waits_for_its_own_answer_and_the_others_word() -> None:
    told = Aim(9, 50_000, 1, 32)
    here = facts(counting(), counting())
    assert TECHNIQUE.react(here, Evidence({BEFORE: 30_000})) == []
    assert TECHNIQUE.react(here, Evidence(aim=told)) == []
    assert TECHNIQUE.react(here, Evidence({BEFORE: 30_000}, aim=told))


# --- hostile and unlucky ---


@given(
    st.sampled_from([EASY, counting(), counting(-7), counting(0)]),
    st.sampled_from([EASY, RANDOM, UNKNOWN_NAT, counting(), counting(65535)]),
    st.builds(Aim, st.just(9), st.integers(1, 65535), st.integers(-65535, 65535), st.integers(1, AIM_PORTS_MAX)),
    st.dictionaries(st.integers(1, 3), st.integers(1, 65535)),
    st.booleans(),
)
def test_whatever_a_peer_says_the_checks_are_few_and_go_to_its_public_address(
    local: Nat, remote: Nat, told: Aim, seen: dict[int, int], ours: bool
) -> None:
    here = facts(local, remote, ours=ours)
    shots = TECHNIQUE.react(here, Evidence(seen, told))
    assert len(shots) <= 3 * AIM_PORTS_MAX
    assert all(1 <= shot.aim.port <= 65535 for shot in shots)
    assert {shot.aim.host for shot in shots} <= {"203.0.113.3"}
    assert all(shot.is_guess and 0 <= shot.delay_s < TECHNIQUE.duration_s(here) for shot in shots)
    if remote.allocation != "sequential":
        assert shots == []
    aim = TECHNIQUE.announce(here, Evidence(seen, told))
    assert aim is None or 1 <= aim.count <= AIM_PORTS_MAX


@pytest.mark.parametrize(("port", "step"), [(65_530, 1), (65_000, 100), (1029, -1)])
def test_what_would_be_beyond_the_ends_of_the_ports_is_left_out(port: int, step: int) -> None:
    shots = TECHNIQUE.react(facts(EASY, counting(step)), Evidence(aim=Aim(9, port, step, 16)))
    assert shots
    assert len(first(shots)) < 16
    assert {shot.aim.port for shot in shots} <= set(range(1024, 65_536))


@pytest.mark.parametrize(
    ("here", "obstacle"),
    [
        (facts(counting(), EASY, guesses=False), "one side lets no ports be guessed"),
        (facts(UNKNOWN_NAT, counting()), "one side does not know its NAT yet"),
        (facts(EASY, EASY), "no NAT chooses a new port for each peer"),
        (facts(counting(), RANDOM), "a NAT draws its ports at random"),
        (facts(EASY, RANDOM), "a NAT draws its ports at random"),
        (facts(counting(), EASY, server=None), "no supernode tells where our ports stand"),
        (Facts(OURS, THEIRS[:1], 1, counting(), counting(), server=SERVER), "the peer has no public IPv4 address"),
    ],
)
def test_what_is_in_the_way_is_said_in_words(here: Facts, obstacle: str) -> None:
    assert TECHNIQUE.obstacle(here) == obstacle
    assert TECHNIQUE.schedule(here) == []
    assert TECHNIQUE.react(here, Evidence({BEFORE: 40_000}, Aim(9, 40_000, 1, 8))) == []


# --- a peer whose NAT is upset by what it has not asked for ---


def test_in_the_second_attempt_the_counting_side_waits_a_second_before_it_lets_anything_arrive() -> None:
    for number, wary in ((1, False), (2, True), (3, False), (4, False), (5, True)):
        schedule = TECHNIQUE.schedule(facts(counting(), EASY, number=number))
        early = {shot.ttl for shot in schedule if shot.socket == SHOOTER and shot.delay_s < 1.0}
        late = {shot.ttl for shot in schedule if shot.socket == SHOOTER and shot.delay_s >= 1.0}
        assert (early, late) == ({3} if wary else {0}, {0})
        assert {shot.ttl for shot in schedule if shot.is_question} == {0}


def test_in_the_second_attempt_two_counting_sides_open_their_ports_before_they_use_them() -> None:
    told = Evidence({BEFORE: 5000}, Aim(9, 6000, 1, 2 * DRIFT_MAX))
    for number, wary in ((1, False), (2, True)):
        shots = TECHNIQUE.react(facts(counting(), counting(), number=number), told)
        assert {shot.ttl for shot in shots if shot.delay_s == 0.0} == ({3} if wary else {0})
        assert {shot.ttl for shot in shots if shot.delay_s > 0.0} == {0}


def test_the_side_with_one_port_for_all_aims_as_ever() -> None:
    told = Evidence(aim=Aim(9, 6000, 1, 1))
    assert {shot.ttl for shot in TECHNIQUE.react(facts(EASY, counting(), number=2), told)} == {0}
