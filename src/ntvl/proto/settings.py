"""What a node is told at its start; frozen, checked by `config` before it gets here."""

from dataclasses import dataclass

from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.identity.url import SupernodeUrl

__all__ = ["CommunitySettings", "NodeSettings"]


@dataclass(frozen=True, slots=True)
class CommunitySettings:
    """Describes one membership.

    `device` is the handle of its TAP, 0 up; `lease` is "auto", "static" (then `address` is CIDR text) or "none" (a
    DHCP server on the virtual network, or no IPv4); with "auto", `address` is a wish. `mtu` is the TAP's, 1280..9000.
    """

    community: Community
    device: int
    device_name: str
    lease: str = "auto"
    address: str = ""
    subnet: str = "10.77.0.0/16"
    mtu: int = 1360


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Describes a node.

    `supernodes` are in order of preference; an entry whose `key` is None is asked for it, once, and the caller pins it.
    `incarnation` is 8 random bytes, drawn at each start. `port` is the main UDP port as bound (0: no host candidates).
    `direct` False keeps every peer on relays: no offer, no check. `guesses` False lets no port be predicted or guessed.
    `streams` says that the runtime opens carriers to
    supernodes (see `carriage`), `proxies` names for each supernode the HTTP proxy towards it (HOST:PORT) or is empty.
    """

    key: NodeKey
    name: str
    communities: tuple[CommunitySettings, ...]
    supernodes: tuple[SupernodeUrl, ...]
    incarnation: bytes
    aes: bool = True
    version: str = ""
    port: int = 0
    direct: bool = True
    guesses: bool = True
    streams: bool = False
    proxies: tuple[str, ...] = ()

    @property
    def punch(self) -> str:
        """Returns the two above as people write them: "all", "known" or "off"."""
        return ("all" if self.guesses else "known") if self.direct else "off"
