"""The network of a simulation without anything running on it: the Internet, sites, hosts, partitions, virtual time.

Addresses follow from the order in which things are made. Whatever is drawn comes from the seed, so a run repeats
itself bit for bit, and everything that fails here says with which seed.
"""

from collections.abc import Callable, Collection, Iterable
from itertools import count
from random import Random
from typing import Final

from ntvl.nat import KINDS, Chain, NatBehaviour
from ntvl.sim.gateway import PROTOCOLS
from ntvl.sim.host import Host
from ntvl.sim.packet import LAN, WAN, Link
from ntvl.sim.router import Router
from ntvl.sim.segment import Segment
from ntvl.sim.site import Site
from ntvl.sim.timeline import Timeline

__all__ = ["SimulationError", "World"]

_INTERNET_IPV4: Final = "198.18.0.0/15"
_INTERNET_HOPS: Final = 6
"""Between any two lines: what a packet with a small time to live does not cross."""
_INTERNET_IPV6: Final = "2001:db8::/64"
_CARRIER: Final = Link(delay_s=0.002)
"""The lines of a network between two routers."""


class SimulationError(AssertionError):
    """Says that something awaited did not happen in its time, and with which seed it can be seen again."""


class World:
    """Builds networks and lets time pass.

    Args:
        seed: repeats a run.
        link: the line of everything that is attached to the Internet.
    """

    def __init__(self, seed: int, link: Link = WAN) -> None:
        self.seed = seed
        self.timeline = Timeline()
        self.hosts: list[Host] = []
        self._random = Random(seed)
        self._numbers = count(1)
        self._blocked: set[tuple[Host, Host]] = set()
        internet = Segment(
            "internet",
            self.timeline,
            self._random,
            ipv4=_INTERNET_IPV4,
            ipv6=_INTERNET_IPV6,
            link=link,
            public=True,
            hops=_INTERNET_HOPS,
        )
        self.internet = Site("internet", internet)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed}) at {self.now:.3f} s"

    @property
    def now(self) -> float:
        """Returns the simulator's time, seconds since its start."""
        return self.timeline.now

    def random(self, name: str) -> Random:
        """Returns a source of chance of its own for one thing, the same in each run with this seed."""
        return Random(f"{self.seed}/{name}")

    def site(
        self,
        behind: str | Iterable[NatBehaviour] | Site = "open",
        *,
        outside: Site | None = None,
        ipv6: bool = False,
        link: Link = LAN,
        protocols: Collection[str] = (),
    ) -> Site:
        """Returns a new place behind a chain of routers of its own.

        Args:
            behind: the name of a kind, or a chain, innermost router first; a `Site` is returned as it is. A name may
                end with the protocols by which the innermost router maps ports: "eim-apdf+pcp",
                "cgn+pcp+natpmp". "pcp" and "natpmp" alone mean a router with random ports that speaks it.
            outside: where the outermost router is attached, if not to the Internet.
            ipv6: whether hosts inside get IPv6 addresses, filtered as IPv4 is.
            link: the line of a host inside.
            protocols: by which the innermost router maps ports, beside what a name says.
        """
        if isinstance(behind, Site):
            return behind
        chain, named = _read_kind(behind) if isinstance(behind, str) else (tuple(behind), ())
        protocols = (*named, *protocols)
        site = outside or self.internet
        for place, behaviour in reversed(list(enumerate(chain))):
            number = next(self._numbers)
            name = f"router{number}"
            inside = Segment(
                f"inside-{name}",
                self.timeline,
                self._random,
                ipv4=_inside_ipv4(number, behaviour.translates),
                ipv6=f"2001:db8:{number:x}::/64" if ipv6 else "",
                link=_CARRIER if place else link,
            )
            router = Router(
                name,
                behaviour,
                inside=inside,
                outside=site.segment,
                timeline=self.timeline,
                random=self.random(name),
                protocols=() if place else protocols,
            )
            site = Site(f"behind-{name}", inside, (router, *site.routers))
        return site

    def host(
        self,
        name: str,
        behind: str | Iterable[NatBehaviour] | Site = "open",
        *,
        port: int | None = None,
        link: Link | None = None,
        ipv4: bool = True,
        ipv6: bool = False,
    ) -> Host:
        """Returns a new host, plugged in at a site; `port` None draws an ephemeral one."""
        random = self.random(name)
        drawn = random.randrange(32768, 61000)
        host = Host(name, self.timeline, random, port=port or drawn, admits=self._admits)
        self.hosts.append(host)
        host.plug(self.site(behind, ipv6=ipv6).segment, link=link, ipv4=ipv4, ipv6=ipv6)
        return host

    def cut(self, left: Iterable[Host], right: Iterable[Host], *, one_way: bool = False) -> None:
        """Loses every datagram from the left hosts to the right ones, and the other way unless `one_way`.

        Hosts are meant, not addresses: what a supernode relays comes from the supernode.
        """
        for a in left:
            for b in right:
                self._blocked.add((a, b))
                if not one_way:
                    self._blocked.add((b, a))

    def heal(self) -> None:
        """Ends all that `cut` began."""
        self._blocked.clear()

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self.timeline.run_until(self.now + seconds)

    def run_until(self, condition: Callable[[], bool], limit_s: float = 30.0, what: str = "") -> float:
        """Lets time pass until a condition holds, looked at after each thing that happens.

        Returns:
            The seconds that passed.
        Raises:
            SimulationError: it does not hold within `limit_s`; `what` says what was awaited.
        """
        start, deadline = self.now, self.now + limit_s
        while not condition():
            due = self.timeline.next_at()
            if due is None or due > deadline:
                self.timeline.run_until(deadline)
                raise SimulationError(f"not within {limit_s} s: {what or condition} ({self!r})")
            self.timeline.step()
        return self.now - start

    def _admits(self, sender: Host, receiver: Host) -> bool:
        return (sender, receiver) not in self._blocked


def _read_kind(text: str) -> tuple[Chain, tuple[str, ...]]:
    """Returns the chain of a kind, and the protocols of its innermost router."""
    kind, *protocols = text.split("+")
    if kind in PROTOCOLS:
        return KINDS["apdm-random"], (kind, *protocols)
    assert set(protocols) <= set(PROTOCOLS), f"{text}: known protocols are {', '.join(PROTOCOLS)}"
    return KINDS[kind], tuple(protocols)


def _inside_ipv4(number: int, translates: bool) -> str:
    if not translates:
        return f"203.0.{number}.0/24" if number < 256 else f"203.{number >> 8}.{number & 255}.0/24"
    if number < 255:
        return f"192.168.{number}.0/24"
    return f"10.{128 + (number >> 8)}.{number & 255}.0/24"
