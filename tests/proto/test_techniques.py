import itertools
import re

from ntvl.proto.technique import Facts
from ntvl.proto.techniques import TECHNIQUES
from ntvl.wire.control import UNKNOWN_NAT, Nat


def test_every_technique_has_a_kebab_case_name_of_its_own() -> None:
    names = [technique.name for technique in TECHNIQUES]
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)
    assert len(set(names)) == len(names)


def test_simultaneous_udp_is_tried_first() -> None:
    assert TECHNIQUES[0].name == "simultaneous-udp"


def test_no_attempt_lasts_longer_than_half_a_minute() -> None:
    easy = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
    hard = Nat("address-and-port-dependent", "address-and-port-dependent", "random")
    for nats in itertools.product((UNKNOWN_NAT, easy, hard), repeat=2):
        facts = Facts((), (), 1, *nats)
        assert 0 < sum(technique.duration_s(facts) for technique in TECHNIQUES) <= 30
