"""The race of the two protocols at one gateway, and what a hostile one can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.gateway import GATEWAY, PORT, Gateway, Lan

from ntvl.errors import REASONS
from ntvl.proto.lessee import Standing
from ntvl.wire.address import Address, Origin

EXTERNAL = Address("203.0.113.7", PORT)


def test_a_gateway_that_speaks_both_maps_once_by_pcp() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    assert lan.mapping == EXTERNAL
    assert lan.changes == [EXTERNAL]
    assert gateway.mappings == {"PCP": 7200}
    assert lan.outcome("PCP").text == "mapped to 203.0.113.7:4000 for 7200 s"
    assert lan.outcome("NAT-PMP").text == "not needed beside PCP"


def test_a_gateway_that_speaks_natpmp_only_is_mapped_by_it_at_once() -> None:
    gateway = Gateway(pcp=False)
    lan = Lan(gateway).start()
    assert lan.mapping == EXTERNAL
    assert gateway.mappings == {"NAT-PMP": 7200}


def test_a_gateway_that_keeps_silent_about_pcp_is_given_a_quarter_of_a_second() -> None:
    gateway = Gateway()
    lan = Lan(gateway)
    lan.alter = lambda data: [data] if data[0] == 0 else []
    lan.start()
    assert lan.mapping is None
    lan.run(0.3)
    assert lan.mapping == EXTERNAL
    assert gateway.mappings == {"NAT-PMP": 7200}, "what PCP may have made is given back"


def test_both_are_asked_at_once_and_silence_is_remembered() -> None:
    lan = Lan(None).start()
    assert [data[:2] for _, data in lan.sent] == [b"\x02\x01", b"\0\0"]
    lan.run(300.0)
    assert lan.outcome("PCP").standing == lan.outcome("NAT-PMP").standing == Standing.ABSENT
    asked = len(lan.sent)
    assert asked == 6 + 9
    lan.run(2800.0)
    assert len(lan.sent) == asked, "for nearly an hour"
    lan.run(1500.0)
    assert len(lan.sent) > asked


def test_a_gateway_that_learns_to_speak_is_heard() -> None:
    gateway = Gateway(pcp=False, natpmp=False)
    lan = Lan(gateway).start()
    lan.run(400.0)
    assert lan.outcome("PCP").standing is Standing.ABSENT
    gateway.pcp = True
    lan.hear(gateway.announce(lan.now))
    lan.run(6.0)
    assert lan.mapping == EXTERNAL


@pytest.mark.parametrize("pcp", [True, False])
def test_closing_gives_the_mapping_back(pcp: bool) -> None:
    gateway = Gateway(pcp=pcp)
    lan = Lan(gateway).start()
    lan.close()
    assert gateway.mappings == {}
    assert lan.machine.is_idle
    assert lan.changes[-1] is None


def test_closing_ends_within_a_second_even_if_nobody_confirms() -> None:
    lan = Lan(Gateway()).start()
    lan.gateway = None
    lan.close()
    before = len(lan.sent)
    lan.run(1.0)
    assert lan.machine.is_idle
    assert len(lan.sent) - before == 2
    lan.run(10_000.0)
    assert len(lan.sent) - before == 2


def test_a_mapping_that_is_lost_is_looked_for_by_both_again() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    gateway.pcp = False
    lan.alter = lambda data: [data] if data[1] != 0x81 or data[0] == 0 else []
    lan.run(7300.0)
    assert gateway.mappings.get("NAT-PMP") == 7200
    assert lan.changes == [EXTERNAL, None, EXTERNAL]


@pytest.mark.parametrize("external", ["192.168.0.2", "10.1.2.3", "100.64.0.9", "127.0.0.1", "224.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("pcp", [True, False])
def test_a_mapping_that_is_not_public_is_given_back_and_said_so(pcp: bool, external: str) -> None:
    gateway = Gateway(pcp=pcp, natpmp=not pcp, external=external)
    lan = Lan(gateway).start()
    lan.run(1.0)
    assert lan.mapping is None
    assert lan.changes == []
    assert gateway.mappings == {}
    outcome = lan.outcome("PCP" if pcp else "NAT-PMP")
    assert outcome.standing is Standing.NOT_PUBLIC
    assert f"external address {external} is not public" in outcome.text


def test_a_pinhole_is_asked_for_by_pcp_alone() -> None:
    gateway = Gateway(natpmp=False, external="2001:db8::5")
    lan = Lan(gateway, host="fe80::1", client="2001:db8::5").start()
    assert lan.mapping == Address("2001:db8::5", PORT)
    assert [data[:2] for _, data in lan.sent] == [b"\x02\x01"]
    lan.hear(b"\0\x80\0\0\0\0\0\x01\x01\x02\x03\x04", Address("fe80::1", 5351))
    assert lan.machine.drops["version"] == 1


# --- hostile ---


@pytest.mark.parametrize(
    "source", [Address("192.168.1.2", 5351), Address("192.168.1.1", 5352), Address("203.0.113.9", 5351)]
)
def test_nobody_but_the_gateway_is_believed(source: Address) -> None:
    gateway = Gateway()
    lan = Lan(None).start()
    for _, data in list(lan.sent):
        for answer in gateway.answer(data, lan.now):
            lan.hear(answer, source)
    lan.run(1.0)
    assert lan.mapping is None
    assert lan.machine.drops == {"transaction": 2}


def test_an_answer_with_another_nonce_or_port_is_none() -> None:
    lan = Lan(Gateway(natpmp=False))
    lan.alter = lambda data: [data[:24] + bytes(12) + data[36:], data[:40] + b"\0\x50" + data[42:]] if data[0] else []
    lan.start()
    assert lan.mapping is None
    assert lan.machine.drops["transaction"] == 2


def test_a_natpmp_answer_for_another_port_is_none() -> None:
    lan = Lan(Gateway(pcp=False))
    lan.alter = lambda data: [data[:8] + b"\0\x50" + data[10:] if data[1] == 129 and len(data) == 16 else data]
    lan.start()
    assert lan.mapping is None
    assert lan.machine.drops["transaction"] == 1


def test_answers_to_nothing_are_counted_and_change_nothing() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    before = lan.machine.outcomes
    lan.machine.drops.clear()  # the address that NAT-PMP told when it was not needed any more
    lan.hear(gateway.answer(b"\0\x01\0\0" + PORT.to_bytes(2, "big") + bytes(6), lan.now)[0])
    lan.hear(b"")
    lan.hear(b"\x02" * 2000)
    assert lan.machine.outcomes == before
    assert lan.machine.drops == {"transaction": 1, "short": 1, "long": 1}


def test_a_gateway_that_answers_everything_a_thousand_times_hears_four_packets_a_second_at_most() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    before = len(lan.sent)
    for step in range(1000):
        gateway.booted = lan.now - step * 7919 % 5000
        lan.hear(gateway.announce(lan.now))
        lan.run(0.01)
    assert len(lan.sent) - before <= 6 + 10 * 4
    assert lan.mapping is not None


@pytest.mark.parametrize("kind", ["PCP ANNOUNCE", "PCP MAP", "NAT-PMP"])
def test_answers_that_each_bring_on_a_request_bring_on_four_a_second_at_most(kind: str) -> None:
    """A restart is answered within 5 s, by chance; whoever announces many gets the shortest of many waits."""
    gateway = Gateway(pcp=kind != "NAT-PMP", natpmp=kind == "NAT-PMP")
    lan = Lan(gateway).start()
    lan.run(10.0)
    assert lan.mapping is not None
    asked = next(data for _, data in lan.sent if data[:2] == b"\x02\x01") if gateway.pcp else b""
    before, dropped = len(lan.sent), lan.machine.drops["rate"]
    for step in range(200):
        for further in range(300):
            gateway.booted = lan.now - (step + further) * 7919 % 5000
            if kind == "PCP MAP":  # the end of the mapping, unasked
                lan.hear(gateway.answer(asked[:4] + bytes(4) + asked[8:], lan.now)[0])
            else:
                lan.hear(gateway.announce(lan.now))
        lan.run(0.05)
    sent = [at for at, _ in lan.sent[before:]]
    assert len(sent) <= 6 + 10 * 4
    assert all(sum(start <= at < start + 1.0 for at in sent) <= 6 + 4 for start in sent)
    assert lan.machine.drops["rate"] > dropped


@given(
    st.lists(
        st.binary(max_size=80)
        | st.sampled_from([b"\x02\x81", b"\0\x80", b"\0\x81", b"\x02\x80"]).flatmap(
            lambda head: st.binary(max_size=70).map(lambda rest: head + rest)
        ),
        max_size=20,
    )
)
def test_whatever_the_gateway_says_is_counted_or_bounded(datagrams: list[bytes]) -> None:
    lan = Lan(None).start()
    for data in datagrams:
        lan.machine.handle_datagram(data, Origin(GATEWAY), lan.now)
        lan.run(1.0)
    assert set(lan.machine.drops) <= set(REASONS)
    assert len(lan.sent) <= 8 + 4 * len(datagrams)
    mapping = lan.machine.mapping
    assert mapping is None or 20 <= mapping.lifetime_s <= 86_400


def test_events_tell_each_change_once() -> None:
    lan = Lan(Gateway()).start()
    lan.run(7000.0)
    assert lan.changes == [EXTERNAL], "renewals are no news"
    assert [outcome.protocol for outcome in lan.said] == ["PCP", "NAT-PMP", "PCP", "NAT-PMP"]


@pytest.mark.parametrize("pcp", [True, False])
def test_a_gateway_that_forgot_without_a_word_is_asked_where_that_is_suspected(pcp: bool) -> None:
    gateway = Gateway(pcp=pcp)
    lan = Lan(gateway).start()
    lan.run(60.0)
    gateway.reboot(lan.now)
    lan.machine.verify(lan.now)
    lan.run(1.0)
    assert gateway.mappings, "long before the next question for the epoch"
    before = len(lan.sent)
    lan.machine.verify(lan.now)
    lan.run(1.0)
    assert len(lan.sent) - before == 1, "the question alone, where nothing is lost"


def test_a_gateway_that_maps_nothing_is_not_asked_more_often() -> None:
    lan = Lan(None).start()
    lan.run(300.0)
    before = len(lan.sent)
    for _ in range(10):
        lan.machine.verify(lan.now)
        lan.run(1.0)
    assert len(lan.sent) == before
