"""UDP sockets that send and receive many datagrams in one system call.

`UDP_SEGMENT` has the kernel cut one buffer into datagrams, `UDP_GRO` has it join those that came from one sender. Both
fall away where the kernel, or the way to one destination, does not do them; then datagrams go one by one. No datagram
asks routers not to fragment it: rather slow over an odd link than lost on it. Sources: Linux udp(7), ip(7), ipv6(7).
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.train import Train
from ntvl.errors import UsageError
from ntvl.wire.address import Address

__all__ = ["BUFFER_BYTES", "SegmentSender", "bind_udp", "receive_into", "receive_train", "send_datagram"]

BUFFER_BYTES: Final = 8 * 1024 * 1024
_RECEIVE_BYTES: Final = 65535
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DONT: Final = 0
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(4)
_NO_SEGMENTATION: Final = frozenset(
    (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENOTSUP)
)
_SINGLES_MAX: Final = 1024
_RANDOM_TRIES: Final = 32
_NO_FAMILY: Final = frozenset((errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT))


def bind_udp(listen: Sequence[Address]) -> list[socket.socket]:
    """Binds one UDP socket for each address, IPv4 or IPv6; one port number for all that ask for port 0.

    A family that this computer does not have is left out, as long as another is there.

    Args:
        listen: such as 0.0.0.0 and [::], at one port or 0.
    Raises:
        UsageError: the port is taken, needs a privilege, or the address is not this computer's; in one sentence.
    """
    for attempt in range(_RANDOM_TRIES):
        sockets: list[socket.socket] = []
        port = 0
        try:
            for address in listen:
                bound = _bind(Address(address.host, address.port or port))
                if bound is None:
                    continue
                sockets.append(bound)
                port = port or bound.getsockname()[1]
        except OSError as error:
            for bound in sockets:
                bound.close()
            if error.errno == errno.EADDRINUSE and address.port == 0 and attempt + 1 < _RANDOM_TRIES:
                continue  # The number that was free in one family is taken in the other.
            raise UsageError(_explain(error, address)) from error
        break
    if not sockets:
        raise UsageError("this computer has no network that could listen on " + ", ".join(map(str, listen)))
    return sockets


def receive_train(sock: socket.socket) -> tuple[bytes, int, Address]:
    """Returns (datagrams in a row, segment size or 0 for a single one, sender); BlockingIOError where none waits."""
    data, ancillary, _, source = sock.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES)
    segment_bytes = 0
    for level, kind, value in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            (segment_bytes,) = _INT.unpack_from(value)
    return data, segment_bytes, source if len(source) == 2 else source[:2]


def receive_into(sock: socket.socket, buffer: bytearray) -> tuple[int, int, Address]:
    """Returns as `receive_train`, with the size of what is now in `buffer` instead of the datagrams."""
    size, ancillary, _, source = sock.recvmsg_into((buffer,), _ANCILLARY_BYTES)
    segment_bytes = 0
    for level, kind, value in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            (segment_bytes,) = _INT.unpack_from(value)
    return size, segment_bytes, source if len(source) == 2 else source[:2]


def send_datagram(sock: socket.socket, data: bytes, address: Address, ttl: int = 0) -> None:
    """Sends one datagram; `ttl` as in `Transmit`, for this one alone.

    Raises:
        OSError: the kernel refuses it.
    """
    if ttl:
        level, kind = (
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT) if address.is_ipv6 else (socket.IPPROTO_IP, socket.IP_TTL)
        )
        sock.sendmsg((data,), ((level, kind, _INT.pack(ttl)),), 0, address)
    else:
        sock.sendto(data, address)


class SegmentSender:
    """Sends trains from one socket, in one call where the kernel and the way allow it."""

    __slots__ = ("_ancillary", "_sendmsg", "_sendto", "_singles", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sendmsg = sock.sendmsg
        self._sendto = sock.sendto
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        self._singles: dict[Address, None] = {}

    def send(self, train: Train) -> int:
        """Sends a train; returns how many of its datagrams the kernel refused.

        Raises:
            BlockingIOError: the kernel has no room now, and none of the train has gone.
        """
        _, address, buffers, segment_bytes = train
        try:
            if len(buffers) == 1 and len(buffers[0]) <= segment_bytes:
                self._sendto(buffers[0], address)
                return 0
            if address not in self._singles:
                ancillary = self._ancillary.get(segment_bytes)
                if ancillary is None:
                    ancillary = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("H", segment_bytes))]
                    self._ancillary[segment_bytes] = ancillary
                self._sendmsg(buffers, ancillary, 0, address)
                return 0
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _NO_SEGMENTATION or (len(buffers) == 1 and len(buffers[0]) <= segment_bytes):
                return -(-sum(map(len, buffers)) // segment_bytes)
            if len(self._singles) >= _SINGLES_MAX:
                self._singles.clear()
            self._singles[address] = None
        return self._send_singly(train)

    def _send_singly(self, train: Train) -> int:
        refused = 0
        for index, datagram in enumerate(train.datagrams()):
            try:
                self._sendto(datagram, train.address)
            except BlockingIOError:
                if index == 0:
                    raise
                refused += 1
            except OSError:
                refused += 1
        return refused


_INT: Final = struct.Struct("i")


def _bind(address: Address) -> socket.socket | None:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_FAMILY:
            return None
        raise
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)
            except OSError:
                sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)
        with contextlib.suppress(OSError):
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        # With IPv6 switched off by sysctl there is a family, but not even "::" to bind to.
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL and address.host == "::":
            return None
        raise
    return sock


def _explain(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {address.port} is in use on {address.host}: stop the program that has it, or choose another port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is not an address of this computer, so nothing can listen on it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"UDP port {address.port} needs a privilege: run as root, or choose a port from 1024 up"
    return f"cannot listen on UDP {address}: {(error.strerror or str(error)).lower()}"
