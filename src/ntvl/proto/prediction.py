"""Port prediction: a NAT that gives each new mapping the next port tells us which port a peer will see.

The side behind such a NAT looks where its counter stands, by asking the supernode from a fresh socket, and tells the
peer through the relay at which ports to aim.

    against one port for all peers
        three fresh sockets, one after the other: a question to the supernode, a check to the peer, a question again.
        The check's mapping has one of the ports between the two answers: mostly there is but one. The peer sends one
        check to each, which opens its filter, and the check that we repeat comes in.
    against another sequential NAT
        each side asks once, and both know where the other's counter stands. Each new destination takes the next port,
        so the n-th check leaves from a known port, to the port from which its counterpart will come. Between the
        question and the checks, other traffic may take ports on either side. Only the sum of the two drifts matters:
        one side aims its n-th check at the n-th port, the other at every second one, so that whatever the sum, up to
        16, one pair meets.

Against a NAT that draws ports at random there is nothing to tell, and nothing to gain.

Parameters: FIELD's 25 sockets times 40 ports every 100 ms become some 20 packets, for the counter is read right before
it is used. Source: the idea is as old as RFC 5128 section 3.4; the bracket and the slide are our own.
"""

from typing import Final

from ntvl.nat import PortAllocation
from ntvl.proto.technique import Evidence, Facts, Schedule, Shot, Technique, find_private_end, is_dependent, public_aim
from ntvl.wire.control import AIM_PORTS_MAX, Aim, Candidate, Nat

__all__ = ["DRIFT_MAX", "Prediction"]

DRIFT_MAX: Final = 16
"""Ports that other traffic may take meanwhile, of both NATs together, less one."""

_BEFORE: Final = 1
_SHOOTER: Final = 2
_AFTER: Final = 3
_DURATION_S: Final = 3.0
_ASK_S: Final = (0.0, 0.25, 0.75, 1.5)
_REPEAT_S: Final = (0.0, 0.2, 0.4, 0.7, 1.0, 1.4, 1.8, 2.2, 2.6)
_WARY_S: Final = 1.0
"""So long the peer may take to aim at us."""
_AIM_S: Final = (0.0, 0.3, 0.8)
_SPACING_S: Final = 0.005
_PORT_MIN: Final = 1024
"""No NAT gives lower ones to who does not ask for them, and programs that others rely on listen there."""
_PORT_MAX: Final = 65535


class Prediction(Technique):
    """Is the technique for sequential ports on one side or both."""

    name = "port-prediction"

    def obstacle(self, facts: Facts) -> str:
        """Returns why there is nothing to predict."""
        if not facts.guesses:
            return "one side lets no ports be guessed"
        if not facts.udp:
            return "UDP does not get out at one end"
        nats = (facts.local_nat, facts.remote_nat)
        if not all(nat.mapping for nat in nats):
            return "one side does not know its NAT yet"
        dependent = [nat for nat in nats if is_dependent(nat)]
        if not dependent:
            return "no NAT chooses a new port for each peer"
        if not all(_is_sequential(nat) for nat in dependent):
            return "a NAT draws its ports at random"
        if facts.server is None and is_dependent(facts.local_nat):
            return "no supernode tells where our ports stand"
        return find_private_end(facts)

    def duration_s(self, facts: Facts) -> float:
        """Returns 3 s: two round trips through the relay, and repetitions."""
        return _DURATION_S

    def sockets(self, facts: Facts) -> int:
        """Returns the sockets that our questions and checks leave from; none where the peer predicts alone."""
        if not is_dependent(facts.local_nat):
            return 0
        return _SHOOTER if is_dependent(facts.remote_nat) else _AFTER

    def schedule(self, facts: Facts) -> Schedule:
        """Returns the questions to the supernode and, where the peer keeps one port, the check between them."""
        aim = public_aim(facts)
        if aim is None or self.obstacle(facts) or not is_dependent(facts.local_nat) or facts.server is None:
            return []
        server = Candidate("server", facts.server.host, facts.server.port)
        shots = [Shot(at, server, _BEFORE, is_question=True) for at in _ASK_S]
        if not is_dependent(facts.remote_nat):
            shots += [Shot(at, aim, _SHOOTER, True, ttl=_ttl(facts, at)) for at in _REPEAT_S]
            shots += [Shot(at, server, _AFTER, is_question=True) for at in _ASK_S]
        return sorted(shots, key=lambda shot: shot.delay_s)  # Stable: of one moment, in the order of the sockets.

    def announce(self, facts: Facts, evidence: Evidence) -> Aim | None:
        """Returns where the peer shall aim, once the answers are there."""
        before, after = evidence.seen.get(_BEFORE), evidence.seen.get(_AFTER)
        step = facts.local_nat.step or 1
        if before is None or not is_dependent(facts.local_nat):
            return None
        if is_dependent(facts.remote_nat):
            return Aim(facts.seed, before, step, 2 * DRIFT_MAX)
        if after is None:
            return None
        between = (after - before) / step
        count = int(between) if 0 < between <= AIM_PORTS_MAX else DRIFT_MAX
        return Aim(facts.seed, before, step, count)

    def react(self, facts: Facts, evidence: Evidence) -> Schedule:
        """Returns the checks to the ports that the peer told."""
        peer, told = public_aim(facts), evidence.aim
        if peer is None or told is None or self.obstacle(facts) or not _is_sequential(facts.remote_nat):
            return []
        if not is_dependent(facts.local_nat):
            ports = _ports(told, 1, min(told.count, AIM_PORTS_MAX))
            return [
                Shot(start + place * _SPACING_S, _at(peer, port), 0, is_guess=True)
                for start in _AIM_S
                for place, port in enumerate(ports)
            ]
        if _BEFORE not in evidence.seen:
            return []
        # Our n-th check comes from our counter's n-th port. See above: one side slides.
        ports = _ports(told, 2, DRIFT_MAX) if facts.ours else _ports(told, 1, 2 * DRIFT_MAX)
        return [Shot(0.0, _at(peer, port), _SHOOTER, True, ttl=_ttl(facts, 0.0)) for port in ports] + [
            Shot(start + place * _SPACING_S, _at(peer, port), _SHOOTER, is_guess=True)
            for start in (0.5, 1.2)
            for place, port in enumerate(ports)
        ]


def _ttl(facts: Facts, at_s: float) -> int:
    """Returns the time to live of a check that the peer's NAT may not have asked for yet."""
    return facts.opener_ttl if facts.is_wary and at_s < _WARY_S else 0


def _is_sequential(nat: Nat) -> bool:
    return is_dependent(nat) and nat.allocation == PortAllocation.SEQUENTIAL


def _ports(told: Aim, stride: int, count: int) -> list[int]:
    """Returns the ports from the one after `told.port` on, every `stride`-th step, as far as they are ports."""
    ports = [told.port + told.step * (1 + stride * place) for place in range(count)]
    return [port for port in ports if _PORT_MIN <= port <= _PORT_MAX]


def _at(peer: Candidate, port: int) -> Candidate:
    return Candidate(peer.kind, peer.host, port, peer.priority)
