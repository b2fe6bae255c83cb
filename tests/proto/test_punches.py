from ntvl.proto import punches
from ntvl.proto.punches import CLAIM_PATIENCE_S, CLAIMS_MAX, LEAVE_S, WAIT_S, Punches

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
    kept._taken |= {f"more{n}": punches._Taken(1e9, (EVE, FAY), False) for n in range(punches._ADDRESSES_MAX)}
    assert kept.take(frozenset({CAFE}), (ANN, BOB), 100.0) == WAIT_S


# --- addresses that somebody claims ---


def claim(kept: Punches, seen: str, claimed: str, node: int, now: float) -> float:
    """Asks for two nodes of their own, one of them seen at an address."""
    holder = (node.to_bytes(32, "big"), (node + 1).to_bytes(32, "big"))
    return kept.take({seen}, holder, now, claimed=[claimed])


def test_what_is_claimed_is_taken_from_who_is_seen_there_and_from_who_claims_it() -> None:
    kept = Punches()
    assert kept.take({OFFICE}, (ANN, BOB), 100.0, claimed=[HOME]) == 0.0
    assert kept.take({HOME}, (EVE, FAY), 101.0) == WAIT_S
    assert kept.take({CAFE}, (EVE, FAY), 101.0, claimed=[HOME]) == WAIT_S
    kept.give_back((ANN, BOB))
    assert kept.take({HOME}, (EVE, FAY), 101.0) == 0.0
    assert kept.take({OFFICE}, (ANN, BOB), 102.0, claimed=[HOME]) == WAIT_S


def test_claims_put_nobody_off_for_longer_than_a_minute_however_many_claim() -> None:
    kept = Punches()
    waited_s = []
    for begin in (1000.0, 2000.0):
        for step in range(100):
            now = begin + step
            for liar in range(10):
                claim(kept, f"liar{liar}", HOME, 100 + 2 * liar, now)
            if step % 5 == 0 and kept.take({HOME}, (ANN, BOB), now + 0.5) == 0.0:
                waited_s.append(now - begin)
                kept.give_back((ANN, BOB))
                break
    assert waited_s == [CLAIM_PATIENCE_S, CLAIM_PATIENCE_S], "and each time anew"


def test_who_claims_is_put_off_by_claims_no_longer_than_who_is_seen() -> None:
    kept = Punches()
    for step in range(0, 61, 5):
        claim(kept, "liar", HOME, 100, 100.0 + step)
        wait_s = kept.take({CAFE}, (ANN, BOB), 100.5 + step, claimed=[HOME])
        assert (wait_s == 0.0) == (step == CLAIM_PATIENCE_S)


def test_patience_with_claims_does_not_shorten_the_punches_of_who_is_seen() -> None:
    kept = Punches()
    for step in range(0, 90, 5):
        assert kept.take({HOME}, (EVE, FAY), 100.0 + step) == 0.0
        assert kept.take({HOME}, (ANN, BOB), 100.5 + step, claimed=[CAFE]) == WAIT_S


def test_two_nodes_hold_what_they_named_last() -> None:
    kept = Punches()
    for n in range(50):
        assert kept.take({OFFICE}, (ANN, BOB), 100.0, claimed=[f"claimed{n}", f"more{n}"]) == 0.0
    assert len(kept._taken) == 3
    assert claim(kept, CAFE, "claimed0", 100, 101.0) == 0.0


def test_claims_beyond_the_bound_do_not_count_and_keep_nobody_from_punching() -> None:
    kept = Punches()
    for n in range(CLAIMS_MAX + 500):
        assert claim(kept, f"seen{n}", f"claimed{n}", 2 * n, 100.0) == 0.0
    assert sum(taken.is_claim for taken in kept._taken.values()) == CLAIMS_MAX
    assert kept.take({f"claimed{CLAIMS_MAX}"}, (EVE, FAY), 101.0) == 0.0


def test_of_more_that_wait_than_can_be_remembered_claims_put_off_none() -> None:
    kept = Punches()
    claim(kept, OFFICE, HOME, 1 << 40, 100.0)
    for n in range(punches._WAITING_MAX):
        kept._waiting[frozenset({n.to_bytes(32, "big")})] = punches._Wait(100.0, 100.0)
    assert kept.take({HOME}, (ANN, BOB), 101.0) == 0.0
    claim(kept, OFFICE, HOME, 1 << 40, 200.0)
    assert kept.take({HOME}, (EVE, FAY), 200.0) == WAIT_S, "those that ask no more are forgotten"
    assert len(kept._waiting) == 1
