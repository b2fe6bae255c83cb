"""What a gateway speaks, and that asking makes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.gateway import CLIENT, GATEWAY, HOST, Gateway

from ntvl.proto.presence import PRESENCE_S, Presence
from ntvl.wire.address import Address, Origin


def run(machine: Presence, gateway: Gateway | None, source: Address = GATEWAY) -> int:
    """Lets a machine run to its end; returns how many datagrams it sent."""
    sent, now = 0, 100.0
    machine.start(now)
    while True:
        while (transmit := machine.poll_transmit()) is not None:
            sent += 1
            assert transmit.address == machine.gateway
            for answer in gateway.answer(transmit.data, now) if gateway else []:
                machine.handle_datagram(answer, Origin(source), now)
        wakeup = machine.poll_timeout()
        if wakeup is None:
            assert now <= 100.0 + PRESENCE_S
            return sent
        assert wakeup.at > now
        now = wakeup.at
        machine.handle_timeout(now)


@pytest.mark.parametrize(("pcp", "natpmp"), [(True, True), (True, False), (False, True)])
def test_each_protocol_is_found_by_one_question_and_nothing_is_mapped(pcp: bool, natpmp: bool) -> None:
    gateway = Gateway(pcp=pcp, natpmp=natpmp)
    machine = Presence(HOST, CLIENT)
    assert run(machine, gateway) == 2
    assert machine.speaks == {"PCP": pcp, "NAT-PMP": natpmp}
    assert gateway.mappings == {}


def test_silence_is_absence_after_three_questions() -> None:
    machine = Presence(HOST, CLIENT)
    assert run(machine, None) == 6
    assert machine.speaks == {"PCP": False, "NAT-PMP": False}


def test_a_gateway_that_does_not_allow_it_speaks_it_all_the_same() -> None:
    gateway = Gateway()
    gateway.result = 2
    machine = Presence(HOST, CLIENT)
    run(machine, gateway)
    assert machine.speaks == {"PCP": True, "NAT-PMP": True}


def test_pcp_of_another_version_is_none() -> None:
    machine = Presence(HOST, CLIENT)
    machine.start(0.0)
    machine.handle_datagram(b"\x01\x80\0\x01" + bytes(20), Origin(GATEWAY), 0.1)
    assert machine.speaks == {"PCP": False, "NAT-PMP": None}


def test_an_ipv6_gateway_is_asked_by_pcp_alone() -> None:
    machine = Presence("fe80::1", "2001:db8::5")
    assert run(machine, None) == 3
    assert machine.speaks == {"PCP": False}


def test_nobody_but_the_gateway_is_believed() -> None:
    machine = Presence(HOST, CLIENT)
    run(machine, Gateway(), Address("192.168.1.2", 5351))
    assert machine.speaks == {"PCP": False, "NAT-PMP": False}
    assert machine.drops == {"transaction": 6}


@given(st.lists(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"\x02\x81\0\x01" + tail), max_size=8))
def test_any_bytes_are_taken_and_answered_with_silence(datagrams: list[bytes]) -> None:
    machine = Presence(HOST, CLIENT)
    machine.start(0.0)
    while machine.poll_transmit() is not None:
        pass
    for data in datagrams:
        machine.handle_datagram(data, Origin(GATEWAY), 0.1)
        assert machine.poll_transmit() is None
