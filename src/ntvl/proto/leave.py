"""Leave to punch heavily: asked of a supernode, which lets one punch at a time happen behind a public address.

Beside that a node punches with one peer at a time, whatever its peers say of leave that they have got.
"""

from collections.abc import Callable
from typing import Final

from ntvl.proto.context import Context
from ntvl.proto.registration import Registration
from ntvl.wire.control import PunchReply, PunchRequest

__all__ = ["Leave", "OnLeave"]

_OPEN_MAX: Final = 256


OnLeave = Callable[[float, float], None]
"""Takes the answer, and the time now: 0.0 is leave, else come back in so many seconds."""


class Leave:
    """Asks supernodes for leave.

    Args:
        supernode: returns one that has us and may have the peer in a community, None where there is none.
    """

    def __init__(self, context: Context, supernode: Callable[[bytes], Registration | None]) -> None:
        self._context = context
        self._supernode = supernode
        self._open: dict[int, OnLeave] = {}
        self._asked: dict[tuple[bytes, bytes], Registration] = {}
        self._puncher: object = None

    def ask(self, community: bytes, peer: bytes, hosts: tuple[str, ...], on_leave: OnLeave) -> bool:
        """Asks for leave to punch with a peer; returns whether there was anybody to ask.

        Args:
            hosts: the public IPv4 addresses that the punch goes between, at most two, as far as they are known.
        """
        registration = self._supernode(community)
        if registration is None:
            return False
        request = int.from_bytes(self._context.random(4), "big")
        while len(self._open) >= _OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[request] = on_leave
        self._asked[community, peer] = registration
        registration.send(PunchRequest(request, community, peer, hosts=hosts))
        return True

    def give_back(self, community: bytes, peer: bytes) -> None:
        """Says that the punch with a peer is over."""
        registration = self._asked.pop((community, peer), None)
        if registration is not None:
            registration.send(PunchRequest(0, community, peer, done=True))

    def handle_reply(self, reply: PunchReply, now: float) -> None:
        """Takes a supernode's answer; one to no question is ignored."""
        on_leave = self._open.pop(reply.request, None)
        if on_leave is not None:
            on_leave(reply.wait_s, now)

    def begin(self, puncher: object) -> bool:
        """Returns whether this node may punch heavily for `puncher` now: nobody else does."""
        if self._puncher is None:
            self._puncher = puncher
        return self._puncher is puncher

    def end(self, puncher: object) -> None:
        """Takes the news that a punch is over, or was never begun."""
        if self._puncher is puncher:
            self._puncher = None
