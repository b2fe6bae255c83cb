"""A TCP port of ours that listens and connects at once: what simultaneous open needs.

Two ends connect to each other, each from the port that its NAT has shown. A NAT that drops what comes unasked lets a
SYN in once one of ours has gone out to where it comes from; both kernels then take the other's SYN for the answer to
their own (RFC 9293 section 3.5, figure 8). One of the two first SYNs gets through, whoever was first, and a SYN that is
lost the kernel repeats after 1 s and 2 s (RFC 6298 section 2); so one connect to each address is enough, unless a box
refuses it. The port listens as well: from one side's NAT, or without one, the SYN may come from another port.

Source: RFC 5128 section 3.4 (TCP hole punching); Ford et al., "Peer-to-Peer Communication Across NATs", section 4.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from ntvl.wire.address import Address

__all__ = ["SharedPort"]

REFUSED_WAIT_S: Final = (0.1, 0.2, 0.4, 0.8)
"""Before a connect that was refused is tried again; the last one repeats."""
_REFUSALS: Final = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH)
"""What a box on the way may answer before its filter is open: RST, or the ICMP errors that tcp(7) makes EHOSTUNREACH,
as "host prohibited", with which firewalls reject."""
_BACKLOG: Final = 4
_BINDS_MAX: Final = 8

OnOpen = Callable[[socket.socket, Address], None]
"""Takes a connection that has opened, non-blocking, which it then owns, and the other end's address."""


class SharedPort:
    """Is one port number on each address family that this computer has.

    Raises:
        OSError: there is no port to have.
    """

    def __init__(self) -> None:
        self.port = 0
        self._listeners: dict[bool, socket.socket] = {}
        for tries in range(_BINDS_MAX):
            try:
                self._bind()
                return
            except OSError:
                self.close()
                if tries + 1 == _BINDS_MAX:
                    raise

    def close(self) -> None:
        """Lets the port go; connections that are open stay."""
        while self._listeners:
            self._listeners.popitem()[1].close()
        self.port = 0

    async def connect(self, remote: Address) -> socket.socket:
        """Returns a connection to an address, once it opens; as long as it takes, for the caller to end.

        Raises:
            OSError: this computer has no way there.
        """
        loop = asyncio.get_running_loop()
        refusals = 0
        while True:
            sock = self._socket(remote.is_ipv6, self.port)
            try:
                await loop.sock_connect(sock, remote)
                if sock.getsockname()[:2] == sock.getpeername()[:2]:
                    raise OSError("connected to itself")
            except BaseException as error:
                sock.close()
                if not (isinstance(error, OSError) and error.errno in _REFUSALS):
                    raise
            else:
                return sock
            await asyncio.sleep(REFUSED_WAIT_S[min(refusals, len(REFUSED_WAIT_S) - 1)])
            refusals += 1

    async def listen(self, hosts: Collection[str], on_open: OnOpen) -> None:
        """Takes connections from these hosts until it is cancelled; others are closed."""
        async with asyncio.TaskGroup() as group:
            for listener in self._listeners.values():
                group.create_task(_accept(listener, hosts, on_open))

    def _bind(self) -> None:
        for is_ipv6 in (False, True):
            try:
                sock = self._socket(is_ipv6, self.port)
            except OSError:
                if self.port and not is_ipv6:
                    raise
                if is_ipv6 and self.port and _has_ipv6():
                    raise  # Somebody else has that number there.
                continue
            self._listeners[is_ipv6] = sock
            sock.listen(_BACKLOG)
            self.port = sock.getsockname()[1]
        if not self._listeners:
            raise OSError("this computer has neither IPv4 nor IPv6")

    def _socket(self, is_ipv6: bool, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if is_ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::" if is_ipv6 else "0.0.0.0", port))
        except BaseException:
            sock.close()
            raise
        return sock


async def _accept(listener: socket.socket, hosts: Collection[str], on_open: OnOpen) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, source = await loop.sock_accept(listener)
        except OSError:  # The other end was gone before we took it, or this process has no descriptor to spare.
            await asyncio.sleep(REFUSED_WAIT_S[0])
            continue
        if source[0] in hosts:
            on_open(sock, Address(source[0], source[1]))
        else:
            sock.close()


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::", 0))
        return True
    return False
