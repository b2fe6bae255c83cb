"""A node in the simulator: a host, a machine, its key, and a station on each of its virtual Ethernets."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar

from ntvl.identity.keys import NodeKey, format_key
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.events import (
    AddressAssigned,
    CarrierUnwanted,
    CarrierWanted,
    DialPortWanted,
    DialUnwanted,
    DialWanted,
    Failed,
    KeyLearned,
    Notice,
    PathChanged,
    PeerGone,
    PeerSeen,
    SeenElsewhere,
    StreamUnwanted,
    SupernodeReached,
    SupernodeState,
    TurnPeersWanted,
)
from ntvl.proto.node import Node
from ntvl.proto.settings import CommunitySettings, NodeSettings
from ntvl.sim.direct_stream import SimDirectStreams
from ntvl.sim.host import Host
from ntvl.sim.mapper import SimMapper
from ntvl.sim.router import Router
from ntvl.sim.runner import Runner
from ntvl.sim.station import Station
from ntvl.sim.stream import SimCarriers
from ntvl.sim.timeline import Timeline
from ntvl.sim.turn_relay import SimTurnRelay
from ntvl.wire.address import Address

__all__ = ["PathView", "SimNode"]

E = TypeVar("E")


class PathView(NamedTuple):
    """Is how a node reaches a peer, as its status shows it."""

    path: str
    remote: str | None
    via: str | None

    @property
    def is_direct(self) -> bool:
        """Returns whether no supernode carries the packets."""
        return self.path == "direct"


class SimNode:
    """Is one node, which may be stopped, started, moved and put to sleep.

    Args:
        random: its chance: key, indices, jitter.
        communities: its memberships; `device` is the place in this list.
        supernodes: URLs, in order of preference.
        resolve: what the resolver says to the name in a URL.
        find: returns the host behind a URL and its port for WebSockets, 0 for none.
        turn: its TURN server, None for none.
        options: more fields of `NodeSettings`.
    """

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        random: Random,
        *,
        communities: Sequence[CommunitySettings],
        supernodes: Sequence[SupernodeUrl],
        resolve: Callable[[SupernodeUrl], tuple[Address, ...]],
        find: Callable[[SupernodeUrl], tuple[Host, int] | None],
        turn: Address | None = None,
        **options: Any,
    ) -> None:
        self.host = host
        self.key = NodeKey.generate(random.randbytes)
        self.communities = tuple(communities)
        self.supernodes = list(supernodes)
        self.events: list[tuple[float, Any]] = []
        """What it told its runtime, with the simulator's time; goes on over restarts. `PeerSeen` is kept in `known`
        only: a thousand nodes see a million peers."""
        self.known: dict[str, set[bytes]] = {c.community.name: set() for c in communities}
        """The members that it knows now, by community: their keys."""
        self.failed: Failed | None = None
        """Why it ended by itself, if it did."""
        self.runner: Runner | None = None
        self.mapper: SimMapper | None = None
        """What asks for a port mapping, where the router of its segment speaks such a protocol."""
        self.relay: SimTurnRelay | None = None
        """What keeps its allocation at a TURN server, where it has one."""
        self._turn = turn
        self._timeline = timeline
        self._random = random
        self._resolve = resolve
        self._options: dict[str, Any] = {"streams": True, **options}
        self._carriers = SimCarriers(
            host,
            timeline,
            Random(f"{host.name}/streams"),
            find=find,
            tell=lambda *news: self._tell(lambda: self.machine.handle_carrier, *news),
        )
        self._direct_streams = SimDirectStreams(
            host,
            timeline,
            Random(f"{host.name}/tcp"),
            tell_port=lambda *news: self._tell(lambda: self.machine.handle_dial_port, *news),
            tell_stream=lambda *news: self._tell(lambda: self.machine.handle_stream, *news),
            tell_end=lambda *news: self._tell(lambda: self.machine.handle_stream_end, *news),
        )
        self.start()

    def __repr__(self) -> str:
        return f"SimNode({self.name!r})"

    @property
    def name(self) -> str:
        """Returns its name, which is its host's."""
        return self.host.name

    @property
    def machine(self) -> Node:
        """Returns the running machine."""
        assert self.runner is not None, f"{self.name} is stopped"
        machine = self.runner.machine
        assert isinstance(machine, Node)
        return machine

    @property
    def station(self) -> Station:
        """Returns the host stack on its first community."""
        return self.station_of(0)

    @property
    def ipv4(self) -> str:
        """Returns its address on its first community, or "" while it has none."""
        return self.station.ipv4 if self.runner is not None else ""

    @property
    def first_known(self) -> set[bytes]:
        """Returns the keys of the members of its first community that it knows now."""
        return self.known[self.communities[0].community.name]

    def station_of(self, device: int) -> Station:
        """Returns the host stack on one of its communities."""
        assert self.runner is not None, f"{self.name} is stopped"
        return self.runner.plane.stations[device]

    def start(self) -> None:
        """Starts it, with the key that it has."""
        settings = NodeSettings(
            key=self.key,
            name=self.name,
            communities=self.communities,
            supernodes=tuple(self.supernodes),
            incarnation=self._random.randbytes(8),
            port=self.host.ports[0],
            version="simulated",
            **self._options,
        )
        node = Node(settings, random=self._random.randbytes, wall=self.host.wall)
        self.failed = None
        for members in self.known.values():
            members.clear()
        self.runner = Runner(
            self.host, self._timeline, node, on_event=self._handle_event, on_interfaces=self._tell_interfaces
        )
        self.runner.start()
        self._tell_interfaces()
        if self._turn is not None:
            self.relay = SimTurnRelay(
                self.host,
                self._timeline,
                Random(f"{self.name}/turn"),
                server=self._turn,
                tell_relayed=lambda *news: self._tell(lambda: self.machine.handle_turn, *news),
                tell_carrier=lambda *news: self._tell(lambda: self.machine.handle_turn_carrier, *news),
            )
        self.tell_supernodes()

    def stop(self) -> None:
        """Kills it: nobody hears of it."""
        self._carriers.close()
        self._direct_streams.close()
        if self.runner is not None:
            self.runner.stop()
        self.runner = None
        if self.mapper is not None:
            self.mapper.stop()
        self.mapper = None
        if self.relay is not None:
            self.relay.stop()
        self.relay = None

    def leave(self) -> None:
        """Ends it as SIGTERM does: it says goodbye."""
        if self.runner is not None:
            self.runner.call(self.machine.close)
        if self.mapper is not None:
            self.mapper.close()
        self.stop()

    def restart(self, *, new_state: bool = False) -> None:
        """Kills and starts it; `new_state` makes a new key, as if its state directory were lost."""
        self.stop()
        if new_state:
            self.key = NodeKey.generate(self._random.randbytes)
        self.start()

    def tell_supernodes(self) -> None:
        """Resolves every supernode's name and tells the machine, as the runtime does at the start."""
        for index, url in enumerate(self.supernodes):
            if self.runner is not None:
                self.runner.call(self.machine.handle_supernode_address, index, self._resolve(url))

    def status(self) -> dict[str, Any]:
        """Returns the machine's status."""
        return self.machine.status(self.host.now)

    def peers(self, device: int = 0) -> dict[str, dict[str, Any]]:
        """Returns the members of a community that it knows, as its status shows them, by their id."""
        return {peer["id"]: peer for peer in self.status()["communities"][device]["peers"]}

    def path_to(self, peer: "SimNode", device: int = 0) -> PathView:
        """Returns how it reaches a peer."""
        shown = self.peers(device).get(format_key(peer.key.public))
        return PathView("none", None, None) if shown is None else PathView(shown["path"], shown["remote"], shown["via"])

    def said(self, kind: type[E], since: float = 0.0) -> list[E]:
        """Returns its events of one kind since a time."""
        return [event for at, event in self.events if at >= since and isinstance(event, kind)]

    def notices(self) -> list[str]:
        """Returns the codes of what it told people, in order."""
        return [event.code for event in self.said(Notice)]

    def paths(self, since: float = 0.0) -> list[tuple[float, str]]:
        """Returns the paths that it announced since a time, with the time."""
        return [(at, e.path) for at, e in self.events if at >= since and isinstance(e, PathChanged)]

    def supernode_state(self, index: int = 0) -> str:
        """Returns what a supernode is to it now."""
        states = [event.state for event in self.said(SupernodeState) if event.url_index == index]
        return states[-1] if states else "resolving"

    def over(self, index: int = 0) -> str | None:
        """Returns over what it reaches a supernode, as its status shows it."""
        shown: str | None = self.status()["supernodes"][index]["over"]
        return shown

    def reached(self, since: float = 0.0) -> list[str]:
        """Returns over what it reached supernodes since a time, in order."""
        return [event.over for event in self.said(SupernodeReached, since)]

    def drops(self) -> dict[str, int]:
        """Returns what its status counts as dropped, by reason."""
        drops: dict[str, int] = self.status()["drops"]
        return drops

    def _tell_interfaces(self) -> None:
        if self.runner is not None:
            self.runner.call(self.machine.handle_interfaces, self.host.addresses)
            self._follow_gateway()
            if self.relay is not None:
                self.relay.handle_network_change()

    def _follow_gateway(self) -> None:
        """Asks the router of now for a port mapping, and no other any more."""
        interface = next((i for i in self.host.interfaces if i.up), None)
        gateway = interface.segment.gateway if interface is not None else None
        router = gateway.box.inside_address if gateway is not None and isinstance(gateway.box, Router) else None
        client = interface.address(False) if interface is not None else None
        if self.mapper is not None and (self.mapper.gateway, self.mapper.client) == (router, client):
            return
        if self.mapper is not None:
            self.mapper.stop()
            self.mapper = None
            self._tell_mapping(None)
        if router is not None and client is not None:
            self.mapper = SimMapper(
                self.host,
                self._timeline,
                self._random,
                gateway=router,
                client=client,
                on_change=self._tell_mapping,
            )

    def _tell(self, handler: Callable[[], Callable[..., None]], *news: Any) -> None:
        """Tells the machine, if it runs."""
        if self.runner is not None and not self.runner.stopped:
            self.runner.call(handler(), *news)

    def _tell_mapping(self, mapping: Address | None) -> None:
        if self.runner is not None and not self.runner.stopped:
            self.runner.call(self.machine.handle_mappings, () if mapping is None else (mapping,))

    def _handle_event(self, event: Any) -> None:
        if isinstance(event, PeerSeen):
            self.known[event.community].add(event.peer)
            return
        self.events.append((self._timeline.now, event))
        if isinstance(event, CarrierWanted):
            self._carriers.want(event.url_index, event.kind, self.supernodes[event.url_index])
        elif isinstance(event, CarrierUnwanted):
            self._carriers.unwant(event.url_index, event.kind)
        elif isinstance(event, DialPortWanted):
            self._direct_streams.want_port(event.number, event.servers)
        elif isinstance(event, DialWanted):
            self._direct_streams.dial(event.number, event.remotes)
        elif isinstance(event, DialUnwanted):
            self._direct_streams.unwant(event.number)
        elif isinstance(event, StreamUnwanted):
            self._direct_streams.close_stream(event.carrier)
        elif isinstance(event, TurnPeersWanted) and self.relay is not None:
            self.relay.want(event.peers)
        elif isinstance(event, SeenElsewhere):
            self._verify()
        elif isinstance(event, PeerGone):
            self.known[event.community].discard(event.peer)
        elif isinstance(event, AddressAssigned):
            station = self.station_of(event.device)
            if station.addresses != event.addresses:
                station.assign(event.addresses)
        elif isinstance(event, KeyLearned):
            url = self.supernodes[event.url_index]
            self.supernodes[event.url_index] = url._replace(key=event.key)
        elif isinstance(event, Failed):
            self.failed = event
            self._timeline.after(0.0, self.stop)

    def _verify(self) -> None:
        """Asks gateway and TURN server whether they still know this node."""
        if self.mapper is not None:
            self.mapper.verify()
        if self.relay is not None:
            self.relay.verify()
