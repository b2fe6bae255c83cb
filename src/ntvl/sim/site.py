"""A place where hosts are: a segment, and the routers between it and the Internet."""

from dataclasses import dataclass

from ntvl.nat import Chain
from ntvl.sim.router import Router
from ntvl.sim.segment import Segment

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """Is a segment with its routers, innermost first; the Internet is the site without routers."""

    name: str
    segment: Segment
    routers: tuple[Router, ...] = ()

    @property
    def chain(self) -> Chain:
        """Returns what the routers do, for the oracle."""
        return tuple(router.behaviour for router in self.routers)

    def reboot(self, *, new_address: bool = False) -> None:
        """Reboots every router of the site."""
        for router in self.routers:
            router.reboot(new_address=new_address)
