"""Simultaneous UDP: both sides send to every address of the other at an agreed moment.

A NAT with endpoint-independent mapping shows every peer the same public address, so what a supernode saw is where a
peer can aim; its filter opens for the peer once we have sent there ourselves (RFC 5128 section 3.3). When both sides
send within one round trip of each other, each one's packets find the other's filter open, at the latest on the second
try. Hosts on one LAN meet at their host candidates in the same burst, hosts without NAT at theirs.

The burst is three checks for each candidate at 0, 200 and 400 ms, then one a second to 5 s: a filter that opened
late, or a lost packet, costs one more try. Candidates are spaced by 5 ms (RFC 8445 section 14.2 asks for 50 ms
between transactions to protect small NATs; a candidate list here has at most 24 entries, so the burst stays under 200
packets a second).

Openers go out half a round trip before, with a time to live that ends behind our own NAT. They open its filter, so that
the peer's first check comes in however badly the moment was met, and do not reach the peer's NAT: some that take what
nobody asked for remember it, and have the peer's own check leave from another port (`NatBehaviour.takes_unsolicited`).
"""

from typing import Final

from ntvl.proto.technique import Facts, Schedule, Shot, Technique, is_dependent
from ntvl.wire.address import is_public
from ntvl.wire.control import Candidate

__all__ = ["Simultaneous"]

_ROUNDS_S: Final = (0.0, 0.2, 0.4, 1.4, 2.4, 3.4, 4.4)
_SPACING_S: Final = 0.005
_EASY_S: Final = 5.0
_HARD_S: Final = 1.0


class Simultaneous(Technique):
    """Is the technique for endpoint-independent mapping on both sides, open hosts and hosts on one LAN."""

    name = "simultaneous-udp"

    def duration_s(self, facts: Facts) -> float:
        """Returns 5 s; less where others are needed: a NAT is known to choose a new port for each peer, or UDP does not
        get out, so that only a LAN is left for it.
        """
        is_hard = is_dependent(facts.local_nat) or is_dependent(facts.remote_nat) or not facts.udp
        return _HARD_S if is_hard else _EASY_S

    def sockets(self, facts: Facts) -> int:
        """Returns 0: all leaves from the main port, which is what the peer knows of."""
        return 0

    def obstacle(self, facts: Facts) -> str:
        """Returns what is missing: an address to aim at."""
        if not facts.remote:
            return "the peer offered no address"
        families = {":" in c.host for c in facts.local} & {":" in c.host for c in facts.remote}
        return "" if families else "one side has only IPv4 and the other only IPv6"

    def openers(self, facts: Facts) -> Schedule:
        """Returns one opener to each address that is not of a LAN."""
        if not facts.udp:
            return []
        aims = (aim for aim in self._aims(facts) if aim.kind != "host" or is_public(aim.host))
        return [Shot(0.0, aim, ttl=facts.opener_ttl) for aim in aims]

    def schedule(self, facts: Facts) -> Schedule:
        """Returns each round over all candidates, the most promising first."""
        aims = self._aims(facts)
        end = self.duration_s(facts)
        return [
            Shot(start + place * _SPACING_S, aim)
            for start in _ROUNDS_S
            if start < end
            for place, aim in enumerate(aims)
        ]

    def _aims(self, facts: Facts) -> list[Candidate]:
        """Returns the peer's addresses of families that we have, the most promising first."""
        families = {":" in c.host for c in facts.local}
        return sorted((c for c in facts.remote if (":" in c.host) in families), key=lambda c: -c.priority)
