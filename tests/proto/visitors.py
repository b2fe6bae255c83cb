"""A supernode on virtual time and nodes that a test leads by the hand; for the tests of the supernode."""

import random
from collections.abc import Callable
from typing import Any, TypeVar

from ntvl.dataplane.interface import Command, RelayMember, RemoveRelayMember
from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, derive_ipv6, derive_mac
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Initiation
from ntvl.proto.supernode import Supernode
from ntvl.proto.supernode_events import Refusal, SupernodeEvent
from ntvl.registry.base import LeaseStore
from ntvl.registry.memory import MemoryStore
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.control import (
    Keepalive,
    Message,
    Refused,
    Register,
    Roster,
    build_message,
    parse_message,
)
from ntvl.wire.header import Kind
from ntvl.wire.service import parse_reset

__all__ = ["HOME", "START", "WORK", "Guest", "World"]

START = 1.8e9
HOME = Community.from_seed("home", b"home" * 8)
WORK = Community.from_seed("work", b"work" * 8)

M = TypeVar("M")


class World:
    """Is one supernode with its store, the time, and what it sent to whom."""

    def __init__(self, *, seed: int = 1, store: LeaseStore | None = None, **options: Any) -> None:
        self.random = random.Random(seed)
        self.store = store or MemoryStore()
        self.options = options
        self.now = 1000.0
        self.wall = START
        self.key = NodeKey.generate(self.random.randbytes)
        self.guests: dict[Address, Guest] = {}
        self.strays: list[Transmit] = []
        self.events: list[SupernodeEvent] = []
        self.commands: list[Command] = []
        self.relays: dict[int, RelayMember] = {}
        self.supernode = self._start()

    def _start(self) -> Supernode:
        return Supernode(self.key, self.store, random=self.random.randbytes, wall=lambda: self.wall, **self.options)

    def restart(self) -> None:
        """Lets the supernode forget all that is not in its store."""
        self.supernode.close(self.now)
        self.supernode = self._start()
        self.relays.clear()

    def guest(self, name: str = "", community: Community = HOME, **options: Any) -> "Guest":
        return Guest(self, name or f"node{len(self.guests)}", community, **options)

    def member(self, name: str = "", community: Community = HOME, **options: Any) -> "Guest":
        """Returns a guest that has registered."""
        guest = self.guest(name, community, **options)
        guest.connect()
        guest.register()
        self.run()
        return guest

    def give(self, data: bytes, address: Address) -> list[bytes]:
        """Hands a datagram in; returns what was answered to that address, if nobody lives there."""
        before = len(self.strays)
        self.supernode.handle_datagram(data, Origin(address), self.now)
        self.collect()
        return [sent.data for sent in self.strays[before:] if sent.address == address]

    def run(self, for_s: float = 0.0) -> None:
        """Lets time pass, with every wake-up on its time."""
        until = self.now + for_s
        self.collect()
        for _ in range(100_000):
            wakeup = self.supernode.poll_timeout()
            if wakeup is None or wakeup.at > until:
                self.now, self.wall = until, self.wall + until - self.now
                return
            if wakeup.at > self.now:
                self.now, self.wall = wakeup.at, self.wall + wakeup.at - self.now
            self.supernode.handle_timeout(self.now)
            self.collect()
        raise AssertionError(f"the supernode never rests: {self.supernode.poll_timeout()}")

    def collect(self) -> None:
        while (command := self.supernode.poll_command()) is not None:
            self.commands.append(command)
            if isinstance(command, RelayMember):
                self.relays[command.relay_id] = command
            elif isinstance(command, RemoveRelayMember):
                self.relays.pop(command.relay_id, None)
        while (sent := self.supernode.poll_transmit()) is not None:
            guest = self.guests.get(sent.address)
            if guest is None:
                self.strays.append(sent)
            else:
                guest.take(sent.data)
        while (event := self.supernode.poll_event()) is not None:
            self.events.append(event)

    def status(self) -> dict[str, Any]:
        return self.supernode.status(self.now)

    def drops(self, reason: str) -> int:
        found: int = self.status()["drops"].get(reason, 0)
        return found

    def told(self, kind: type[M]) -> list[M]:
        return [event for event in self.events if isinstance(event, kind)]


