import re

from ntvl.proto.techniques import TECHNIQUES


def test_every_technique_has_a_kebab_case_name_of_its_own() -> None:
    names = [technique.name for technique in TECHNIQUES]
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)
    assert len(set(names)) == len(names)


def test_simultaneous_udp_is_tried_first() -> None:
    assert TECHNIQUES[0].name == "simultaneous-udp"


def test_no_attempt_lasts_longer_than_half_a_minute() -> None:
    assert 0 < sum(technique.duration_s for technique in TECHNIQUES) <= 30
