"""What a NAT or firewall does to TCP: translates as it does UDP, in a table of its own.

It differs from UDP in three things, as connection tracking has it, in Linux and in the laboratory: connections are
filtered by address and port whatever the box does to UDP, since a SYN from elsewhere is a new connection; only a SYN
makes an entry, so what a reboot has forgotten stays forgotten; and an entry lives for hours.

What it lets out unasked of a SYN that comes from both sides is RFC 5382 REQ-2: the other's SYN passes once one of ours
has gone out. A SYN that nobody asked for is dropped in silence (REQ-4 asks for six seconds of that at least).
"""

from dataclasses import replace
from random import Random
from typing import Final

from ntvl.nat import Filtering, NatBehaviour, Passage
from ntvl.sim.nat import Nat

__all__ = ["TcpNat"]

_LIFETIME_S: Final = 7440.0
"""RFC 5382 section 5, REQ-5: at least two hours and four minutes."""
_HTTPS_PORT: Final = 443


class TcpNat(Nat):
    """Translates and filters TCP, for one address family; `Nat` has the arguments."""

    def __init__(self, behaviour: NatBehaviour, address: str, random: Random) -> None:
        filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
        super().__init__(replace(behaviour, filtering=filtering, lifetime_s=_LIFETIME_S), address, random)

    def passes(self, port: int) -> bool:
        """Returns whether it lets out anything to a port."""
        passes = self.behaviour.passes
        return passes in (Passage.ALL, Passage.NO_UDP) or (passes is Passage.TCP_443 and port == _HTTPS_PORT)
