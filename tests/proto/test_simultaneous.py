import pytest

from ntvl.proto.simultaneous import Simultaneous
from ntvl.proto.technique import Facts
from ntvl.wire.control import Candidate

FOUR, SIX = Candidate("host", "192.168.1.2", 4000, 5), Candidate("host", "2001:db8::2", 4000, 9)
TECHNIQUE = Simultaneous()


PUBLIC, MAPPED = Candidate("srflx", "198.51.100.2", 61000, 4), Candidate("mapped", "198.51.100.2", 4000, 7)


def facts(local: tuple[Candidate, ...], remote: tuple[Candidate, ...], number: int = 1, *, udp: bool = True) -> Facts:
    return Facts(local, remote, number, udp=udp)


def test_the_burst_is_three_rounds_in_400_ms_and_then_one_a_second() -> None:
    times = [shot.delay_s for shot in TECHNIQUE.schedule(facts((FOUR,), (FOUR,)))]
    assert times == pytest.approx([0.0, 0.2, 0.4, 1.4, 2.4, 3.4, 4.4])


def test_candidates_follow_each_other_by_5_ms_the_most_promising_first() -> None:
    schedule = TECHNIQUE.schedule(facts((FOUR, SIX), (FOUR, SIX)))
    assert [(round(shot.delay_s, 3), shot.aim) for shot in schedule[:4]] == [
        (0.0, SIX),
        (0.005, FOUR),
        (0.2, SIX),
        (0.205, FOUR),
    ]


def test_a_family_that_one_side_lacks_is_left_out() -> None:
    assert {shot.aim for shot in TECHNIQUE.schedule(facts((FOUR,), (FOUR, SIX)))} == {FOUR}
    assert {shot.aim for shot in TECHNIQUE.schedule(facts((FOUR, SIX), (SIX,)))} == {SIX}


def test_no_second_of_the_largest_burst_has_more_than_200_packets() -> None:
    many = tuple(Candidate("host", f"198.51.100.{n}", 4000, n) for n in range(1, 25))
    times = [shot.delay_s for shot in TECHNIQUE.schedule(facts(many, many))]
    assert max(sum(start <= at < start + 1.0 for at in times) for start in times) <= 200


def test_the_last_answer_may_come_before_the_end() -> None:
    many = tuple(Candidate("host", f"198.51.100.{n}", 4000, n) for n in range(1, 25))
    assert max(shot.delay_s for shot in TECHNIQUE.schedule(facts(many, many))) < TECHNIQUE.duration_s(facts(many, many))


def test_what_is_in_the_way_is_said_in_words() -> None:
    assert TECHNIQUE.obstacle(facts((FOUR,), ())) == "the peer offered no address"
    assert TECHNIQUE.obstacle(facts((FOUR,), (SIX,))) == "one side has only IPv4 and the other only IPv6"
    assert TECHNIQUE.obstacle(facts((FOUR, SIX), (SIX,))) == ""


# --- openers ---


def test_an_opener_goes_to_each_address_that_is_not_of_a_lan_the_most_promising_first() -> None:
    openers = TECHNIQUE.openers(facts((FOUR, SIX), (FOUR, PUBLIC, MAPPED, SIX)))
    assert [(shot.delay_s, shot.aim, shot.socket, shot.ttl) for shot in openers] == [
        (0.0, aim, 0, 2) for aim in (SIX, MAPPED, PUBLIC)
    ]
    assert [shot.aim for shot in TECHNIQUE.openers(facts((FOUR,), (SIX, PUBLIC)))] == [PUBLIC]


def test_each_of_three_attempts_opens_one_box_more_and_then_it_begins_again() -> None:
    ttls = [TECHNIQUE.openers(facts((FOUR,), (PUBLIC,), number))[0].ttl for number in range(1, 8)]
    assert ttls == [2, 3, 4, 2, 3, 4, 2]


def test_nothing_is_opened_where_udp_does_not_get_out_or_nobody_can_be_aimed_at() -> None:
    assert TECHNIQUE.openers(facts((FOUR,), (PUBLIC,), udp=False)) == []
    assert TECHNIQUE.openers(facts((FOUR,), ())) == []
    assert TECHNIQUE.openers(facts((FOUR,), (SIX,))) == []


def test_the_burst_itself_has_no_openers() -> None:
    assert {shot.ttl for shot in TECHNIQUE.schedule(facts((FOUR,), (PUBLIC,)))} == {0}
