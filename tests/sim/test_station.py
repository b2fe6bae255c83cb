"""The little host stack above a TAP, two or three of them on one cable."""

import pytest

from ntvl.sim.station import Station, build_udp_frame
from ntvl.sim.timeline import Timeline
from ntvl.wire.ethernet import BROADCAST


class Cable:
    """Carries every frame to all the others, after a millisecond."""

    def __init__(self, stations: int) -> None:
        self.timeline = Timeline()
        self.stations: list[Station] = []
        self.cut = False
        for number in range(stations):
            station = Station(
                lambda frame, number=number: self.carry(number, frame), self.timeline.after, lambda: self.timeline.now
            )
            station.mac = bytes((2, 0, 0, 0, 0, number))
            self.stations.append(station)
        for number, station in enumerate(self.stations):
            station.assign((f"10.77.0.{number + 1}/16", f"fd00::{number + 1}/64"))

    def carry(self, sender: int, frame: bytes) -> None:
        for number, station in enumerate(self.stations):
            if number != sender and not self.cut:
                self.timeline.after(0.001, lambda station=station: station.handle_frame(frame))


def test_a_ping_resolves_the_address_and_comes_back() -> None:
    cable = Cable(3)
    a, b, c = cable.stations
    a.send_echo("10.77.0.2", 1, 1)
    cable.timeline.run_until(1.0)
    assert a.echoes == {(1, 1): pytest.approx(0.004)}
    assert a.neighbours["10.77.0.2"] == b.mac
    assert b.neighbours["10.77.0.1"] == a.mac
    assert c.echoes == {}
    a.send_echo("10.77.0.2", 1, 2)
    cable.timeline.run_until(2.0)
    assert a.echoes[1, 2] == pytest.approx(1.002)


def test_packets_wait_for_the_address_and_are_given_up_when_nobody_has_it() -> None:
    cable = Cable(2)
    a, b = cable.stations
    for number in range(3):
        a.send_udp("10.77.0.2", 7, bytes([number]))
        a.send_udp("10.77.0.99", 7, b"?")
    cable.timeline.run_until(10.0)
    assert [d.data for d in b.datagrams] == [b"\0", b"\1", b"\2"]
    assert (b.datagrams[0].source, b.datagrams[0].source_port, b.datagrams[0].port) == ("10.77.0.1", 9000, 7)
    assert a.drops == {"unresolved": 3}


@pytest.mark.parametrize("address", ["255.255.255.255", "10.77.255.255", "224.0.0.251"])
def test_broadcast_and_multicast_reach_everybody_without_resolution(address: str) -> None:
    cable = Cable(3)
    cable.stations[0].send_udp(address, 5353, b"all")
    cable.timeline.run_until(1.0)
    for station in cable.stations[1:]:
        assert [(d.destination, d.data) for d in station.datagrams] == [(address, b"all")]
        assert station.frames[-1][0] & 1


def test_only_its_own_traffic_is_taken() -> None:
    cable = Cable(2)
    a, b = cable.stations
    a.send_udp("10.77.0.2", 7, b"x")
    cable.timeline.run_until(1.0)
    wrong_host = build_udp_frame(b.mac, a.mac, ("10.77.0.1", "10.77.0.3"), (1, 7), b"other host")
    wrong_mac = build_udp_frame(bytes(6), a.mac, ("10.77.0.1", "10.77.0.2"), (1, 7), b"other mac")
    right = build_udp_frame(b.mac, a.mac, ("10.77.0.1", "10.77.0.2"), (1, 7), b"right")
    broken = bytearray(right)
    broken[24] ^= 1
    for frame in (wrong_host, wrong_mac, bytes(broken), right):
        b.handle_frame(frame)
    assert [d.data for d in b.datagrams] == [b"x", b"right"]
    assert b.drops == {"checksum": 1}


def test_any_ethertype_is_sent_and_kept_as_it_came() -> None:
    cable = Cable(2)
    a, b = cable.stations
    a.send_frame(b.mac, 0x88B5, b"experimental")
    a.send_frame(BROADCAST, 0x88B5, b"all", source=b"\2claim")
    cable.timeline.run_until(1.0)
    assert b.frames[-2] == (b.mac + a.mac + b"\x88\xb5" + b"experimental").ljust(60, b"\0")
    assert b.frames[-1][6:12] == b"\2claim"


def test_a_truncated_frame_is_counted_and_survived() -> None:
    station = Cable(1).stations[0]
    for frame in (station.mac + bytes(6) + b"\x08\x00", station.mac + bytes(6) + b"\x08\x06\0\1"):
        station.handle_frame(frame)
    assert station.drops == {"format": 2}
