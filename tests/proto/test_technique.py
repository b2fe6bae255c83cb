import dataclasses
import itertools

import pytest

from ntvl.proto.technique import Facts, Outcome, Technique, is_dependent, punched_hosts
from ntvl.proto.techniques import TECHNIQUES
from ntvl.wire.address import Address
from ntvl.wire.control import Candidate, Nat

EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")
COUNTING = Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", 1)
SERVER = Address("192.0.2.1", 1971)
CANDIDATES = (
    Candidate("host", "192.168.1.2", 4000, 9),
    Candidate("srflx", "198.51.100.2", 61000, 5),
    Candidate("host", "2001:db8::2", 4000, 7),
)
NATS = list(itertools.product((Nat(), EASY, COUNTING, RANDOM), repeat=2))
LISTS = [list_ for size in range(4) for list_ in itertools.combinations(CANDIDATES, size)]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_in_order_of_time_within_its_duration_and_aims_at_the_peer(technique: Technique) -> None:
    for local, remote, nats in itertools.product(LISTS, LISTS, NATS):
        facts = Facts(local, remote, 1, *nats, server=SERVER)
        schedule = technique.schedule(facts)
        times = [shot.delay_s for shot in schedule]
        assert times == sorted(times)
        assert all(0 <= at < technique.duration_s(facts) for at in times)
        assert {(shot.aim.host, shot.aim.port) for shot in schedule if shot.is_question} <= {SERVER}
        checks = [shot for shot in schedule if not shot.is_question]
        assert {shot.aim for shot in checks if not shot.is_guess} <= set(remote)
        assert {shot.aim.host for shot in checks} <= {aim.host for aim in remote}
        sockets = set(range(1, technique.sockets(facts) + 1) if schedule else ())
        if is_dependent(facts.local_nat) and is_dependent(facts.remote_nat):
            sockets -= {2}  # It sends once the peer has told where to.
        assert {shot.socket for shot in schedule} - {0} == sockets


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_nothing_where_it_names_an_obstacle_and_something_where_not(technique: Technique) -> None:
    for local, remote, nats in itertools.product(LISTS, LISTS, NATS):
        facts = Facts(local, remote, 1, *nats, server=SERVER)
        if technique.name == "port-prediction" and not is_dependent(facts.local_nat):
            assert technique.schedule(facts) == [], "it waits for the peer's word"
            continue
        if technique.dials:
            assert technique.schedule(facts) == [], "its connections are checked as they open"
            continue
        assert bool(technique.schedule(facts)) is (technique.obstacle(facts) == "")


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_the_same_for_the_same_facts(technique: Technique) -> None:
    for nats in NATS:
        facts = Facts(CANDIDATES, CANDIDATES, 1, *nats, seed=5, server=SERVER)
        first = list(technique.schedule(facts))
        technique.schedule(facts).clear()
        assert technique.schedule(facts) == first
    assert technique.dials or any(
        technique.schedule(Facts(CANDIDATES, CANDIDATES, 1, *nats, server=SERVER)) for nats in NATS
    )


def test_facts_and_outcomes_are_records_that_cannot_be_changed() -> None:
    for record in (Facts((), (), 1), Outcome("simultaneous-udp", 1.0, 2.0, 3, "direct")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, None)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_where_one_side_lets_no_ports_be_guessed_nothing_is_guessed_or_asked(technique: Technique) -> None:
    for nats in NATS:
        facts = Facts(CANDIDATES, CANDIDATES, 1, *nats, server=SERVER, guesses=False)
        assert not [shot for shot in technique.schedule(facts) if shot.is_guess or shot.is_question]


def test_a_punch_goes_between_the_addresses_that_others_see_of_both_ends() -> None:
    theirs = (Candidate("host", "10.0.0.2", 4000, 9), Candidate("srflx", "203.0.113.7", 4000, 5))
    assert punched_hosts(Facts(CANDIDATES, theirs, 1, EASY, RANDOM)) == ("198.51.100.2", "203.0.113.7")
    assert punched_hosts(Facts(CANDIDATES[:1], theirs, 1, RANDOM, EASY)) == ("203.0.113.7",)
    assert punched_hosts(Facts(CANDIDATES, CANDIDATES, 1, EASY, RANDOM)) == ("198.51.100.2",)
    assert punched_hosts(Facts((), (), 1)) == ()
