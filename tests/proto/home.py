"""A node with a data plane that only takes notes, in a world of scripted supernodes."""

import random
from collections.abc import Callable

from tests.proto.scripted import COMMUNITY, Supernode, World, member, settings

from ntvl.dataplane.interface import (
    AddPeer,
    Command,
    Wanted,
)
from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, derive_mac, format_key
from ntvl.proto.events import (
    NodeEvent,
)
from ntvl.proto.handshake import Initiation
from ntvl.proto.machine import Wakeup
from ntvl.proto.node import Node
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.control import Roster

ANN, BOB = Address("198.51.100.1", 4000), Address("198.51.100.2", 4000)
EVE = Address("192.0.2.66", 6666)
DAY_S = 86400.0


class Home:
    """Is a node with a data plane that only takes notes."""

    def __init__(
        self,
        world: World,
        at: Address = ANN,
        *,
        name: str = "ann",
        start: bool = True,
        skew_s: float = 0.0,
        random_bytes: Callable[[int], bytes] | None = None,
        **choices: object,
    ) -> None:
        self.world = world
        self.at = at
        self.skew_s = skew_s
        self.settings = settings(world, name=name, **choices)  # type: ignore[arg-type]
        self.node = Node(
            self.settings, random=random_bytes or random.Random(f"node of {name}").randbytes, wall=self.wall
        )
        self.commands: list[Command] = []
        self.events: list[NodeEvent] = []
        world.machines[at] = self
        if start:
            self.start()

    def wall(self) -> float:
        return self.world.wall() + self.skew_s

    def start(self) -> None:
        now = self.world.now
        self.node.handle_interfaces([self.at.host], now)
        for via, supernode in enumerate(self.world.supernodes):
            self.node.handle_supernode_address(via, [supernode.address], now)

    @property
    def key(self) -> bytes:
        return self.settings.key.public

    # --- a machine of the world ---

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        self.node.handle_datagram(data, origin, now)

    def handle_timeout(self, now: float) -> None:
        self.node.handle_timeout(now)

    def poll_timeout(self) -> Wakeup | None:
        return self.node.poll_timeout()

    def poll_transmit(self) -> Transmit | None:
        while (command := self.node.poll_command()) is not None:
            self.commands.append(command)
        while (event := self.node.poll_event()) is not None:
            self.events.append(event)
        return self.node.poll_transmit()

    # --- what a test does and asks ---

    def hear(self, data: bytes, origin: Address | Origin = EVE) -> None:
        """Hands in a datagram, and passes on what comes of it."""
        origin = origin if isinstance(origin, Origin) else Origin(origin)
        self.node.handle_datagram(data, origin, self.world.now)
        self.world.flush()

    def said(self, kind: type) -> list[NodeEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def told(self, kind: type) -> list[Command]:
        return [command for command in self.commands if isinstance(command, kind)]

    def handle_of(self, key: bytes) -> int:
        mac = derive_mac(COMMUNITY.id, key)
        return next(c.peer for c in self.commands if isinstance(c, AddPeer) and mac in c.macs)

    def want(self, key: bytes) -> None:
        self.node.handle_plane_event(Wanted(self.handle_of(key)), self.world.now)
        self.world.flush()

    def status(self) -> dict[str, object]:
        return self.node.status(self.world.now)

    @property
    def drops(self) -> dict[str, int]:
        return self.status()["drops"]  # type: ignore[return-value]

    def peer(self, key: bytes) -> dict[str, object]:
        peers = self.status()["communities"][0]["peers"]  # type: ignore[index]
        return next(p for p in peers if p["id"] == format_key(key))

    def supernode(self, via: int = 0) -> dict[str, object]:
        return self.status()["supernodes"][via]  # type: ignore[index]


def alone(**choices: object) -> tuple[World, Supernode, Home]:
    """Returns a registered node."""
    world = World()
    home = Home(world, **choices)  # type: ignore[arg-type]
    world.run(1.0)
    return world, world.supernodes[0], home


def pair(*, supernodes: int = 1, **choices: object) -> tuple[World, Home, Home]:
    """Returns two registered nodes that know each other from the roster."""
    world = World(supernodes=supernodes)
    for supernode in world.supernodes:
        supernode.relay_ids = {ANN: 71, BOB: 72}
        supernode.leases = {ANN: "10.77.0.1/16", BOB: "10.77.0.2/16"}
        supernode.version = 500
    ann, bob = Home(world, ANN, name="ann"), Home(world, BOB, name="bob", **choices)  # type: ignore[arg-type]
    members = (member(ann.key, 71, "ann", "10.77.0.1/16"), member(bob.key, 72, "bob", "10.77.0.2/16"))
    for supernode in world.supernodes:
        supernode.members = {71: ann, 72: bob}
        supernode.roster = lambda request: [] if request.since == 500 else [Roster(COMMUNITY.id, 0, 500, members)]
    world.run(6.0)
    assert (ann.supernode()["state"], bob.supernode()["state"]) == ("registered", "registered")
    return world, ann, bob


def together(**choices: object) -> tuple[World, Home, Home]:
    """Returns two nodes with a direct path."""
    world, ann, bob = pair(**choices)
    ann.want(bob.key)
    assert world.run(2.0, until=lambda: ann.peer(bob.key)["path"] == bob.peer(ann.key)["path"] == "direct")
    world.run(0.5)
    return world, ann, bob


def initiation_to(
    home: Home,
    key: NodeKey,
    *,
    psk: bytes | None = COMMUNITY.psk,
    community: Community = COMMUNITY,
    payload: bytes | None = None,
    not_before_s: float = -3600.0,
    not_after_s: float = DAY_S,
    node: bytes | None = None,
) -> Initiation:
    """Returns a handshake of a node that only the test plays."""
    if payload is None:
        wall = home.world.wall()
        payload = issue_certificate(
            community,
            node=node or key.public,
            name="eve",
            addresses=("10.77.0.66/16",),
            not_before=int(wall + not_before_s),
            not_after=int(wall + not_after_s),
        )
    chance = random.Random(key.public).randbytes
    return Initiation(key, home.key, psk=psk, payload=payload, aes=True, index=77, random=chance)


def sent_to(world: World, address: Address, kind: int) -> list[bytes]:
    return [t.data for _, _, t in world.sent if t.address == address and t.data[0] == kind]


EVES_KEY = NodeKey.from_bytes(bytes(range(7, 39)))
