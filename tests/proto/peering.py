"""Two peers back to back: a relay, a network that may be cut, and virtual time; no sleep, no clock."""

import heapq
import random
from collections.abc import Callable, Iterator

from ntvl.dataplane.interface import Activity, Command, PathActivity, SetPath, Target
from ntvl.errors import PeerError
from ntvl.identity.certificate import verify_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.proto.candidates import build_candidates
from ntvl.proto.context import Context
from ntvl.proto.events import NodeEvent, PathChanged
from ntvl.proto.handshake import Listener
from ntvl.proto.leave import Leave
from ntvl.proto.membership import Membership
from ntvl.proto.peer import Peer
from ntvl.proto.settings import CommunitySettings
from ntvl.proto.sockets import Sockets
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Candidate
from ntvl.wire.header import RELAY_HEADER_BYTES, Kind, is_stun, parse_header, parse_relay
from ntvl.wire.stun import StunClass, parse_stun

COMMUNITY = Community.from_seed("lan", b"a seed of sixteen bytes")
SUPERNODE = Address("203.0.113.1", 1971)
STANDBY = Address("203.0.113.2", 1971)
WALL = 1_800_000_000.0
RELAY_DELAY_S = 0.02
DIRECT_DELAY_S = 0.005
ROUNDS_MAX = 1000
"""Wake-ups at one moment before a machine counts as one that never comes to rest."""


