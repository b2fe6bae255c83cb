"""What carried to each supernode on the networks where this computer was, kept in the state directory.

A network is named by its default gateway and our prefix there. Two home networks may share both: then the memory is
wrong, which costs a stream that UDP makes superfluous a moment later. Only what is not UDP is remembered.
"""

import logging
from pathlib import Path
from typing import Final

import msgspec

from ntvl.errors import UsageError
from ntvl.runtime.netlink import NetlinkError, open_netlink
from ntvl.runtime.state import write_atomically

__all__ = ["FILE_NAME", "NETWORKS_MAX", "NetworkMemory", "read_network"]

FILE_NAME: Final = "networks.json"
NETWORKS_MAX: Final = 64
_SOMEWHERE: Final = ("192.0.2.1", "2001:db8::1")
"""Nobody's addresses (RFC 5737, RFC 3849): the way to them is the default route."""
_log = logging.getLogger("ntvl.networks")


async def read_network() -> str:
    """Returns what names the network by which this computer reaches the Internet; empty for none."""
    try:
        async with open_netlink() as netlink:
            addresses = await netlink.addresses()
            for host in _SOMEWHERE:
                _, gateway, source = await netlink.way_to(host)
                for address in addresses:
                    if str(address.interface.ip) == source:
                        return f"{gateway or 'direct'} {address.interface.network}"
    except (NetlinkError, OSError) as error:
        _log.warning("cannot read this machine's network: %s", error)
    return ""


class NetworkMemory:
    """Keeps one file; what is wrong with it costs the memory and nothing else.

    Args:
        directory: the state directory.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        try:
            self._networks = msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, str]])
        except FileNotFoundError:
            self._networks = {}
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("cannot read %s, and begin it anew: %s", self._path, error)
            self._networks = {}

    def recall(self, network: str, endpoint: str) -> str:
        """Returns the kind of carrier that carried last to an endpoint (HOST:PORT) on a network; empty for none."""
        return self._networks.get(network, {}).get(endpoint, "")

    def note(self, network: str, endpoint: str, way: str) -> None:
        """Remembers over what an endpoint was reached: a kind of carrier, or "udp"."""
        kind = "" if way == "udp" else way
        if not network or self.recall(network, endpoint) == kind:
            return
        known = self._networks.pop(network, {})
        known.pop(endpoint, None)
        if kind:
            known[endpoint] = kind
        if known:
            self._networks[network] = known
        while len(self._networks) > NETWORKS_MAX:
            del self._networks[next(iter(self._networks))]
        try:
            write_atomically(self._path, msgspec.json.format(msgspec.json.encode(self._networks), indent=2) + b"\n")
        except UsageError as error:
            _log.warning("%s", error)
