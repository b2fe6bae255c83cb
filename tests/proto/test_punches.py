from ntvl.proto import punches
from ntvl.proto.punches import LEAVE_S, WAIT_S, Punches

ANN, BOB, EVE, FAY = (bytes([n]) * 32 for n in range(4))
HOME, OFFICE, CAFE = "198.51.100.1", "198.51.100.2", "198.51.100.3"


def test_both_addresses_are_taken_until_the_punch_is_said_to_be_over() -> None:
    kept = Punches()
    assert kept.take(frozenset({HOME, OFFICE}), (ANN, BOB), 100.0) == 0.0
    for host in (HOME, OFFICE):
        assert kept.take(frozenset({host, CAFE}), (EVE, FAY), 104.0) == WAIT_S
        assert kept.take(frozenset({host, CAFE}), (EVE, FAY), 112.0) == LEAVE_S - 12.0
    kept.give_back((ANN, BOB))
    assert kept.take(frozenset({HOME, CAFE}), (EVE, FAY), 104.0) == 0.0


def test_who_was_put_off_has_taken_nothing() -> None:
    kept = Punches()
    kept.take(frozenset({HOME}), (ANN, BOB), 100.0)
    assert kept.take(frozenset({HOME, CAFE}), (EVE, FAY), 100.0) > 0.0
    assert kept.take(frozenset({CAFE}), (BOB, FAY), 100.0) == 0.0


def test_leave_that_nobody_gives_back_ends_by_itself() -> None:
    kept = Punches()
    kept.take(frozenset({HOME}), (ANN, BOB), 100.0)
    assert kept.take(frozenset({HOME}), (EVE, FAY), 100.0 + LEAVE_S - 0.1) > 0.0
    assert kept.take(frozenset({HOME}), (EVE, FAY), 100.0 + LEAVE_S) == 0.0


def test_the_same_two_may_begin_again_whichever_asks() -> None:
    kept = Punches()
    kept.take(frozenset({HOME}), (ANN, BOB), 100.0)
    assert kept.take(frozenset({HOME}), (BOB, ANN), 110.0) == 0.0
    assert kept.take(frozenset({HOME}), (EVE, FAY), 120.0) == 5.0
    kept.give_back((BOB, ANN))
    assert kept.take(frozenset({HOME}), (EVE, FAY), 120.0) == 0.0


def test_nobody_gives_back_what_others_have() -> None:
    kept = Punches()
    kept.take(frozenset({HOME}), (ANN, BOB), 100.0)
    kept.give_back((ANN, EVE))
    kept.give_back((EVE, BOB))
    assert kept.take(frozenset({HOME}), (EVE, FAY), 101.0) > 0.0


def test_beyond_the_bound_everybody_is_put_off() -> None:
    kept = Punches()
    for n in range(punches._ADDRESSES_MAX):
        assert kept.take(frozenset({f"host{n}"}), (n.to_bytes(32, "big"), BOB), 100.0) == 0.0
        if n == 2:
            break
    kept._taken |= {f"more{n}": (1e9, (EVE, FAY)) for n in range(punches._ADDRESSES_MAX)}
    assert kept.take(frozenset({CAFE}), (ANN, BOB), 100.0) == WAIT_S
