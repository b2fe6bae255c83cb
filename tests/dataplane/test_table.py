"""Whose a MAC is: certificates over claims over what was seen."""

import pytest

from ntvl.dataplane.table import (
    LEARNED_AGE_S,
    LEARNED_MAX,
    MOVES_MAX,
    MOVES_WITHIN_S,
    VOUCHED_MAX,
    Table,
    pack_addresses,
)

OURS, M1, M2 = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
IP = b"\x0a\x4d\x00\x05"


@pytest.fixture
def table() -> Table[str]:
    return Table(OURS)


def test_a_certificate_outranks_a_claim_and_a_claim_what_was_seen(table: Table[str]) -> None:
    table.learn(M1, "seen", 1.0)
    assert table.routes[M1] == "seen"
    table.add("claims", [M1], [IP], False)
    assert (table.routes[M1], table.resolvers[IP]) == ("claims", "claims")
    table.learn(M1, "seen", 2.0)
    assert table.routes[M1] == "claims"
    table.add("certified", [M1], [IP], True)
    assert (table.routes[M1], table.owners[M1]) == ("certified", "certified")
    assert (table.resolvers[IP], table.address_owners[IP]) == ("certified", "certified")
    table.add("late", [M1], [IP], True)
    table.add("claims", [M1], [IP], False)
    table.learn(M1, "seen", 3.0)
    assert (table.routes[M1], table.owners[M1], table.resolvers[IP]) == ("certified", "certified", "certified")


def test_what_is_ours_is_nobody_elses(table: Table[str]) -> None:
    table.set_own_addresses([IP])
    table.add("peer", [OURS], [IP], True)
    table.learn(OURS, "peer", 1.0)
    assert table.routes == {}
    assert table.owners == {OURS: None}
    assert table.address_owners == {IP: None}
    table.set_own_addresses([])
    assert table.address_owners == {}


def test_removing_a_peer_removes_all_of_it(table: Table[str]) -> None:
    table.add("a", [M1], [IP], True)
    table.learn(M2, "a", 1.0)
    table.remove("a")
    assert (table.routes, table.owners, table.address_owners, table.resolvers) == ({}, {OURS: None}, {}, {})
    assert table.learned == 0
    table.remove("a")


def test_other_addresses_replace_those_before(table: Table[str]) -> None:
    table.add("a", [M1], [IP], True)
    table.add("a", [M2], [], True)
    assert table.routes == {M2: "a"}
    assert table.address_owners == {}


def test_group_addresses_are_never_learned_nor_noted(table: Table[str]) -> None:
    table.add("a", [b"\xff" * 6], [], True)
    table.learn(b"\x01\x00\x5e\x00\x00\x01", "a", 1.0)
    assert table.routes == {}


def test_what_was_seen_ages(table: Table[str]) -> None:
    table.learn(M1, "a", 0.0)
    table.learn(M2, "a", 0.0)
    table.learn(M2, "a", 100.0)
    table.expire(LEARNED_AGE_S)
    assert table.routes == {M2: "a"}


def test_a_mac_moves_only_so_often(table: Table[str]) -> None:
    table.learn(M1, "p0", 0.0)
    for step in range(1, 20):
        table.learn(M1, f"p{step}", step / 10)
    assert table.routes[M1] == f"p{MOVES_MAX}"
    table.learn(M1, "later", MOVES_WITHIN_S + 1)
    assert table.routes[M1] == "later"


def test_one_peer_fills_a_quarter_and_all_together_the_whole(table: Table[str]) -> None:
    for number in range(2 * LEARNED_MAX):
        table.learn(b"\x02" + number.to_bytes(5, "big"), "flood", 0.0)
    assert table.learned == LEARNED_MAX // 4
    for number in range(2 * LEARNED_MAX):
        table.learn(b"\x06" + number.to_bytes(5, "big"), f"p{number % 8}", 0.0)
    assert table.learned == LEARNED_MAX
    table.expire(LEARNED_AGE_S)
    table.learn(M1, "flood", LEARNED_AGE_S)
    assert table.routes == {M1: "flood"}


def test_a_mac_that_shows_up_here_is_unlearned_but_a_certified_one_stays(table: Table[str]) -> None:
    table.add("a", [M1], [], True)
    table.learn(M2, "a", 0.0)
    table.forget(M1)
    table.forget(M2)
    assert table.routes == {M1: "a"}


def test_vouchers_are_bounded_and_end_with_every_change(table: Table[str]) -> None:
    for number in range(VOUCHED_MAX + 5):
        table.vouch(number.to_bytes(12, "big"), "a")
    assert len(table.vouched) == 5
    table.add("b", [], [], True)
    assert table.vouched == {}


def test_addresses_are_packed_and_what_is_none_is_left_out() -> None:
    assert pack_addresses(["10.77.0.5", "nonsense", "fd00::1"]) == [IP, b"\xfd" + bytes(14) + b"\x01"]
