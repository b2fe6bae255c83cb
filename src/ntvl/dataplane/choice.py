"""Which engine moves the packets, and the one way to start it.

The Python engine is always there. Another distribution offers its own through an entry point in the group
`ntvl.engines`, `NAME = "module:factory"`; the factory takes what `PythonEngine` takes and returns a `DataPlane`.
"auto" takes an offered one, if there is any, before the Python one; NTVL_ENGINE in the environment overrides "auto".
"""

import os
import socket
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from ntvl.dataplane.engine import PythonEngine
from ntvl.dataplane.interface import DataPlane
from ntvl.dataplane.tap import check_tap
from ntvl.dataplane.udp import bind_udp
from ntvl.errors import UsageError
from ntvl.wire.address import Address

__all__ = ["ENGINE_VARIABLE", "ENTRY_POINT_GROUP", "Engine", "available_engines", "start_engine"]

ENGINE_VARIABLE: Final = "NTVL_ENGINE"
ENTRY_POINT_GROUP: Final = "ntvl.engines"
DEFAULT_LISTEN: Final = (Address("0.0.0.0", 0), Address("::", 0))


class Engine(DataPlane, Protocol):
    """Is a started engine: a `DataPlane` that knows its port."""

    port: int
    """The UDP port of socket 0."""


def start_engine(
    name: str = "auto", *, listen: Sequence[Address] = DEFAULT_LISTEN, taps: bool = True, relay: bool = False
) -> Engine:
    """Binds the UDP port and starts an engine on it.

    Args:
        name: "auto", or an engine out of `available_engines`.
        listen: where to listen; port 0 for any port, the same one in both families. IPv6 is left out where there
            is none.
        taps: whether devices will be opened (a node), so that a missing privilege or driver is found now.
        relay: whether this is a supernode's engine, which forwards RELAY datagrams instead of looking inside.
    Raises:
        UsageError: port in use, no privilege, no /dev/net/tun, unknown engine: one sentence each.
    """
    factory = _find(os.environ.get(ENGINE_VARIABLE, "") or name if name == "auto" else name)
    if taps:
        check_tap()
    sockets = bind_udp(listen)
    try:
        return factory(sockets, relay=relay)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise


def available_engines() -> tuple[str, ...]:
    """Returns the names of the engines that are installed, the one that "auto" takes first."""
    return (*(offer.name for offer in _offers()), PythonEngine.name)


class _Factory(Protocol):
    def __call__(self, sockets: Sequence[socket.socket], *, relay: bool) -> Engine: ...


def _find(name: str) -> _Factory:
    offers = _offers()
    if name == "auto" and offers:
        name = offers[0].name
    for offer in offers:
        if offer.name == name:
            try:
                factory: _Factory = offer.load()
            except Exception as error:
                raise UsageError(f"the engine {name!r} ({offer.value}) does not load: {error}") from error
            return factory
    if name in ("auto", PythonEngine.name):
        return PythonEngine
    raise UsageError(f"there is no engine {name!r} here, only: " + ", ".join(available_engines()))


def _offers() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda offer: offer.name)
