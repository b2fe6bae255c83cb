"""A supernode that does what a test says, built from Listener and Channel, and a world of virtual time around it."""

import heapq
import random
from collections.abc import Callable
from typing import Protocol

from ntvl.errors import PeerError
from ntvl.identity.certificate import parse_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Listener
from ntvl.proto.machine import Wakeup
from ntvl.proto.settings import CommunitySettings, NodeSettings
from ntvl.wire.address import Address, Origin, Relay, Transmit
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Leave,
    Left,
    Member,
    Message,
    Refused,
    Register,
    Registered,
    Roster,
    RosterRequest,
    build_message,
    parse_message,
)
from ntvl.wire.header import RELAY_HEADER_BYTES, Kind, parse_header, parse_relay

COMMUNITY = Community.from_seed("lan", b"a seed of sixteen bytes")
OTHER_COMMUNITY = Community.from_seed("office", b"another seed of sixteen")
WALL = 1_800_000_000.0
DELAY_S = 0.01
ROUNDS_MAX = 1000
"""Wake-ups at one moment before a machine counts as one that never comes to rest."""


class Driven(Protocol):
    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def poll_timeout(self) -> Wakeup | None: ...
    def poll_transmit(self) -> Transmit | None: ...


class Supernode:
    """Answers as a well-meaning supernode would, where a test has not said otherwise.

    Attributes:
        heard: every message that opened, in order.
        lease: the address that it grants, CIDR text, and `relay_id` the id; by node address where `leases` and
            `relay_ids` say so.
        refusals: (reason, detail) by community, instead of a registration.
        unknown: communities of which keepalive replies shall say that they are unknown.
        roster: what a RosterRequest is answered with.
        shown_key: the key in its KEY_REPLY.
        is_silent: whether it is unplugged.
        reply: may answer a message itself; None for the usual answer.
    """

    def __init__(self, place: int, world: "World") -> None:
        self.world = world
        self.address = Address(f"203.0.113.{place}", 1971)
        self.random = random.Random(f"supernode {place}")
        self.key = NodeKey.generate(self.random.randbytes)
        self.shown_key = self.key.public
        self.heard: list[Message] = []
        self.lease = "10.77.0.5/16"
        self.relay_id = 10 * place + 1
        self.leases: dict[Address, str] = {}
        self.relay_ids: dict[Address, int] = {}
        self.refusals: dict[bytes, tuple[str, str]] = {}
        self.unknown: set[bytes] = set()
        self.observed: Address | None = None
        self.version = 0
        self.roster: Callable[[RosterRequest], list[Roster]] = lambda request: []
        self.server_time: Callable[[], float] = lambda: WALL + world.now
        self.is_silent = False
        self.reply: Callable[[Message], list[Message] | None] = lambda message: None
        self.handshakes = 0
        self.key_requests = 0
        self.relayed = 0
        self.members: dict[int, Driven] = {}
        self.start()

    @property
    def url(self) -> SupernodeUrl:
        return SupernodeUrl(self.address.host, self.address.port, self.key.public)

    def start(self) -> None:
        """Starts, or starts anew with all sessions forgotten."""
        self._listener = Listener(self.key, self.random.randbytes, aes=True, load_limit_per_s=1000)
        self._channels: dict[int, Channel] = {}
        self._sources: dict[int, Address] = {}

    def count(self, kind: type) -> int:
        return sum(isinstance(message, kind) for message in self.heard)

    def messages(self, kind: type) -> list[Message]:
        return [message for message in self.heard if isinstance(message, kind)]

    # --- as a supernode ---

    def handle_datagram(self, data: bytes, source: Address, now: float) -> None:
        if self.is_silent:
            return
        if data[0] == Kind.RELAY:
            self.relayed += 1
            relay = parse_relay(data)
            receiver = self.members.get(relay.target)
            if receiver is not None:
                origin = Origin(self.address, 0, Relay(relay.target, relay.source))
                self.world.post(receiver, data[RELAY_HEADER_BYTES:], origin)
        elif data[0] == Kind.KEY_REQUEST:
            assert len(data) == 64
            self.key_requests += 1
            self._send(bytes((Kind.KEY_REPLY, 0, 0, 0)) + data[4:12] + self.shown_key, source)
        elif data[0] == Kind.INITIATION:
            self._handle_initiation(data, source, now)
        elif data[0] == Kind.CONTROL:
            self._handle_control(data, source)

    def _handle_initiation(self, data: bytes, source: Address, now: float) -> None:
        try:
            received = self._listener.handle_initiation(data, str(source).encode(), now)
        except PeerError:
            return
        assert not isinstance(received, bytes)
        index = self.random.getrandbits(32) | 1
        datagram, established = received.respond(psk=None, payload=b"", index=index)
        self._channels[index] = Channel(established.keys)
        self.handshakes += 1
        self._send(datagram, source)

    def _handle_control(self, data: bytes, source: Address) -> None:
        _, index, _ = parse_header(data)
        channel = self._channels.get(index)
        if channel is None:
            self._send(bytes((Kind.RESET, 0, 0, 0)) + index.to_bytes(4, "big"), source)
            return
        message = parse_message(channel.open(data))
        assert not isinstance(message, int)
        self._sources[index] = source
        self.heard.append(message)
        answers = self.reply(message)
        for answer in self._usual(message, source) if answers is None else answers:
            self._send(channel.seal(build_message(answer)), source)

    def _usual(self, message: Message, source: Address) -> list[Message]:
        observed = self.observed or source
        match message:
            case Register():
                community = self.community_of(message)
                if community in self.refusals:
                    reason, detail = self.refusals[community]
                    return [Refused(message.request, community, reason, detail, self.server_time())]
                self.unknown.discard(community)
                return [self.grant(message, source)]
            case Keepalive():
                held = [c for c, _ in message.communities]
                return [
                    KeepaliveReply(
                        message.request,
                        *observed,
                        self.server_time(),
                        tuple((c, self.version) for c in held if c not in self.unknown),
                        tuple(c for c in held if c in self.unknown),
                    )
                ]
            case RosterRequest():
                return list(self.roster(message))
            case Leave():
                return [Left(message.request, message.community)]
            case _:
                return []

    def community_of(self, message: Register) -> bytes:
        return parse_certificate(message.certificate).community

    def grant(self, message: Register, source: Address) -> Registered:
        host, port = self.observed or source
        community = self.community_of(message)
        lease = self.leases.get(source, self.lease)
        address = "" if message.lease == "none" else message.address if message.lease == "static" else lease
        relay_id, time = self.relay_ids.get(source, self.relay_id), self.server_time()
        return Registered(message.request, community, relay_id, address, host, port, self.version, time, 20.0)

    @property
    def channel(self) -> Channel:
        """Returns the newest session's."""
        return next(reversed(self._channels.values()))

    def say(self, *messages: Message, to: Address | None = None) -> None:
        """Sends messages under the newest session, or the newest of one node, to where it was heard last."""
        index = next(i for i in reversed(self._channels) if to in (None, self._sources.get(i)))
        for message in messages:
            self._send(self._channels[index].seal(build_message(message)), self._sources[index])

    def reset(self, index: int) -> None:
        """Sends a RESET to where the newest session was heard last."""
        source = self._sources[next(reversed(self._channels))]
        self._send(bytes((Kind.RESET, 0, 0, 0)) + index.to_bytes(4, "big"), source)

    def _send(self, data: bytes, to: Address) -> None:
        self.world.post(self.world.owner(to), data, Origin(self.address))


