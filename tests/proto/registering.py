"""One registration in the place of a node."""

import random
from collections.abc import Callable

from tests.proto.scripted import COMMUNITY, Supernode, World, settings

from ntvl.errors import PeerError
from ntvl.identity.community import Community
from ntvl.proto.context import Context
from ntvl.proto.events import Failed, Notice, SupernodeState
from ntvl.proto.handshake import handshake_index
from ntvl.proto.machine import Wakeup
from ntvl.proto.membership import Membership
from ntvl.proto.registration import Registration
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.control import Roster
from ntvl.wire.header import Kind, parse_header

HERE = Address("198.51.100.1", 4000)
DAY_S = 86400.0


class Desk:
    """Is one registration in the place of a node: it routes to it and notes what it is told."""

    def __init__(
        self,
        world: World,
        *,
        via: int = 0,
        lease: str = "auto",
        address: str = "",
        keys: bool = True,
        communities: tuple[Community, ...] = (COMMUNITY,),
        start: bool = True,
    ) -> None:
        self.world = world
        self.skew_s = 0.0
        chosen = settings(world, lease=lease, address=address, keys=keys, communities=communities)
        self.context = Context(random.Random(7).randbytes, self.wall)
        self.memberships = [Membership(c, chosen.key.public, chosen.name, self.wall) for c in chosen.communities]
        self.leased: list[str] = []
        self.rosters: list[Roster] = []
        self.lost = 0
        self.observations = 0
        self.errors: list[str] = []
        self.registration = Registration(self.context, chosen, self, via=via, memberships=self.memberships)
        world.machines[HERE] = self
        if start:
            self.registration.handle_addresses((world.supernodes[via].address,), world.now)

    def wall(self) -> float:
        return self.world.wall() + self.skew_s

    # --- what a registration tells, and asks ---

    hosts: tuple[str, ...] = ("192.0.2.7",)

    def handle_registered(self, via: int, membership: Membership, address: str, now: float) -> None:
        self.leased.append(address)
        if address and not membership.address:
            membership.address = address
            self.registration.renew(now)

    def handle_roster(self, via: int, membership: Membership, roster: Roster, now: float) -> None:
        self.rosters.append(roster)

    def handle_roster_end(self, via: int, membership: Membership, now: float) -> None:
        pass

    def handle_supernode_lost(self, via: int, now: float) -> None:
        self.lost += 1

    def handle_observed(self, via: int, now: float) -> None:
        self.observations += 1

    # --- as a node routes ---

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        try:
            match data[0]:
                case Kind.RESPONSE | Kind.COOKIE:
                    if self.context.indices.find(handshake_index(data)) is not self.registration:
                        raise PeerError("unknown-session")
                    if data[0] == Kind.RESPONSE:
                        self.registration.handle_response(data, origin, now)
                    else:
                        self.registration.handle_cookie(data, now)
                case Kind.CONTROL:
                    self.registration.handle_control(data, parse_header(data)[1], origin, now)
                case Kind.KEY_REPLY:
                    self.registration.handle_key_reply(data, now)
                case Kind.RESET:
                    self.registration.handle_reset(int.from_bytes(data[4:8], "big"), now)
        except PeerError as error:
            self.context.count(error.reason)

    def handle_timeout(self, now: float) -> None:
        for _ in self.context.timers.due(now):
            self.registration.handle_timeout(now)

    def poll_timeout(self) -> Wakeup | None:
        return self.context.timers.next()

    def poll_transmit(self) -> Transmit | None:
        return self.context.transmits.popleft() if self.context.transmits else None

    # --- what a test asks ---

    @property
    def states(self) -> list[str]:
        return [e.state for e in self.context.events if isinstance(e, SupernodeState)]

    def said(self) -> list[Notice | Failed]:
        return [e for e in self.context.events if isinstance(e, Notice | Failed)]

    def is_(self, state: str) -> Callable[[], bool]:
        return lambda: self.registration.state == state


def desk(**choices: object) -> tuple[World, Supernode, Desk]:
    world = World()
    return world, world.supernodes[0], Desk(world, **choices)  # type: ignore[arg-type]


def registered(**choices: object) -> tuple[World, Supernode, Desk]:
    world, supernode, here = desk(**choices)
    assert world.run(1.0, until=here.is_("registered"))
    world.run(0.5)
    return world, supernode, here
