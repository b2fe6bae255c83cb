"""Birthday punching: many ports open on one side, many guesses on the other.

Where one side's NAT draws a random port for each peer and the other side's keeps one port for all, the first opens as
many mappings towards the second's address as a home router bears, and the second sends one check to each of as many
random ports: each guess meets one of the mappings with probability mappings/ports (the birthday bound), and opens its
own filter for exactly that port at the same time. With 128 mappings among 64,512 ports, 2,000 guesses meet one in
98 of 100 attempts, after 2.5 s in the mean; where the range of ports is known to be a block of 1,024, nearly always
within the first 40.

Parameters are FIELD's, which asks for a quarter of EasyTier's packets: one packet a port, at most 200 a second. Home
routers hold 1,024 to 4,096 flows, hence 128 on the side that opens them.
"""

from math import gcd
from typing import Final

from ntvl.proto.technique import Facts, Schedule, Shot, Technique, find_private_end, is_dependent, public_aim
from ntvl.wire.control import Candidate, Nat

__all__ = ["GUESSES_MAX", "MAPPINGS", "Birthday"]

MAPPINGS: Final = 128
"""Sockets, and so mappings, on the side whose NAT draws ports."""
GUESSES_MAX: Final = 2000
"""Packets of the other side in one attempt."""
PORT_MIN: Final = 1024
"""No NAT gives lower ones to who does not ask for them, and programs that others rely on listen there."""
_SPACING_S: Final = 0.005
_HEAD_START_S: Final = 0.3
"""So long mappings are made before guesses begin."""
_LAST_ANSWER_S: Final = 1.0


class Birthday(Technique):
    """Is the technique for random ports on one side and one port for all peers on the other."""

    name = "birthday"
    is_heavy = True

    def obstacle(self, facts: Facts) -> str:
        """Returns why guessing is of no use here."""
        if not facts.guesses:
            return "one side lets no ports be guessed"
        if not facts.udp:
            return "UDP does not get out at one end"
        if not facts.local_nat.mapping or not facts.remote_nat.mapping:
            return "one side does not know its NAT yet"
        dependent = [is_dependent(nat) for nat in (facts.local_nat, facts.remote_nat)]
        if all(dependent):
            return "both NATs choose a new port for each peer"
        if not any(dependent):
            return "no NAT chooses a new port for each peer"
        return find_private_end(facts)

    def duration_s(self, facts: Facts) -> float:
        """Returns the time that all guesses take, and their last answer."""
        return _HEAD_START_S + _guesses(facts) * _SPACING_S + _LAST_ANSWER_S

    def sockets(self, facts: Facts) -> int:
        """Returns how many mappings our side opens."""
        return MAPPINGS if is_dependent(facts.local_nat) else 0

    def schedule(self, facts: Facts) -> Schedule:
        """Returns one check from each socket, or one to each guessed port."""
        aim = public_aim(facts)
        if aim is None or self.obstacle(facts):
            return []
        if is_dependent(facts.local_nat):
            # Every other one, for behind a second NAT that is farther away an opener opens nothing.
            ttls = (facts.opener_ttl if facts.is_wary else 0, 0)
            return [Shot(index * _SPACING_S, aim, 1 + index, True, ttl=ttls[index % 2]) for index in range(MAPPINGS)]
        return [
            Shot(_HEAD_START_S + index * _SPACING_S, Candidate(aim.kind, aim.host, port, aim.priority), 0, True)
            for index, port in enumerate(_draw(_range(facts.remote_nat), _guesses(facts), facts.seed))
        ]


def _draw(ports: range, count: int, seed: int) -> list[int]:
    """Returns `count` of `ports`, each once, spread over all of them: a walk by a stride that meets every one."""
    stride = 1 + (seed >> 8) % len(ports)
    while gcd(stride, len(ports)) > 1:
        stride += 1
    return [ports[(seed + index * stride) % len(ports)] for index in range(count)]


def _guesses(facts: Facts) -> int:
    nat = facts.local_nat if is_dependent(facts.local_nat) else facts.remote_nat
    return min(GUESSES_MAX, len(_range(nat)))


def _range(nat: Nat) -> range:
    low, high = sorted((nat.low, nat.high))  # The peer's word, in whatever order.
    return range(max(low, PORT_MIN), max(high, PORT_MIN) + 1)
