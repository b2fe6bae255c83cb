"""What both protocols do alike, shown with each: repeating, renewing, lifetimes, restarts, errors."""

from itertools import pairwise

import pytest
from tests.proto.gateway import PORT, Gateway, Lan

from ntvl.proto.lessee import (
    ABSENT_S,
    ERROR_S_MAX,
    ERROR_S_MIN,
    LIFETIME_S,
    LIFETIME_S_MAX,
    LIFETIME_S_MIN,
    NOT_PUBLIC_S,
    Standing,
    not_ours,
)
from ntvl.wire.address import Address

EXTERNAL = Address("203.0.113.7", PORT)
BOTH = pytest.mark.parametrize("pcp", [True, False], ids=["pcp", "nat-pmp"])


def lan_of(pcp: bool) -> tuple[Gateway, Lan]:
    gateway = Gateway(pcp=pcp, natpmp=not pcp)
    return gateway, Lan(gateway)


def name_of(pcp: bool) -> str:
    return "PCP" if pcp else "NAT-PMP"


def requests(lan: Lan, pcp: bool) -> list[float]:
    """Returns when the mapping itself was asked for."""
    return [at for at, data in lan.sent if data[:2] == (b"\x02\x01" if pcp else b"\0\x01")]


@BOTH
def test_a_mapping_is_renewed_between_a_half_and_five_eighths_of_its_life(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    lan.start()
    lan.run(30_000.0)
    steps = [after - before for before, after in pairwise(requests(lan, pcp))]
    assert len(steps) >= 6
    assert all(LIFETIME_S / 2 <= step <= LIFETIME_S * 5 / 8 + 1 for step in steps)
    assert lan.changes == [EXTERNAL]
    assert gateway.mappings


@BOTH
@pytest.mark.parametrize("lifetime_s", [0, 1, LIFETIME_S_MIN - 1])
def test_a_lifetime_that_is_none_is_a_refusal(pcp: bool, lifetime_s: int) -> None:
    gateway, lan = lan_of(pcp)
    gateway.lifetime_s = lifetime_s
    lan.start()
    lan.run(5.0)
    assert lan.mapping is None
    assert lan.outcome(name_of(pcp)).standing is Standing.REFUSED
    assert "which is no mapping" in lan.outcome(name_of(pcp)).text
    assert gateway.mappings == {}, "and is given back"


@BOTH
def test_a_lifetime_without_end_counts_for_a_day(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    gateway.lifetime_s = 2**32 - 1
    lan.start()
    assert lan.machine.mapping is not None
    assert lan.machine.mapping.lifetime_s == LIFETIME_S_MAX
    before = len(requests(lan, pcp))
    lan.run(LIFETIME_S_MAX * 5 / 8 + 1)
    assert len(requests(lan, pcp)) > before


@BOTH
def test_a_mapping_ends_when_it_expires_and_not_before(pcp: bool) -> None:
    _, lan = lan_of(pcp)
    lan.start()
    lan.gateway = None
    lan.run(LIFETIME_S - 1.0)
    assert lan.mapping == EXTERNAL
    lan.run(2.0)
    assert lan.mapping is None
    assert lan.changes == [EXTERNAL, None]


@BOTH
def test_a_gateway_that_forgot_everything_is_noticed_within_two_minutes(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    lan.start()
    lan.run(1000.0)
    gateway.reboot(lan.now)
    gateway.port = 41000
    lan.run(121.0)
    assert gateway.mappings == {name_of(pcp): LIFETIME_S}
    assert lan.changes[-1] == Address("203.0.113.7", 41000)


@BOTH
def test_an_announcement_is_followed_within_five_seconds(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    lan.start()
    lan.run(1000.0)
    gateway.reboot(lan.now)
    lan.hear(gateway.announce(lan.now))
    lan.run(5.1)
    assert gateway.mappings == {name_of(pcp): LIFETIME_S}


@BOTH
def test_an_error_is_said_in_words_and_passes(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    gateway.result = 2
    gateway.lifetime_s = 100
    lan.start()
    assert lan.outcome(name_of(pcp)).standing is Standing.REFUSED
    assert lan.outcome(name_of(pcp)).text == "the gateway does not allow it"
    gateway.result, gateway.lifetime_s = 0, None
    lan.run(ERROR_S_MAX * 1.1)
    assert lan.mapping == EXTERNAL


@BOTH
def test_an_error_at_renewal_leaves_the_mapping_until_it_expires(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    lan.start()
    gateway.result = 4 if not pcp else 8
    lan.run(LIFETIME_S * 0.9)
    assert lan.mapping == EXTERNAL
    lan.run(LIFETIME_S * 0.2)
    assert lan.mapping is None


@BOTH
def test_a_gateway_that_gets_a_public_address_is_asked_again(pcp: bool) -> None:
    gateway, lan = lan_of(pcp)
    gateway.external = "192.168.0.2"
    lan.start()
    gateway.external = "203.0.113.7"
    lan.run(NOT_PUBLIC_S * 1.1 + 4.0)
    assert lan.mapping == EXTERNAL


def test_bounds_are_in_order() -> None:
    assert 0 < ERROR_S_MIN < ERROR_S_MAX <= ABSENT_S
    assert not_ours("nonce").reason == "transaction"


@BOTH
@pytest.mark.parametrize("lost", [0, 1, 3])
def test_what_is_doubted_is_asked_about_until_the_gateway_answers(pcp: bool, lost: int) -> None:
    gateway, lan = lan_of(pcp)
    lan.start()
    lan.run(60.0)
    gateway.reboot(lan.now)
    answers = list[bytes]()

    def lose(data: bytes) -> list[bytes]:
        answers.append(data)
        return [data] if len(answers) > lost else []

    lan.alter = lose
    lan.machine.verify(lan.now)
    lan.run(30.0)
    assert gateway.mappings
    lan.run(100.0)
    assert len(answers) <= lost + 4, "the question, the mapping, and a regular question later"