class Guest:
    """Is a node that does what it is told, no more."""

    def __init__(
        self,
        world: World,
        name: str,
        community: Community,
        *,
        key: NodeKey | None = None,
        address: Address | None = None,
        incarnation: bytes | None = None,
    ) -> None:
        self.world = world
        self.name = name
        self.community = community
        self.key = key or NodeKey.generate(world.random.randbytes)
        count = len(world.guests) + 1
        self.address = address or Address(f"203.0.{113 + count // 250}.{count % 250}", 1971)
        world.guests[self.address] = self
        self.incarnation = incarnation or world.random.randbytes(8)
        self.channel: Channel | None = None
        self.previous: Channel | None = None
        self.raw: list[bytes] = []
        self.inbox: list[Message] = []
        self.resets: list[int] = []
        self.index = 0
        self.cookie: bytes | None = None
        self.initiation: Initiation | None = None
        self.members: dict[bytes, str] = {}
        self.version = 0
        self.lost = 0

    # --- the wire ---

    def take(self, data: bytes) -> None:
        self.raw.append(data)
        match data[0]:
            case Kind.RESPONSE:
                assert self.initiation is not None
                self.previous, self.channel = self.channel, Channel(self.initiation.handle_response(data).keys)
            case Kind.COOKIE:
                assert self.initiation is not None
                self.cookie = self.initiation.handle_cookie(data)
            case Kind.RESET:
                self.resets.append(parse_reset(data))
            case Kind.CONTROL:
                channels = [c for c in (self.channel, self.previous) if c is not None]
                index = int.from_bytes(data[4:8], "big")
                channel = next(c for c in channels if c.receive_index == index)
                message = parse_message(channel.open(data))
                assert not isinstance(message, int)
                self.inbox.append(message)
                if isinstance(message, Roster) and message.community == self.community.id:
                    self._take_roster(message)

    def _take_roster(self, roster: Roster) -> None:
        if roster.since == 0:
            self.members.clear()
        elif roster.since != self.version:
            self.lost += 1
            return
        self.version = roster.version
        self.members.update({member.node: member.name for member in roster.joined})
        for left in roster.left:
            self.members.pop(left, None)

    def move(self, address: Address) -> None:
        del self.world.guests[self.address]
        self.address = address
        self.world.guests[address] = self

    def give(self, data: bytes) -> None:
        self.world.supernode.handle_datagram(data, Origin(self.address), self.world.now)
        self.world.collect()

    def begin(self) -> bytes:
        """Returns a fresh initiation."""
        self.index += 1
        self.initiation = Initiation(
            self.key,
            self.world.key.public,
            psk=None,
            payload=b"",
            aes=True,
            index=self.index,
            random=self.world.random.randbytes,
            cookie=self.cookie,
        )
        return self.initiation.datagram

    def connect(self) -> None:
        self.give(self.begin())
        assert self.channel is not None

    def seal(self, message: Message) -> bytes:
        assert self.channel is not None
        return self.channel.seal(build_message(message))

    def say(self, message: Message) -> list[Message]:
        """Sends a message; returns what came back at once, rosters aside."""
        before = len(self.inbox)
        self.give(self.seal(message))
        return [answer for answer in self.inbox[before:] if not isinstance(answer, Roster)]

    def ask(self, message: Message, kind: Callable[..., M]) -> M:
        """Sends a message; returns the one answer, which is of that kind."""
        [answer] = self.say(message)
        assert isinstance(kind, type)
        assert isinstance(answer, kind), answer
        found: M = answer
        return found

    # --- what nodes say ---

    def certificate(self, **changes: Any) -> bytes:
        community: Community = changes.pop("community", self.community)
        node: bytes = changes.pop("node", self.key.public)
        fields: dict[str, Any] = {
            "name": self.name,
            "addresses": (derive_ipv6(community.id, derive_mac(community.id, node)),),
            "not_before": int(self.world.wall) - 3600,
            "not_after": int(self.world.wall) + 86400,
        }
        return issue_certificate(community, node=node, **(fields | changes))

    def registration(self, **changes: Any) -> Register:
        fields: dict[str, Any] = {
            "request": 7,
            "certificate": changes.pop("certificate", None) or self.certificate(),
            "incarnation": self.incarnation,
        }
        return Register(**(fields | changes))

    def register(self, **changes: Any) -> Message:
        """Returns the answer to a `Register`."""
        [answer] = self.say(self.registration(**changes))
        return answer

    def refused(self, reason: str, **changes: Any) -> Refused:
        """Returns the refusal of a `Register`, which is for that reason, told in words, and logged."""
        answer = self.register(**changes)
        assert isinstance(answer, Refused), answer
        assert (answer.request, answer.reason) == (7, reason)
        assert 0 < len(answer.detail) <= 256
        assert answer.server_time == self.world.wall
        assert self.world.told(Refusal)[-1].reason == reason
        return answer

    def keepalive(self, *communities: Community) -> list[Message]:
        held = tuple((community.id, 0) for community in (communities or (self.community,)))
        return self.say(Keepalive(9, self.incarnation, held))
