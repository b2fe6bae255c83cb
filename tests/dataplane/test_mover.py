"""Frames through movers over real sockets, with socket pairs for TAPs: bulk, trickle, networks that take no more."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from tests.dataplane.frames import IP_A, IP_B, MAC_A, MAC_B, pattern, plain_frame, segments, tcp_super, udp_packet
from tests.dataplane.pair import DEVICE, KEY_AB, KEY_BA, PEER, drops, open_forwarder

from ntvl.dataplane.interface import InstallSession, SetPath, Target
from ntvl.dataplane.mover import BACKLOG_MAX, Mover
from ntvl.dataplane.tap import Tap
from ntvl.dataplane.udp import bind_udp
from ntvl.wire.address import Address


class Side:
    """Is one node: a mover with a UDP socket and a TAP whose other end is `kernel`."""

    def __init__(self, mac: bytes, peer_mac: bytes, peer_ip: str) -> None:
        self.told: list[object] = []
        (self.socket,) = bind_udp([Address("127.0.0.1", 0)])
        self.kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.kernel, device):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
        self.tap = Tap(device.detach(), "tap0", ())
        self.mover = Mover(
            open_forwarder(mac, peer_mac, (peer_ip,)),
            [self.socket],
            on_blocked=self.told.append,
            on_lost=lambda *lost: self.told.append(lost),
        )
        self.mover.taps[DEVICE] = self.tap
        self.now = 1.0

    def join(self, other: "Side", receive: int, send: int, receive_key: bytes, send_key: bytes) -> None:
        self.mover.forwarder.apply(
            [
                InstallSession(PEER, "aes256gcm", send, receive, send_key, receive_key, True),
                SetPath(PEER, (Target(*other.socket.getsockname()),)),
            ],
            0.0,
        )

    def read_tap(self) -> None:
        self.now += 0.001
        while self.mover.read_tap(DEVICE, self.tap, self.now):
            self.now += 0.0001

    def read_udp(self) -> list[bytes]:
        """Returns the frames that come of all that the socket has."""
        frames = []
        for _ in range(200):
            self.mover.read_udp(self.socket, self.now)
        self.mover.forwarder.handle_timeout(self.now + 1)
        self.mover.write_out()
        try:
            while True:
                frames.append(self.kernel.recv(70000))
        except BlockingIOError:
            return frames

    def close(self) -> None:
        self.socket.close()
        self.kernel.close()
        self.tap.close()


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    a, b = Side(MAC_A, MAC_B, IP_B), Side(MAC_B, MAC_A, IP_A)
    a.join(b, 11, 22, KEY_BA, KEY_AB)
    b.join(a, 22, 11, KEY_AB, KEY_BA)
    yield a, b
    a.close()
    b.close()


def carry(a: Side, b: Side, frames: list[bytes]) -> list[bytes]:
    came = []
    for start in range(0, len(frames), 8):
        for frame in frames[start : start + 8]:
            a.kernel.send(frame)
        a.read_tap()
        came += b.read_udp()
    return came


def test_a_trickle_arrives(sides: tuple[Side, Side]) -> None:
    frames = [plain_frame(64 + index, fill=index) for index in range(100)]
    assert [frame for one in frames for frame in carry(*sides, [one])] == frames


def test_a_bulk_transfer_arrives_whatever_mingles_with_it(sides: tuple[Side, Side]) -> None:
    frames = []
    for seed in range(40):
        frames.append(tcp_super(pattern(58860, seed)))
        if seed % 7 == 0:
            frames.append(plain_frame(fill=seed))
        if seed % 11 == 0:
            frames.append(tcp_super(pattern(50000, seed), mss=1288, source="fd00::a", target="fd00::b"))
        if seed % 13 == 0:
            frames.append(tcp_super(pattern(64000, seed)))
    came = carry(*sides, frames)
    assert [frame for frame in came if frame in frames] == frames
    rest = [segment.payload for frame in came if frame not in frames for segment in segments(frame)]
    assert rest == []
    assert sides[0].mover._slots[DEVICE] is not None, "the lane was in use"
    assert sides[1].mover.forwarder.lane._trains, "and on the other side, too"


def test_small_packets_of_a_flow_arrive_in_order(sides: tuple[Side, Side]) -> None:
    packets = [udp_packet(pattern(22, seed), number=seed) for seed in range(300)]
    came = carry(*sides, packets)
    assert [s.payload for frame in came for s in segments(frame)] == [pattern(22, seed) for seed in range(300)]


def test_an_answer_within_the_write_leaves_at_once(sides: tuple[Side, Side]) -> None:
    a, b = sides
    answer = plain_frame(source=MAC_B, target=MAC_A, fill=7)
    a.kernel.send(plain_frame())
    a.read_tap()
    b.kernel.send(answer)
    b.mover.read_udp(b.socket, 5.0)
    assert a.read_udp() == [answer]


class FullSocket:
    """Is a socket whose kernel has no room, until told."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.family = sock.family
        self.is_full = True

    def _check(self) -> None:
        if self.is_full:
            raise BlockingIOError(errno.EAGAIN, "full")

    def sendto(self, *arguments: object) -> int:
        self._check()
        return self.sock.sendto(*arguments)  # type: ignore[call-overload, no-any-return]

    def sendmsg(self, *arguments: object) -> int:
        self._check()
        return self.sock.sendmsg(*arguments)  # type: ignore[arg-type]


def block(side: Side) -> FullSocket:
    full = FullSocket(side.socket)
    mover = Mover(
        side.mover.forwarder,
        [full],  # type: ignore[list-item]
        on_blocked=side.told.append,
        on_lost=side.mover._on_lost,
    )
    mover.taps[DEVICE] = side.tap
    side.mover = mover
    return full


def test_what_the_network_does_not_take_waits_and_keeps_its_order(sides: tuple[Side, Side]) -> None:
    a, b = sides
    full = block(a)
    frames = [plain_frame(fill=1), tcp_super(pattern(58860, 2)), tcp_super(pattern(58860, 3)), plain_frame(fill=4)]
    for frame in frames:
        a.kernel.send(frame)
        a.read_tap()
    assert a.mover.is_blocked
    assert a.told == [True]
    a.mover.retry()
    assert a.mover.is_blocked
    full.is_full = False
    a.mover.retry()
    assert not a.mover.is_blocked
    assert a.told[-1] is False
    assert b.read_udp() == frames


def test_what_waits_is_bounded(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    block(a)
    for index in range(BACKLOG_MAX + 50):
        a.kernel.send(plain_frame(fill=index % 256))
        a.read_tap()
    assert drops(a.mover.forwarder) == {"queue-full": 50}


def test_a_device_that_is_gone_is_told(sides: tuple[Side, Side]) -> None:
    a, _ = sides
    os.close(a.tap.descriptor)
    assert not a.mover.read_tap(DEVICE, a.tap, 1.0)
    a.tap.descriptor = -1
    ((handle, reason),) = a.told  # type: ignore[misc]
    assert handle == DEVICE
    assert "tap0 is gone" in reason


def test_frames_without_a_device_and_trains_without_a_socket_are_counted(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.kernel.send(plain_frame())
    a.read_tap()
    b.mover.forget(DEVICE)
    assert b.read_udp() == []
    assert drops(b.mover.forwarder) == {"write-failed": 1}
    a.mover.forwarder.apply([SetPath(PEER, (Target("2001:db8::1", 9),))], 2.0)
    a.kernel.send(plain_frame())
    a.read_tap()
    assert drops(a.mover.forwarder) == {"send-failed": 1}
