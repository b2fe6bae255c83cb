"""Evidence that the supernode cannot read what it relays, made so that it could fail.

The recording runs from before the first packet. Two members whose packets go through the relay send each other a known
text and check that it arrives. The recording must have the relayed datagrams of that very moment, and the same search
must find another text that was sent in the clear on purpose. Only then does it mean something that the known text is
nowhere in it.
"""

import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from ntvl.lab.capture import Capture
from ntvl.lab.stage import Stage

__all__ = ["TEXTS", "Proof", "prove_unreadable"]

TEXTS: Final = 20
"""How often the known text goes to and fro."""

_PORT: Final = 7777
_DISCARD_PORT: Final = 9
"""RFC 863: where a datagram may be thrown away."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Is what a recording at the supernode shows.

    Args:
        delivered: how often the text came back unchanged, out of `TEXTS`.
        datagrams: how many the recording has in all.
        relayed_meanwhile: how many relayed ones it has of the time in which the text was sent.
        text_found: whether the text occurs anywhere in it.
        clear_text_found: whether the other text does, which was sent in the clear.
        dropped: frames that the recording misses.
    """

    source: str
    target: str
    text: str
    delivered: int
    datagrams: int
    relayed_meanwhile: int
    text_found: bool
    clear_text_found: bool
    dropped: int

    @property
    def failure(self) -> str:
        """Returns why it proves nothing, or the opposite; empty when it holds."""
        if self.text_found:
            return "the text that two members sent each other can be read in the supernode's recording"
        if self.delivered < TEXTS:
            return f"only {self.delivered} of {TEXTS} texts came through, so the recording proves nothing"
        expected = 4 * self.delivered  # to and fro, each into the supernode and out of it
        if self.relayed_meanwhile < expected:
            seen = f"{self.relayed_meanwhile} relayed datagram{'' if self.relayed_meanwhile == 1 else 's'}"
            return f"the recording has {seen} where at least {expected} must be"
        if not self.clear_text_found:
            return "the recording does not even show a text that was sent in the clear, so it proves nothing"
        if self.dropped:
            return f"the recording misses {self.dropped} frame{'' if self.dropped == 1 else 's'}, so it proves nothing"
        return ""


def prove_unreadable(
    stage: Stage, capture: Capture, supernode: str, source: tuple[str, str], target: tuple[str, str]
) -> Proof:
    """Returns what a running capture at `supernode` shows of two members, and ends it.

    Args:
        source: a member's machine and its address on the virtual network.
        target: the same of another, which it reaches through the relay.
    """
    text = f"What {source[0]} tells {target[0]} is nobody else's business ({os.urandom(8).hex()})."
    clear = f"This went out in the clear, on purpose ({os.urandom(8).hex()})."
    began = time.time()
    delivered = _exchange(stage, source, target, text.encode())
    ended = time.time()
    with stage.open_socket(source[0], socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(clear.encode(), (stage.address(supernode), _DISCARD_PORT))
    capture.stop()
    datagrams = capture.datagrams()
    return Proof(
        source[0],
        target[0],
        text,
        delivered,
        len(datagrams),
        sum(one.is_relayed and began <= one.at <= ended for one in datagrams),
        capture.contains(text.encode()),
        capture.contains(clear.encode()),
        capture.dropped,
    )


def _exchange(stage: Stage, source: tuple[str, str], target: tuple[str, str], text: bytes) -> int:
    came_back = 0
    with ExitStack() as sockets:
        ends = []
        for machine, address in (source, target):
            end = sockets.enter_context(stage.open_socket(machine, socket.AF_INET, socket.SOCK_DGRAM))
            end.settimeout(1.0)
            end.bind((address, _PORT))
            ends.append(end)
        for _ in range(TEXTS):
            try:
                ends[0].sendto(text, (target[1], _PORT))
                ends[1].sendto(ends[1].recv(2048), (source[1], _PORT))
                came_back += ends[0].recv(2048) == text
            except TimeoutError:
                continue
    return came_back
