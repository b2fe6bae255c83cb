"""The simulated internet with nodes and supernodes on it, in the words of a scenario.

net = Net(seed=7, loss=0.02)
net.supernode()
a, b = net.node(behind="eim-apdf"), net.node(behind="cgn")
net.run_until(lambda: net.path(a, b).is_direct)
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from ntvl.identity.community import Community
from ntvl.identity.url import SupernodeUrl
from ntvl.nat import NatBehaviour
from ntvl.proto.settings import CommunitySettings
from ntvl.sim.host import Host
from ntvl.sim.node import PathView, SimNode
from ntvl.sim.packet import WAN, Link
from ntvl.sim.router import Router
from ntvl.sim.site import Site
from ntvl.sim.supernode import SimSupernode
from ntvl.sim.turn_server import TURN_PORT, SimTurnServer
from ntvl.sim.world import World
from ntvl.wire.address import Address

__all__ = ["Net", "community"]

_SECRET = "a secret for simulations"


def community(name: str, secret: str) -> Community:
    """Returns the community of a name and a secret; another one than `derive_community` gives, which is slow on
    purpose.
    """
    return Community.from_seed(name, secret.encode().ljust(16, b"."))


class Net(World):
    """Is a `World` with nodes and supernodes.

    Args:
        seed: repeats a run.
        delay_s, jitter_s, loss, duplicate, reorder: of the line of everything that is attached to the Internet; a
            datagram from one such line to another takes twice the delay, and meets the other faults once.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        delay_s: float = 0.010,
        jitter_s: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
    ) -> None:
        link = WAN.but(delay_s=delay_s, jitter_s=jitter_s, loss=loss, duplicate=duplicate, reorder=reorder)
        super().__init__(seed, link)
        self.nodes: list[SimNode] = []
        self.supernodes: list[SimSupernode] = []
        self._names: dict[str, SimSupernode] = {}
        self._node_numbers = count(1)
        self._echoes = count(1)

    # --- building ---

    def supernode(
        self,
        name: str = "",
        *,
        behind: Site | None = None,
        ipv6: bool = False,
        link: Link | None = None,
        **options: Any,
    ) -> SimSupernode:
        """Returns a new supernode on the Internet, or at a site; nodes made from now on know it."""
        name = name or f"supernode{len(self.supernodes) + 1}"
        host = self.host(name, behind or self.internet, port=1971, ipv6=ipv6, link=link)
        supernode = SimSupernode(host, self.timeline, self.random(f"{name}/machine"), **options)
        self.supernodes.append(supernode)
        self._names[supernode.url.host] = supernode
        return supernode

    def turn_server(self, name: str = "turn", *, link: Link | None = None) -> SimTurnServer:
        """Returns a new TURN server on the Internet, for `turn` of nodes."""
        return SimTurnServer(self.host(name, port=TURN_PORT, link=link))

    def node(
        self,
        name: str = "",
        *,
        behind: str | Iterable[NatBehaviour] | Site = "open",
        community_name: str = "home",
        secret: str = _SECRET,
        communities: Sequence[CommunitySettings] | None = None,
        supernodes: Sequence[SimSupernode] | None = None,
        pinned: bool = True,
        lease: str = "auto",
        address: str = "",
        ipv4: bool = True,
        ipv6: bool = False,
        port: int | None = None,
        link: Link | None = None,
        **options: Any,
    ) -> SimNode:
        """Returns a new node, started at once.

        Args:
            behind: the kind of NAT, a chain of boxes of its own, or a site that others are at as well.
            communities: memberships other than the one that `community_name`, `secret`, `lease` and `address` name.
            supernodes: whom it knows, in order; all by default.
            pinned: whether its URLs have the supernodes' keys.
            link: its line, if not that of the place where it is.
        """
        name = name or f"node{next(self._node_numbers)}"
        if communities is None:
            named = community(community_name, secret)
            communities = [CommunitySettings(named, 0, "ntvl0", lease=lease, address=address)]
        known = self.supernodes if supernodes is None else supernodes
        node = SimNode(
            self.host(name, behind, port=port, link=link, ipv4=ipv4, ipv6=ipv6),
            self.timeline,
            self.random(f"{name}/machine"),
            communities=communities,
            supernodes=[s.url if pinned else s.url._replace(key=None) for s in known],
            resolve=self.resolve,
            find=self.find,
            **options,
        )
        self.nodes.append(node)
        return node

    def resolve(self, url: SupernodeUrl) -> tuple[Address, ...]:
        """Returns what the name in a URL resolves to, IPv6 first, as resolvers have it (RFC 6724 section 2.1)."""
        supernode = self._names.get(url.host)
        return () if supernode is None else tuple(sorted(supernode.addresses, key=lambda each: not each.is_ipv6))

    def find(self, url: SupernodeUrl) -> tuple[Host, int] | None:
        """Returns the host that a URL names, and its port for WebSockets, 0 for none."""
        supernode = self._names.get(url.host)
        return None if supernode is None else (supernode.host, supernode.wss)

    # --- what happens to them ---

    def move(self, node: SimNode, *, behind: str | Iterable[NatBehaviour] | Site = "open", ipv6: bool = False) -> Site:
        """Takes a node off its network and plugs it in elsewhere; returns where."""
        site = self.site(behind, ipv6=ipv6)
        node.host.unplug()
        node.host.plug(site.segment, ipv6=ipv6)
        return site

    def reboot_nat(self, node: SimNode, *, new_address: bool = False) -> None:
        """Reboots every router between a node and the Internet."""
        for router in self.routers(node):
            router.reboot(new_address=new_address)

    def routers(self, node: SimNode) -> tuple[Router, ...]:
        """Returns the routers between a node and the Internet, innermost first."""
        gateway = node.host.interfaces[0].segment.gateway
        return gateway.box.chain() if gateway is not None and isinstance(gateway.box, Router) else ()

    def suspend(self, node: SimNode, duration_s: float) -> None:
        """Closes a laptop's lid for so long."""
        node.host.suspend(duration_s)

    def step_clock(self, node: SimNode | SimSupernode, step_s: float) -> None:
        """Steps a wall clock."""
        node.host.step_wall(step_s)

    def restart_supernode(self, supernode: SimSupernode, *, down_s: float = 0.0) -> None:
        """Kills a supernode and starts it again, with its leases and nothing else."""
        supernode.stop()
        self.timeline.after(down_s, supernode.start)

    def partition(self, left: Iterable[SimNode | SimSupernode], right: Iterable[SimNode | SimSupernode]) -> None:
        """Loses every datagram between two groups, both ways, until `heal`."""
        self.cut(_hosts(left), _hosts(right))

    # --- what they show ---

    def path(self, a: SimNode, b: SimNode) -> PathView:
        """Returns how `a` reaches `b`, as its status shows it."""
        return a.path_to(b)

    def is_direct(self, a: SimNode, b: SimNode) -> bool:
        """Returns whether both ends show a direct path."""
        return a.path_to(b).is_direct and b.path_to(a).is_direct

    def is_joined(self, *nodes: SimNode) -> bool:
        """Returns whether every one of the nodes, or of all, has an address and knows all the others of them.

        All are taken to be in one community, the first one of each.
        """
        wanted = nodes or tuple(self.nodes)
        if not all(node.ipv4 and len(node.first_known) >= len(wanted) - 1 for node in wanted):
            return False
        keys = {node.key.public for node in wanted}
        return all(len(keys & node.first_known) == len(keys) - 1 for node in wanted)

    def join(self, *nodes: SimNode, limit_s: float = 10.0) -> float:
        """Lets time pass until nodes, or all, have addresses and know each other; returns the seconds it took."""
        return self.run_until(lambda: self.is_joined(*nodes), limit_s, "all joined")

    def ping(self, a: SimNode, b: SimNode, *, limit_s: float = 5.0) -> float | None:
        """Pings `b` from `a`'s host stack, once; returns the round trip in seconds, or None without an answer in
        time.
        """
        return self.ping_address(a, b.ipv4, limit_s=limit_s)

    def ping_address(self, a: SimNode, address: str, *, limit_s: float = 5.0) -> float | None:
        """Pings any address of the virtual network."""
        key = (7, next(self._echoes) & 0xFFFF)
        start, echoes = self.now, a.station.echoes
        a.station.send_echo(address, *key)
        while key not in echoes:
            due = self.timeline.next_at()
            if due is None or due > start + limit_s:
                self.timeline.run_until(start + limit_s)
                return None
            self.timeline.step()
        return echoes[key] - start

    def send(self, a: SimNode, b: SimNode, data: bytes, *, port: int = 7000) -> None:
        """Sends a UDP datagram from host stack to host stack."""
        a.station.send_udp(b.ipv4, port, data)

    def stream(
        self, a: SimNode, b: SimNode, *, packets: int, spacing_s: float, port: int = 7001, size_bytes: int = 64
    ) -> None:
        """Plans a stream of numbered datagrams from `a` to `b`; `received` tells which came."""
        destination = b.ipv4

        def send(number: int) -> None:
            if a.runner is not None:
                a.station.send_udp(destination, port, number.to_bytes(4, "big").ljust(size_bytes, b"."))

        for number in range(packets):
            self.timeline.after(number * spacing_s, lambda number=number: send(number))  # type: ignore[misc]

    def received(self, node: SimNode, *, port: int = 7001, since: float = 0.0) -> list[int]:
        """Returns the numbers of a stream in the order in which they came, copies too."""
        datagrams = node.station.datagrams
        return [int.from_bytes(d.data[:4], "big") for d in datagrams if d.port == port and d.at >= since]


def _hosts(members: Iterable[SimNode | SimSupernode]) -> list[Host]:
    return [member.host for member in members]
