"""What follows from what was seen."""

import pytest

from ntvl.nat import Filtering, Mapping
from ntvl.proto.nat_evidence import Evidence
from ntvl.proto.nat_report import NatReport, Pooling
from ntvl.proto.question import Topic
from ntvl.wire.address import Address

A, A2, B = Address("203.0.113.1", 1971), Address("203.0.113.1", 1972), Address("203.0.113.2", 1971)
V6 = Address("2001:db8::1", 1971)
PORTS = range(40000, 40011)
EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


def us(port: int, host: str = "198.51.100.9") -> Address:
    return Address(host, port)


def evidence(seen: dict[Address, Address] | None = None) -> Evidence:
    found = Evidence((A, B), ("192.168.1.2", "2001:db8:1::2"), PORTS)
    for target, at in (seen or {}).items():
        found.seen[0, target] = at
        found.rtts[target] = 0.01
    return found


def conclude(found: Evidence) -> NatReport:
    return found.report(A, B, range(3, 11))


@pytest.mark.parametrize(
    ("ports", "mappings"),
    [
        ({A: 1, A2: 1, B: 1}, (EIM,)),
        ({A: 1, B: 1}, (EIM,)),
        ({A: 1, A2: 1, B: 2}, (ADM,)),
        ({A: 1, A2: 2, B: 3}, (APDM,)),
        ({A: 1, A2: 2}, (APDM,)),
        ({A: 1, A2: 1}, (EIM, ADM)),
        ({A: 1, B: 2}, (ADM, APDM)),
        ({A: 1}, (EIM, ADM, APDM)),
    ],
)
def test_the_mapping_follows_from_where_servers_see_one_socket(
    ports: dict[Address, int], mappings: tuple[Mapping, ...]
) -> None:
    report = conclude(evidence({target: us(port) for target, port in ports.items()}))
    assert report.mappings == mappings
    assert ("mapping-one-address" in report.notes) == (len(mappings) > 1 and B not in ports)
    assert ("mapping-one-port" in report.notes) == (len(mappings) > 1 and A2 not in ports)


ARRIVED, KEPT_OUT, UNKNOWN = True, False, None


@pytest.mark.parametrize(
    ("port", "stranger", "filterings"),
    [
        (ARRIVED, ARRIVED, (EIF,)),
        (UNKNOWN, ARRIVED, (EIF,)),
        (ARRIVED, KEPT_OUT, (ADF,)),
        (KEPT_OUT, KEPT_OUT, (APDF,)),
        (KEPT_OUT, UNKNOWN, (APDF,)),
        (UNKNOWN, KEPT_OUT, (ADF, APDF)),
        (ARRIVED, UNKNOWN, (EIF, ADF)),
        (UNKNOWN, UNKNOWN, (EIF, ADF, APDF)),
    ],
)
@pytest.mark.parametrize("way", ["stranger", "change-address"])
def test_the_filtering_follows_from_who_gets_in(
    port: bool | None, stranger: bool | None, filterings: tuple[Filtering, ...], way: str
) -> None:
    found = evidence({A: us(1), B: us(1)})
    found.came(Topic("lend", B), True)
    for outcome, topic in ((port, Topic("change-port", A)), (stranger, Topic(way, B if way == "stranger" else A))):
        if outcome:
            found.came(topic, True)
        elif outcome is False:
            found.silent.add(topic)
    report = conclude(found)
    assert report.filterings == filterings
    assert ("filtering-claimed" in report.notes) == (way == "change-address" and stranger is False)


def test_silence_of_a_lender_that_never_showed_that_it_can_means_nothing() -> None:
    found = evidence({A: us(1), B: us(1)})
    found.silent |= {Topic("stranger", B)}
    assert conclude(found).filterings == (EIF, ADF, APDF)


def test_an_answer_from_where_it_always_comes_says_nothing() -> None:
    found = evidence({A: us(1), B: us(1)})
    found.came(Topic("change-port", A), False)
    report = conclude(found)
    assert report.filterings == (EIF, ADF, APDF)
    assert "change-ignored" in report.notes


def test_an_own_address_is_no_translation() -> None:
    found = evidence({A: us(40000, "192.168.1.2"), B: us(40000, "192.168.1.2")})
    report = conclude(found)
    assert (report.translated, report.mapping, report.allocation, report.hairpin) == (False, EIM, None, None)


def test_two_public_addresses_are_arbitrary_pooling() -> None:
    report = conclude(evidence({A: us(1), B: us(1, "198.51.100.10")}))
    assert report.pooling is Pooling.ARBITRARY
    assert report.addresses == ("198.51.100.9", "198.51.100.10")
    assert "addresses-differ" in report.notes


def test_only_what_two_servers_agree_on_may_be_sent_to() -> None:
    assert evidence({A: us(1), B: us(2)}).is_agreed(us(1), us(2))
    assert not evidence({A: us(1), A2: us(1)}).is_agreed(us(1))
    assert not evidence({A: us(1), B: us(1, "198.51.100.10")}).is_agreed(us(1))
    loopback = us(1, "127.0.0.1")
    assert not evidence({A: loopback, B: loopback}).is_agreed(loopback)


def test_ipv6_alone_says_nothing_of_ipv4() -> None:
    found = Evidence((V6,), ("2001:db8:1::2",), PORTS)
    found.seen[0, V6] = Address("2001:db8:1::2", 40000)
    found.rtts[V6] = 0.01
    report = found.report(None, None, range(3, 11))
    assert (report.udp, report.translated, report.ipv6_translated) == (True, None, False)
    assert report.notes == ("no-ipv4",)


def test_a_note_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no note"):
        evidence().note("whatever")