class World:
    """Carries datagrams between machines and supernodes on virtual time."""

    def __init__(self, *, supernodes: int = 1) -> None:
        self.now = 100.0
        self.supernodes = [Supernode(place, self) for place in range(1, supernodes + 1)]
        self.machines: dict[Address, Driven] = {}
        self.sent: list[tuple[float, Address, Transmit]] = []
        self.is_lost: Callable[[Transmit, Address], bool] = lambda transmit, source: False
        self._queue: list[tuple[float, int, Driven | Supernode, bytes, Origin | Address]] = []
        self._sequence = 0

    def wall(self) -> float:
        return WALL + self.now

    def owner(self, address: Address) -> Driven | None:
        return self.machines.get(address)

    def post(self, receiver: "Driven | Supernode | None", data: bytes, origin: Origin | Address) -> None:
        if receiver is not None:
            self._sequence += 1
            heapq.heappush(self._queue, (self.now + DELAY_S, self._sequence, receiver, data, origin))

    def flush(self) -> None:
        for source, machine in list(self.machines.items()):
            while (transmit := machine.poll_transmit()) is not None:
                self.sent.append((self.now, source, transmit))
                if self.is_lost(transmit, source):
                    continue
                for supernode in self.supernodes:
                    if supernode.address == transmit.address:
                        self.post(supernode, transmit.data, source)
                self.post(self.machines.get(transmit.address), transmit.data, Origin(source))

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> bool:
        """Lets time pass; returns whether `until` came true."""
        end = self.now + seconds
        while True:
            self.flush()
            if until is not None and until():
                return True
            due = [w.at for m in self.machines.values() if (w := m.poll_timeout()) is not None]
            if self._queue:
                due.append(self._queue[0][0])
            at = min(due, default=end + 1.0)
            if at > end:
                self.now = end
                return False
            self.now = max(self.now, at)
            self._step()

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, receiver, data, origin = heapq.heappop(self._queue)
            receiver.handle_datagram(data, origin, self.now)  # type: ignore[arg-type]
        for machine in list(self.machines.values()):
            for _ in range(ROUNDS_MAX):
                wakeup = machine.poll_timeout()
                if wakeup is None or wakeup.at > self.now:
                    break
                machine.handle_timeout(self.now)
            else:
                raise AssertionError(f"woken for ever at {self.now}: {wakeup}")

    def count(self, kind: int, *, since: float = 0.0) -> int:
        """Counts what machines sent with this first byte."""
        return sum(at >= since and t.data[0] == kind for at, _, t in self.sent)


def settings(
    world: World,
    *,
    name: str = "ann",
    seed: int = 1,
    lease: str = "auto",
    address: str = "",
    communities: tuple[Community, ...] = (COMMUNITY,),
    subnets: tuple[str, ...] = ("10.77.0.0/16", "10.77.0.0/16"),
    keys: bool = True,
    direct: bool = True,
) -> NodeSettings:
    """Returns settings for a node that knows all supernodes of a world; without `keys` it learns their keys."""
    chance = random.Random(f"node {name} {seed}")
    urls = tuple(s.url if keys else s.url._replace(key=None) for s in world.supernodes)
    return NodeSettings(
        key=NodeKey.generate(chance.randbytes),
        name=name,
        communities=tuple(
            CommunitySettings(community, device, f"ntvl{device}", lease, address, subnets[device])
            for device, community in enumerate(communities)
        ),
        supernodes=urls,
        incarnation=chance.randbytes(8),
        version="1.2.3",
        port=4000,
        direct=direct,
    )


def member(key: bytes, relay_id: int, name: str = "bob", *addresses: str) -> Member:
    return Member(key, relay_id, name, addresses)
