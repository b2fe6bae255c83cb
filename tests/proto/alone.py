"""A pathfinder without a peer: the test is the other side."""

import ipaddress
import random

from tests.proto.peering import COMMUNITY, SUPERNODE

from ntvl.dataplane.interface import Target
from ntvl.identity.keys import NodeKey
from ntvl.proto.context import Context
from ntvl.proto.leave import Leave
from ntvl.proto.pathfinder import Pathfinder
from ntvl.proto.sockets import Sockets
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Message, Nat, Offer, Probe, PunchRequest
from ntvl.wire.stun import StunClass, build_binding_request, build_binding_response, parse_stun

RELAY = Target(*SUPERNODE, 0, (72, 71))
THERE, ELSEWHERE = Address("198.51.100.2", 4002), Address("198.51.100.3", 4003)
OVERLAY = (ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd12::/64"))
UFRAG, PASSWORD = "theirs00", "p" * 24


class Desk:
    """Stands for a registration: keeps what is said to the supernode."""

    def __init__(self) -> None:
        self.said: list[PunchRequest] = []

    def send(self, message: PunchRequest) -> None:
        self.said.append(message)


class Alone:
    """Is a pathfinder without a peer: the test is the other side."""

    def __init__(
        self,
        *,
        controlling: bool = True,
        relay: bool = True,
        direct: bool = True,
        nat: Nat = UNKNOWN_NAT,
        desk: Desk | None = None,
        server: Address | None = None,
    ) -> None:
        chance = random.Random(1).randbytes
        keys = sorted((NodeKey.generate(chance) for _ in range(2)), key=lambda key: key.public)
        ours, theirs = (keys[1], keys[0]) if controlling else keys
        self.context = Context(chance, lambda: 0.0)
        self.said: list[tuple[Message, Target | None]] = []
        self.refreshed: list[float] = []
        self.candidates = (Candidate("host", "198.51.100.1", 4001, 9),)
        self.woken: list[float] = []
        self.surroundings = surroundings = Surroundings(
            ours,
            aes=True,
            direct=direct,
            nat=nat,
            server=lambda: server,
            tie_breaker=1,
            sockets=Sockets(self.context),
            candidates=lambda: self.candidates,
            leave=Leave(self.context, lambda community: desk),  # type: ignore[arg-type,return-value]
            refresh=self.refreshed.append,
            url=str,
            tell=self.context.events.append,
        )
        self.turn = surroundings.turn
        self.pathfinder = Pathfinder(
            self.context,
            surroundings,
            handle=7,
            remote=theirs.public,
            overlay=OVERLAY,
            community=COMMUNITY.id,
            send=self._send,
            wake=self.woken.append,
        )
        if relay:
            self.pathfinder.set_relay(0, RELAY)

    def _send(self, message: Message, target: Target | None) -> bool:
        self.said.append((message, target))
        return True

    def play(self, start: float, end: float) -> None:
        """Lets time pass as a peer would, that is in use all along."""
        self.pathfinder.last_data = start
        self.pathfinder.settle(start)
        for _ in range(10_000):
            at = self.pathfinder.poll_timeout(start)
            if at is None or at > end:
                return
            start = max(at, start)
            self.pathfinder.last_data = start
            self.pathfinder.handle_timeout(start)
            self.pathfinder.settle(start)
        raise AssertionError("the pathfinder never comes to rest")

    def sent(self) -> list[tuple[Address, bytes]]:
        """Takes the STUN messages that went out to arrive."""
        taken = [(t.address, t.data) for t in self.context.transmits if not t.ttl]
        self.context.transmits.clear()
        return taken

    def messages(self, kind: type) -> list[Message]:
        return [message for message, _ in self.said if isinstance(message, kind)]

    def offer(
        self,
        now: float,
        *hosts: Address,
        number: int = 5,
        password: str = PASSWORD,
        nat: Nat = UNKNOWN_NAT,
        kind: str = "host",
    ) -> None:
        candidates = tuple(Candidate(kind, *host) for host in hosts)
        self.offer_candidates(now, *candidates, number=number, password=password, nat=nat)

    def offer_candidates(
        self, now: float, *candidates: Candidate, number: int = 5, password: str = PASSWORD, nat: Nat = UNKNOWN_NAT
    ) -> None:
        origin = Origin(SUPERNODE, 0, Relay(71, 72))
        self.pathfinder.negotiation.handle_offer(Offer(number, UFRAG, password, candidates, nat), origin, now)
        self.pathfinder.settle(now)

    def check(self, now: float, origin: Address = THERE, *, use: bool = False, password: str = "") -> None:
        checks = self.pathfinder.checks
        data = build_binding_request(
            random.Random(now).randbytes(12),
            username=f"{checks.ufrag}:{UFRAG}",
            password=password or checks.password,
            priority=1,
            controlling=None if checks.controlling else 2,
            controlled=2 if checks.controlling else None,
            use_candidate=use,
        )
        self.pathfinder.handle_check(parse_stun(data), data, Origin(origin), now)
        self.pathfinder.settle(now)

    def answer_all(self, now: float, *hosts: Address) -> None:
        """Answers the checks that went to these hosts, and the probes by which data is proven to get through."""
        for to, data in self.sent():
            if to in hosts and parse_stun(data).cls is StunClass.REQUEST:
                answer = build_binding_response(
                    parse_stun(data).transaction, Address("198.51.100.1", 4001), password=PASSWORD
                )
                self.pathfinder.handle_check_answer(parse_stun(answer), answer, Origin(to), now)
                self.pathfinder.settle(now)
        said, self.said = self.said, []
        for message, target in said:
            if isinstance(message, Probe) and target is not None and Address(target.host, target.port) in hosts:
                self.pathfinder.handle_probe_reply(message.id, now, target)
                self.pathfinder.settle(now)
            else:
                self.said.append((message, target))
