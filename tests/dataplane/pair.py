"""Two forwarders back to back; nothing moves until told."""

from collections.abc import Iterable, Sequence

from tests.dataplane.frames import IP6_A, IP6_B, IP_A, IP_B, MAC_A, MAC_B

from ntvl.dataplane.forwarder import Forwarder, Train
from ntvl.dataplane.interface import (
    AddPeer,
    Command,
    Counters,
    Event,
    InstallSession,
    OpenDevice,
    SetPath,
    Target,
)
from ntvl.wire.address import Address

ADDRESS_A = Address("203.0.113.1", 4001)
ADDRESS_B = Address("203.0.113.2", 4002)
ADDRESS_S = Address("198.51.100.9", 1971)
KEY_AB, KEY_BA = b"\x01" * 32, b"\x02" * 32
DEVICE, PEER = 1, 1


def session_commands(
    peer: int, receive: int, send: int, receive_key: bytes, send_key: bytes, *, confirmed: bool = True
) -> list[Command]:
    return [InstallSession(peer, "aes256gcm", send, receive, send_key, receive_key, confirmed)]


def open_forwarder(mac: bytes, peer_mac: bytes, peer_ips: tuple[str, ...]) -> Forwarder:
    forwarder = Forwarder()
    forwarder.apply(
        [OpenDevice(DEVICE, "tap0", mac, 1360), AddPeer(PEER, DEVICE, (peer_mac,), peer_ips, True)], now=0.0
    )
    drain_events(forwarder)
    return forwarder


class Pair:
    """Is A and B with a session and a direct path both ways; nothing moves until told."""

    open_b = OpenDevice(DEVICE, "tap0", MAC_B, 1360)

    def __init__(self) -> None:
        self.a = open_forwarder(MAC_A, MAC_B, (IP_B, IP6_B))
        self.b = open_forwarder(MAC_B, MAC_A, (IP_A, IP6_A))
        self.a.apply(session_commands(PEER, 11, 22, KEY_BA, KEY_AB), now=0.0)
        self.b.apply(session_commands(PEER, 22, 11, KEY_AB, KEY_BA), now=0.0)
        self.a.apply([SetPath(PEER, (Target(*ADDRESS_B),))], now=0.0)
        self.b.apply([SetPath(PEER, (Target(*ADDRESS_A),))], now=0.0)

    def datagrams(self, frames: Sequence[bytes], now: float = 1.0) -> list[bytes]:
        """Returns the datagrams by which A carries frames."""
        self.a.handle_frames(DEVICE, frames, now)
        return [datagram for train in drain_sends(self.a) for datagram in train.datagrams()]

    def receive(self, datagrams: Iterable[bytes], now: float = 1.0) -> None:
        """Hands datagrams to B, one by one."""
        for datagram in datagrams:
            self.b.handle_train(datagram, 0, 0, ADDRESS_A, now)

    def received(self, now: float = 1.1) -> list[bytes]:
        """Returns what B writes to its TAP, after open runs have been given up."""
        self.b.handle_timeout(now)
        return drain_writes(self.b)


def drain_sends(forwarder: Forwarder) -> list[Train]:
    return list(iter(forwarder.poll_send, None))


def drain_writes(forwarder: Forwarder) -> list[bytes]:
    return [b"".join(buffers) for _, buffers in iter(forwarder.poll_write, None)]


def drain_events(forwarder: Forwarder) -> list[Event]:
    return list(iter(forwarder.poll_event, None))


def drops(forwarder: Forwarder, now: float = 1000.0) -> dict[str, int]:
    """Returns the drops counted so far."""
    forwarder.handle_timeout(now)
    counters = [event for event in drain_events(forwarder) if isinstance(event, Counters)]
    return counters[-1].drops if counters else {}
