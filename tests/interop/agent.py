"""The production `Pathfinder` on UDP sockets of a lab's machine; what the test says stands for the sealed offers."""

import random
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.lab.stage import Stage
from ntvl.proto.candidates import build_candidates
from ntvl.proto.context import Context
from ntvl.proto.leave import Leave
from ntvl.proto.path import Path
from ntvl.proto.pathfinder import Pathfinder
from ntvl.proto.sockets import Sockets
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Answer, Candidate, Fire, Message, Offer, Probe
from ntvl.wire.stun import StunClass, parse_stun

NUMBER: Final = 7
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class Agent:
    """Is one node's way of finding one peer.

    Args:
        controlling: the role that its keys give it.
        families: 4, 6 or both.
        tie_breaker: as each node draws one.
    """

    def __init__(
        self,
        stage: Stage,
        machine: str,
        *,
        controlling: bool,
        families: tuple[int, ...] = (4, 6),
        tie_breaker: int = 1 << 63,
    ) -> None:
        chance = random.Random().randbytes
        keys = sorted((NodeKey.generate(chance) for _ in range(2)), key=lambda key: key.public)
        ours, theirs = (keys[1], keys[0]) if controlling else keys
        self.sockets: dict[int, socket.socket] = {}
        port = 0
        for family in families:
            udp = stage.open_socket(machine, _FAMILIES[family], socket.SOCK_DGRAM)
            if family == 6:
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            udp.bind(("" if family == 4 else "::", port))
            port = udp.getsockname()[1]
            self.sockets[family] = udp
        hosts = [stage.address(machine, ipv6=family == 6) for family in families]
        self.candidates = build_candidates(hosts, port, (), ())
        self.said: list[Message] = []
        self.probes: deque[tuple[int, Target]] = deque()
        self.data: list[bytes] = []
        self.checks_heard: list[tuple[float, bool]] = []
        """When each check came that was answered, and whether it nominated."""
        self.errors_heard: list[int] = []
        self.errors_said: list[int] = []
        self.drops: Counter[str] = Counter()
        self.context = Context(chance, time.time)
        surroundings = Surroundings(
            ours,
            aes=True,
            direct=True,
            tie_breaker=tie_breaker,
            sockets=Sockets(self.context),
            candidates=lambda: self.candidates,
            leave=Leave(self.context, lambda community: None),
            refresh=lambda now: None,
            tell=self.context.events.append,
            url=str,
        )
        self.pathfinder = Pathfinder(
            self.context,
            surroundings,
            handle=7,
            remote=theirs.public,
            community=bytes(16),
            overlay=(),
            send=self._say,
            wake=lambda now: None,
        )

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *error: object) -> None:
        for udp in self.sockets.values():
            udp.close()

    @property
    def ufrag(self) -> str:
        return self.pathfinder.checks.ufrag

    @property
    def password(self) -> str:
        return self.pathfinder.checks.password

    @property
    def is_controlling(self) -> bool:
        return self.pathfinder.paths.controlling

    @property
    def selected(self) -> Path | None:
        return self.pathfinder.paths.selected

    def begin(
        self, ufrag: str, password: str, candidates: tuple[Candidate, ...], *, offers: bool, waits: bool = False
    ) -> None:
        """Has the two sides know each other; `offers`: it is we who made the offer; `waits`: the other side checks
        first.
        """
        now = time.monotonic()
        self.pathfinder.last_data = now
        negotiation = self.pathfinder.negotiation
        if offers:
            self.pathfinder.handle_session(now, initiator=True, fresh=True)
            self._turn(now)
            (offer,) = [message for message in self.said if isinstance(message, Offer)]
            negotiation.handle_answer(Answer(offer.attempt, ufrag, password, candidates), now)
        else:
            origin = Origin(Address("192.0.2.1", 1971))
            negotiation.handle_offer(Offer(NUMBER, ufrag, password, candidates), origin, now)
            if not waits:
                negotiation.handle_fire(Fire(NUMBER), now)
        self.pathfinder.settle(now)

    def run_until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Runs until `done`.

        Raises:
            TimeoutError: it did not come to that.
        """
        until = time.monotonic() + timeout_s
        while not done():
            now = time.monotonic()
            if now > until:
                raise TimeoutError(f"the agent did not {what} within {timeout_s:g} s; drops: {dict(self.drops)}")
            self._turn(now)
            readable, _, _ = select.select(list(self.sockets.values()), [], [], 0.01)
            for udp in readable:
                self._receive(udp)

    def run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.run_until(lambda: time.monotonic() >= end, seconds + 5.0, "rest")

    def send_data(self, data: bytes) -> None:
        """Sends application data where the pathfinder has it go."""
        for target in self.pathfinder.paths.targets():
            self._transmit(data, target.host, target.port)

    def _say(self, message: Message, target: Target | None) -> bool:
        self.said.append(message)
        if isinstance(message, Probe) and target is not None:
            self.probes.append((message.id, target))
        return True

    def _turn(self, now: float) -> None:
        self.pathfinder.last_data = now
        while self.probes:  # Another make of ICE has nothing sealed to say: we say for it that data gets through.
            number, target = self.probes.popleft()
            self.pathfinder.handle_probe_reply(number, now, target)
        self.pathfinder.settle(now)
        due = self.pathfinder.poll_timeout(now)
        if due is not None and due <= now:
            self.pathfinder.handle_timeout(now)
            self.pathfinder.settle(now)
        while self.context.transmits:
            transmit = self.context.transmits.popleft()
            error = parse_stun(transmit.data).error_code
            if error is not None:
                self.errors_said.append(error)
            self._transmit(transmit.data, *transmit.address)

    def _transmit(self, data: bytes, host: str, port: int) -> None:
        udp = self.sockets.get(6 if ":" in host else 4)
        if udp is not None:
            udp.sendto(data, (host, port))

    def _receive(self, udp: socket.socket) -> None:
        data, source = udp.recvfrom(2048)
        now = time.monotonic()
        origin = Origin(Address(*source[:2]))
        if data[0] > 3:  # RFC 7983
            self.data.append(data)
            return
        try:
            message = parse_stun(data)
            if message.error_code is not None:
                self.errors_heard.append(message.error_code)
            if message.cls is StunClass.REQUEST:
                self.pathfinder.handle_check(message, data, origin, now)
                self.checks_heard.append((now, message.use_candidate))
            else:
                self.pathfinder.handle_check_answer(message, data, origin, now)
        except PeerError as error:
            self.drops[error.reason] += 1
        self._turn(now)
