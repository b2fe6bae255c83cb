"""TCP simultaneous open: a direct connection where UDP is dropped.

Each side binds a TCP port, learns as which address a supernode sees it, and tells the other through the relay. Then
both connect to each other, from that port, again and again: a NAT that drops what comes unasked lets the other's SYN in
once one of ours has gone out to where it comes from, and both kernels take the other's SYN for the answer to their own
(RFC 9293 section 3.5, figure 8; RFC 5128 section 3.4). The port listens as well, for where there is no NAT, or one
that gives each peer another port, the other's SYN comes from elsewhere.

Where a NAT counts its ports up or down, the n-th SYN has the n-th port after the one that the supernode saw: the other
side connects to the next 16, and the counting side to the other's public address before any other. That serves where
one side counts; against another that counts, and where ports are random, connections are not guessed: each guess would
cost an entry in the NAT's table for a minute and more.

Only where UDP does not get out at one end, or an attempt has failed that the NATs allow, so that something drops UDP
between just these two: a datagram path is worth more. What the connection carries are the frames
of relayed streams, and its loopback address is checked like any path.

Source of the parameters: 6 s are three of a kernel's retransmissions of a SYN at 1 s, 2 s and more of our own.
"""

from collections.abc import Iterable
from typing import Final

from ntvl.nat import PortAllocation
from ntvl.proto.technique import Facts, Schedule, Technique, is_dependent
from ntvl.wire.address import Address
from ntvl.wire.control import Candidate, Nat

__all__ = ["PORTS_AHEAD", "REMOTES_MAX", "TcpOpen", "plan_remotes"]

PORTS_AHEAD: Final = 16
"""Ports of a counting NAT that are tried."""
REMOTES_MAX: Final = 24
PORT_MIN: Final = 1024
"""No peer has us connect to a well-known port: what listens there may take bytes of ours for an order."""
_DURATION_S: Final = 6.0


class TcpOpen(Technique):
    """Is the technique for networks without UDP."""

    name = "tcp-simultaneous-open"
    dials = True

    def obstacle(self, facts: Facts) -> str:
        """Returns why there is no need, or nothing to connect to."""
        if facts.udp and not _is_in_vain(facts):
            return "UDP is not known to be dropped"
        return "" if facts.remote else "the peer offered no address"

    def duration_s(self, facts: Facts) -> float:
        """Returns 6 s: a round trip to the supernode, one through the relay, and some SYNs."""
        return _DURATION_S

    def sockets(self, facts: Facts) -> int:
        """Returns 0: the connections are the runtime's."""
        return 0

    def schedule(self, facts: Facts) -> Schedule:
        """Returns nothing: each connection that opens is checked as it comes."""
        return []


def _is_in_vain(facts: Facts) -> bool:
    """Returns whether UDP has failed although both ends have one port for all peers."""
    nats = (facts.local_nat, facts.remote_nat)
    return facts.number > 1 and all(nat.mapping and not is_dependent(nat) for nat in nats)


def plan_remotes(candidates: Iterable[Candidate], nat: Nat, *, guesses: bool) -> list[Address]:
    """Returns the addresses to connect to, in order, at most `REMOTES_MAX`.

    Args:
        candidates: the peer's, of TCP, as far as they are usable.
        nat: the NAT in front of the peer.
        guesses: whether ports may be guessed.
    """
    wanted = sorted((c for c in candidates if c.port >= PORT_MIN), key=lambda c: (c.kind == "host", -c.priority))
    remotes = [Address(c.host, c.port) for c in wanted]
    if guesses and is_dependent(nat) and nat.allocation == PortAllocation.SEQUENTIAL:
        seen = next((c for c in wanted if c.kind == "srflx" and ":" not in c.host), None)
        if seen is not None:
            ports = (seen.port + (nat.step or 1) * place for place in range(1, PORTS_AHEAD + 1))
            remotes = [Address(seen.host, port) for port in ports if PORT_MIN <= port <= 65535] + remotes
    return list(dict.fromkeys(remotes))[:REMOTES_MAX]
