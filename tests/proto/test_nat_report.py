"""A report: what is certain, what is possible, and what the oracle makes of it."""

import pytest

from ntvl.nat import KINDS, Filtering, Mapping, PortAllocation, direct_path_possible
from ntvl.proto.nat_report import NOTES, Confidence, NatReport

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


def report(
    mappings: tuple[Mapping, ...] = (EIM,),
    filterings: tuple[Filtering, ...] = (APDF,),
    allocation: PortAllocation | None = PortAllocation.PRESERVING,
    *,
    translated: bool = True,
    notes: tuple[str, ...] = (),
) -> NatReport:
    return NatReport(
        udp=True,
        translated=translated,
        mappings=mappings,
        filterings=filterings,
        allocation=allocation,
        notes=notes,
    )


def test_a_fact_is_known_when_one_possibility_is_left() -> None:
    known = report()
    assert (known.mapping, known.filtering) == (EIM, APDF)
    vague = report((EIM, ADM), (EIF, ADF))
    assert (vague.mapping, vague.filtering) == (None, None)


def test_confidence_falls_with_what_is_unknown() -> None:
    assert report().confidence is Confidence.HIGH
    assert report(filterings=(EIF, ADF)).confidence is Confidence.MEDIUM
    assert report(allocation=None).confidence is Confidence.MEDIUM
    assert report(allocation=None, translated=False).confidence is Confidence.HIGH
    assert report(notes=("server-silent",)).confidence is Confidence.MEDIUM
    assert report((EIM, ADM)).confidence is Confidence.LOW
    assert NatReport(udp=False).confidence is Confidence.LOW


def test_the_worst_of_what_is_possible_is_what_counts() -> None:
    nat = report((EIM, ADM, APDM), (ADF, APDF), None).behaviour()
    assert (nat.mapping, nat.filtering, nat.allocation) == (APDM, APDF, PortAllocation.RANDOM)


def test_a_port_kept_towards_one_server_only_does_not_make_a_mapping_independent() -> None:
    assert report((APDM,)).behaviour().apparent_mapping is APDM
    assert report().behaviour().apparent_mapping is EIM


def test_an_open_host_has_no_box_and_a_firewall_has_one() -> None:
    assert report(filterings=(EIF,), translated=False).chain() == ()
    [firewall] = report(translated=False).chain()
    assert not firewall.translates
    assert direct_path_possible([firewall], KINDS["eim-apdf"])
    assert not direct_path_possible([firewall], KINDS["apdm-random"])


@pytest.mark.parametrize("code", NOTES)
def test_a_note_is_a_word_and_a_sentence(code: str) -> None:
    assert code.replace("-", "").isalnum()
    assert NOTES[code][0].isupper()
    assert NOTES[code].endswith(".")
