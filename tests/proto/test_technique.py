import dataclasses
import itertools

import pytest

from ntvl.proto.technique import Facts, Outcome, Technique
from ntvl.proto.techniques import TECHNIQUES
from ntvl.wire.control import Candidate

CANDIDATES = (
    Candidate("host", "192.168.1.2", 4000, 9),
    Candidate("srflx", "198.51.100.2", 61000, 5),
    Candidate("host", "2001:db8::2", 4000, 7),
)
LISTS = [list_ for size in range(4) for list_ in itertools.combinations(CANDIDATES, size)]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_in_order_of_time_within_its_duration_and_aims_at_the_peer(technique: Technique) -> None:
    for local, remote in itertools.product(LISTS, LISTS):
        schedule = technique.schedule(Facts(local, remote, 1))
        times = [at for at, _ in schedule]
        assert times == sorted(times)
        assert all(0 <= at < technique.duration_s for at in times)
        assert {aim for _, aim in schedule} <= set(remote)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_nothing_where_it_names_an_obstacle_and_something_where_not(technique: Technique) -> None:
    for local, remote in itertools.product(LISTS, LISTS):
        facts = Facts(local, remote, 1)
        assert bool(technique.schedule(facts)) is (technique.obstacle(facts) == "")


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_technique_plans_the_same_for_the_same_facts(technique: Technique) -> None:
    facts = Facts(CANDIDATES, CANDIDATES, 1)
    first = technique.schedule(facts)
    first.clear()
    assert technique.schedule(facts) == technique.schedule(facts) != []


def test_facts_and_outcomes_are_records_that_cannot_be_changed() -> None:
    for record in (Facts((), (), 1), Outcome("simultaneous-udp", 1.0, 2.0, 3, "direct")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, None)