class Side:
    """Is one of the two: what a node does around one peer, and nothing more."""

    def __init__(self, name: str, place: int, net: "Net", *, direct: bool = True) -> None:
        self.name = name
        self.net = net
        self.address = Address(f"198.51.100.{place}", 4000 + place)
        self.others: list[Address] = []
        """More addresses of this side: they are candidates, and what goes there arrives."""
        self.seen_as: Address | None = None
        """The public address of a NAT that nobody knows beforehand; then nothing reaches `address` from outside."""
        self.relay_id = 70 + place
        self.random = random.Random(f"{net.seed} {name}")
        self.key = NodeKey.generate(self.random.randbytes)
        self.direct = direct
        self.refreshes = 0
        self.commands: list[Command] = []
        self.events: list[NodeEvent] = []
        self.wall = WALL
        self.certifying_skew_s = 0.0
        """How far off the clock is by which this side's certificates are made."""
        self.settings = CommunitySettings(COMMUNITY, 0, "ntvl0", "static", f"10.77.0.{place}/16")

    def start(self, other: "Side") -> None:
        """Makes the peer, as a node that knows nothing would; called again, it is a program that was restarted."""
        self.context = Context(self.random.randbytes, lambda: self.wall)
        self.listener = Listener(self.key, self.random.randbytes, aes=True)
        self.membership = Membership(
            self.settings, self.key.public, self.name, lambda: self.wall + self.certifying_skew_s
        )
        self.peer = Peer(
            self.context,
            Surroundings(
                self.key,
                aes=True,
                direct=self.direct,
                tie_breaker=self.random.getrandbits(64),
                sockets=Sockets(self.context),
                candidates=self.candidates,
                leave=Leave(self.context, lambda community: None),
                refresh=self._refresh,
                tell=self.context.events.append,
                url=lambda via: f"supernode-{via}",
            ),
            self.membership,
            handle=other.relay_id,
            key=other.key.public,
            name="",
            addresses=(),
        )
        self._told: dict[Target, PathActivity] = {}
        self._moved = 0

    def use_relays(self, other: "Side", *, relays: int = 1) -> None:
        for via, supernode in enumerate((SUPERNODE, STANDBY)[:relays]):
            target = Target(supernode.host, supernode.port, 0, (other.relay_id, self.relay_id))
            self.peer.set_relay(via, target, self.net.now)

    def candidates(self) -> tuple[Candidate, ...]:
        hosts = [self.address, *self.others]
        found = [build_candidates([a.host], a.port, (), self.membership.overlay)[0] for a in hosts]
        return tuple(found)

    def _refresh(self, now: float) -> None:
        self.refreshes += 1

    def receives_at(self, to: Address) -> bool:
        return to in ((self.seen_as or self.address), *self.others)

    # --- as a node routes ---

    def handle(self, data: bytes, origin: Origin, now: float) -> None:
        try:
            self._route(data, origin, now)
        except PeerError as error:
            self.context.count(error.reason)

    def _route(self, data: bytes, origin: Origin, now: float) -> None:
        if is_stun(data):
            message = parse_stun(data)
            if message.cls is StunClass.REQUEST:
                self.peer.handle_check(message, data, origin, now)
            else:
                self.peer.handle_check_answer(message, data, origin, now)
        elif data[0] == Kind.INITIATION:
            received = self.listener.handle_initiation(data, repr(origin).encode(), now)
            if isinstance(received, bytes):
                relay = None if origin.relay is None else (origin.relay.source, origin.relay.target)
                self.context.send(received, Target(*origin.address, origin.socket, relay))
                return
            certificate = verify_certificate(received.payload, wall_time=self.wall, node=received.remote)
            self.peer.handle_initiation(received, certificate, origin, now)
        elif data[0] == Kind.RESPONSE:
            self.peer.handle_response(data, origin, now)
        elif data[0] == Kind.COOKIE:
            self.peer.handle_cookie(data, now)
        elif data[0] == Kind.CONTROL:
            self.peer.handle_control(data, parse_header(data)[1], origin, now)

    # --- as an engine tells ---

    def move(self, *heard_by: Target, sent: bool = True) -> None:
        """Has the data plane tell that frames went, and by which ways some came."""
        now = self.net.now
        self._moved += 1000
        for target in heard_by:
            self._told[target] = PathActivity(target, now, self._moved)
        paths = tuple(self._told.values())
        tx = self._moved if sent else 0
        activity = Activity(self.peer.handle, self._moved, tx, 1, 1, now if sent else 0.0, 1, paths)
        self.peer.handle_activity(activity, now)
        self.net.flush()

    # --- what a test asks ---

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where data goes now, as the data plane was told last."""
        return next((c.targets for c in reversed(self.commands) if isinstance(c, SetPath)), ())

    @property
    def path(self) -> str:
        return self.peer.path[0]

    def said(self, kind: type) -> list[NodeEvent]:
        return [e for e in self.events if isinstance(e, kind)]

    def told(self, kind: type) -> list[Command]:
        return [c for c in self.commands if isinstance(c, kind)]

    def paths_shown(self) -> list[str]:
        return [e.path for e in self.events if isinstance(e, PathChanged)]


class Net:
    """Carries datagrams between two sides by the relay and straight, until told otherwise.

    Attributes:
        lost: asked for each datagram (data without relay prefix, whether relayed, sender, receiver's address); True
            loses it.
        delay_s: asked for the same; how long one takes.
    """

    def __init__(self, seed: int = 1, *, relays: int = 1, direct: bool = True) -> None:
        self.seed = seed
        self.now = 100.0
        self.lost: Callable[[bytes, bool, Side, Address], bool] = lambda data, relayed, sender, to: False
        self.delay_s: Callable[[bool, Side, Address], float] = lambda relayed, sender, to: (
            RELAY_DELAY_S if relayed else DIRECT_DELAY_S
        )
        self.log: list[tuple[float, str, bool, bytes]] = []
        """(time, sender, relayed, datagram) of all that was sent, lost or not."""
        self._queue: list[tuple[float, int, Side, bytes, Origin]] = []
        self._sequence = 0
        self.left, self.right = Side("left", 1, self, direct=direct), Side("right", 2, self, direct=direct)
        self.left.start(self.right)
        self.right.start(self.left)
        if relays:
            self.left.use_relays(self.right, relays=relays)
            self.right.use_relays(self.left, relays=relays)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    @property
    def controlling(self) -> Side:
        return max(self.sides, key=lambda s: s.key.public)

    @property
    def controlled(self) -> Side:
        return min(self.sides, key=lambda s: s.key.public)

    def other(self, side: Side) -> Side:
        return self.right if side is self.left else self.left

    def flush(self) -> None:
        """Puts what the sides have to say on the wire."""
        for side in self.sides:
            context = side.context
            while context.commands:
                side.commands.append(context.commands.popleft())
            while context.events:
                side.events.append(context.events.popleft())
            while context.transmits:
                transmit = context.transmits.popleft()
                if not transmit.ttl:  # What shall not arrive does not.
                    self._send(side, transmit.data, transmit.address)

    def _send(self, sender: Side, data: bytes, to: Address) -> None:
        if to in (SUPERNODE, STANDBY):
            relay = parse_relay(data)
            receiver = next((s for s in self.sides if s.relay_id == relay.target), None)
            data = data[RELAY_HEADER_BYTES:]
            origin = Origin(to, 0, Relay(relay.target, relay.source))
        else:
            receiver = next((s for s in self.sides if s.receives_at(to)), None)
            origin = Origin(self._source(sender, to))
        relayed = origin.relay is not None
        self.log.append((self.now, sender.name, relayed, data))
        if receiver is None or self.lost(data, relayed, sender, to):
            return
        self._sequence += 1
        heapq.heappush(
            self._queue, (self.now + self.delay_s(relayed, sender, to), self._sequence, receiver, data, origin)
        )

    def _source(self, sender: Side, to: Address) -> Address:
        """Returns where a datagram seems to come from: each side's n-th address reaches the other's n-th."""
        others = self.other(sender).others
        return sender.others[others.index(to)] if to in others else sender.seen_as or sender.address

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> bool:
        """Lets time pass; returns whether `until` came true."""
        end = self.now + seconds
        while True:
            self.flush()
            if until is not None and until():
                return True
            due = [w.at for s in self.sides if (w := s.context.timers.next()) is not None]
            if self._queue:
                due.append(self._queue[0][0])
            at = min(due, default=end)
            if at > end:
                self.now = end
                return False
            if not due:
                self.now = end
                return False
            self.now = max(self.now, at)
            self._step()

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, receiver, data, origin = heapq.heappop(self._queue)
            receiver.handle(data, origin, self.now)
            self.flush()
        for side in self.sides:
            for _ in range(ROUNDS_MAX):
                wakeup = side.context.timers.next()
                if wakeup is None or wakeup.at > self.now:
                    break
                for _ in side.context.timers.due(self.now):
                    side.peer.handle_timeout(self.now)
                    self.flush()
            else:
                raise AssertionError(f"{side.name} asks to be woken for ever at {self.now}")

    def exchange(self) -> None:
        """Has both sides send frames by the ways that their data planes know, and tell what they heard."""
        heard = {side: list(self.arriving(self.other(side), side)) for side in self.sides}
        for side in self.sides:
            side.move(*heard[side])

    def arriving(self, sender: Side, receiver: Side) -> Iterator[Target]:
        """Yields the ways by which a frame of the sender would reach the receiver now, as the receiver sees them."""
        for target in sender.targets if sender.peer.link.sending is not None else ():
            to, relayed = Address(target.host, target.port), target.relay is not None
            if self.lost(bytes((Kind.DATA,)), relayed, sender, to):
                continue
            if relayed:
                yield Target(*to, 0, (sender.relay_id, receiver.relay_id))
            elif receiver.receives_at(to):
                yield Target(*self._source(sender, to))

    def sent(self, kind: int | None = None, *, since: float = 0.0, relayed: bool | None = None) -> int:
        """Counts the datagrams whose first byte is `kind`."""
        return sum(
            at >= since and (kind is None or data[0] == kind) and (relayed is None or by == relayed)
            for at, _, by, data in self.log
        )


def lose_direct(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
    return not relayed


def lose_relayed(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
    return relayed


def lose_all(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
    return True


def lose_nothing(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
    return False


def joined(seed: int = 1, *, relays: int = 1) -> Net:
    """Returns two sides with a session and a direct path, both idle."""
    net = Net(seed, relays=relays)
    net.left.peer.handle_wanted(net.now)
    assert net.run(3.0, until=lambda: all(s.path == "direct" for s in net.sides))
    net.run(0.1)
    return net


def keep(net: Net, seconds: float, *, step_s: float = 0.25, until: Callable[[], bool] = lambda: False) -> bool:
    """Has data flow both ways for so long; returns whether `until` came true."""
    end = net.now + seconds
    while net.now < end - 1e-9:
        net.exchange()
        net.run(step_s)
        if until():
            return True
    return False


def both_direct(net: Net) -> bool:
    return all(side.path == "direct" for side in net.sides)
