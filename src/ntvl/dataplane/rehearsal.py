"""Staying warm: frames that go nowhere, so that the next real one meets its code in the processor's caches.

To pass a frame on takes the interpreter and the cipher some 10 µs, but five times as much a few milliseconds after they
last did so: all that they need then comes from memory again. A round trip has four such passes. So while somebody is
talking, and for a short time after, an engine that has nothing to do carries a frame of its own from one socket to
another, every 2 ms, on the very code that real frames take; that costs a few percent of a processor. Then it
falls asleep, and the first frame that wakes it takes its time.
"""

import socket
from typing import Final

from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import AddPeer, InstallSession, OpenDevice, SetPath, Target
from ntvl.dataplane.mover import Mover
from ntvl.dataplane.tap import Tap

__all__ = ["REHEARSAL_S", "WARM_S", "Rehearsal"]

REHEARSAL_S: Final = 0.002
WARM_S: Final = 1.5
"""After the last datagram or frame: long enough for one ping a second."""

_FRAME_BYTES_MAX: Final = 2048
_MACS: Final = (b"\x02\x00\x00\x00\x00\x01", b"\x02\x00\x00\x00\x00\x02")
_ADDRESSES: Final = ("10.0.0.1", "10.0.0.2")
_KEYS: Final = (bytes(32), bytes(31) + b"\x01")
_IPV4: Final = b"\x45\x00\x00\x54" + bytes(8) + b"\x0a\x00\x00\x01\x0a\x00\x00\x02" + bytes(64)
_FRAME: Final = bytes(10) + _MACS[1] + _MACS[0] + b"\x08\x00" + _IPV4


class Rehearsal:
    """Is two movers with a session between them, over the loopback interface, and sockets for TAPs.

    Args:
        cipher: the one that is in use.
    """

    def __init__(self, cipher: str) -> None:
        self.cipher = cipher
        self._sockets = [_bind(), _bind()]
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in _MACS]
        for sock in (*pairs[0], *pairs[1], *self._sockets):
            sock.setblocking(False)
        self._kernels = [kernel for kernel, _ in pairs]
        self._taps = [Tap(device.detach(), "", ()) for _, device in pairs]
        self._movers = [self._build(0), self._build(1)]

    def step(self, now: float) -> bytes | None:
        """Carries one frame from left to right; returns it as a TAP would get it, None if something came between."""
        left, right = self._movers
        try:
            self._kernels[0].send(_FRAME)
            left.read_tap(1, self._taps[0], now)
            right.read_udp(self._sockets[1], now)
            written = self._kernels[1].recv(_FRAME_BYTES_MAX)
        except OSError:
            return None
        left.forwarder.poll_timeout()
        right.forwarder.poll_timeout()
        return written

    def close(self) -> None:
        """Closes its sockets."""
        for sock in (*self._kernels, *self._sockets):
            sock.close()
        for tap in self._taps:
            tap.close()

    def _build(self, side: int) -> Mover:
        forwarder, other = Forwarder(), 1 - side
        host, port = self._sockets[other].getsockname()
        forwarder.apply(
            (
                OpenDevice(1, "", _MACS[side], 1500),
                AddPeer(1, 1, (_MACS[other],), (_ADDRESSES[other],), True),
                InstallSession(1, self.cipher, 1 + other, 1 + side, _KEYS[side], _KEYS[other], True),
                SetPath(1, (Target(host, port),)),
            ),
            0.0,
        )
        mover = Mover(forwarder, [self._sockets[side]], on_blocked=_ignore, on_lost=_ignore)
        mover.taps[1] = self._taps[side]
        return mover


def _bind() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def _ignore(*_: object) -> None:
    pass
