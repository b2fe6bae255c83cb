"""Staying warm: a frame that goes nowhere, so that the next real one meets its code in the processor's caches.

Sealing or opening a frame takes the interpreter 2 to 3 µs, but 50 to 60 µs a few milliseconds after it last did so: all
that it needs then comes from memory again. A round trip has four such passes, which makes the difference between 0.15
and 0.5 ms. So while somebody is talking, and for a short time after, an engine that has nothing to do seals and opens a
frame of its own every other millisecond, which costs about half a percent of a processor, and then falls asleep.
"""

from typing import Final

from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import AddPeer, InstallSession, OpenDevice, SetPath, Target
from ntvl.wire.address import Address

__all__ = ["REHEARSAL_S", "WARM_S", "Rehearsal"]

REHEARSAL_S: Final = 0.002
WARM_S: Final = 2.0
"""After the last datagram or frame: long enough for one ping a second."""

_MACS: Final = (b"\x02\x00\x00\x00\x00\x01", b"\x02\x00\x00\x00\x00\x02")
_ADDRESS: Final = Address("192.0.2.1", 1)
_KEYS: Final = (bytes(32), bytes(31) + b"\x01")


class Rehearsal:
    """Is two forwarders with a session between them, on the same code as the real one and on nothing else of it.

    Args:
        cipher: the one that is in use.
    """

    def __init__(self, cipher: str) -> None:
        self.cipher = cipher
        self._left, self._right = (self._build(side) for side in (0, 1))
        ipv4 = b"\x45\x00\x00\x54" + bytes(8) + b"\x0a\x00\x00\x01\x0a\x00\x00\x02"
        self._frame = bytes(10) + _MACS[1] + _MACS[0] + b"\x08\x00" + ipv4 + bytes(64)

    def step(self, now: float) -> bytes | None:
        """Carries one frame from left to right; returns it as it would be written to a TAP."""
        train = self._left.handle_frame(1, self._frame, now)
        written = None if train is None else self._right.handle_datagram(bytes(train.buffers[0]), 0, _ADDRESS, now)
        self._left.poll_timeout()
        self._right.poll_timeout()
        return None if written is None else written[1]

    def _build(self, side: int) -> Forwarder:
        forwarder = Forwarder()
        forwarder.apply(
            (
                OpenDevice(1, "", _MACS[side], 1500),
                AddPeer(1, 1, (_MACS[1 - side],), ("10.0.0.1", "10.0.0.2")[1 - side :][:1], True),
                InstallSession(1, self.cipher, 2 - side, 1 + side, _KEYS[side], _KEYS[1 - side], True),
                SetPath(1, (Target(_ADDRESS.host, _ADDRESS.port),)),
            ),
            0.0,
        )
        return forwarder
