"""TAP devices: Ethernet between the kernel and a file descriptor, with whatever the kernel offers to leave undone.

A device is asked for virtio headers and for every offload that saves work: checksums not filled in, TCP (TSO) and UDP
(USO, Linux 6.2 and later) in super-frames of up to 64 KiB. What a kernel does not know it refuses as a whole, so the
wishes shrink until it agrees. Sources: Linux Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import Final

from ntvl.errors import UsageError
from ntvl.wire.vnet import VNET_BYTES

__all__ = ["GSO_MAX_BYTES", "TUN_PATH", "Tap", "check_tap", "open_tap"]

TUN_PATH: Final = "/dev/net/tun"

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETVNETHDRSZ: Final = 0x400454D8
_TUNSETVNETLE: Final = 0x400454DC
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_CSUM, _TSO4, _TSO6, _TSO_ECN, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_WISHES: Final = (
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN | _USO4 | _USO6, ("csum", "tso4", "tso6", "uso")),
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN, ("csum", "tso4", "tso6")),
    (_CSUM | _TSO4 | _TSO6, ("csum", "tso4", "tso6")),
    (_CSUM, ("csum",)),
    (0, ()),
)
_SIOCSIFMTU: Final = 0x8922
_SIOCSIFHWADDR: Final = 0x8924
_ARPHRD_ETHER: Final = 1
_NAME_BYTES_MAX: Final = 15
_RTM_SETLINK: Final = 19
_NLM_F_REQUEST: Final = 1
_IFLA_GSO_MAX_SIZE: Final = 41
GSO_MAX_BYTES: Final = 59_200
"""Super-frames that fill one train: 45 segments of the default MTU make 45 datagrams, just under 64 KiB when sealed.

With the kernel's own limit of 64 KiB a super-frame would leave in a full train and a short one, each with a way through
the whole network stack. TCP takes 320 bytes off for headers.
"""
_CAP_NET_ADMIN: Final = 12


class Tap:
    """Is an open TAP device: `name` as the kernel has it, `offloads` as it granted them. Gone when closed."""

    __slots__ = ("descriptor", "name", "offloads")

    def __init__(self, descriptor: int, name: str, offloads: tuple[str, ...]) -> None:
        self.descriptor = descriptor
        self.name = name
        self.offloads = offloads

    def fileno(self) -> int:
        """Returns the non-blocking descriptor: a read gives one virtio header and frame, a write takes one."""
        return self.descriptor

    def close(self) -> None:
        """Removes the device."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def check_tap() -> None:
    """Finds out whether this process may make a TAP.

    Raises:
        UsageError: what is missing and how to get it, in one sentence.
    """
    try:
        os.close(os.open(TUN_PATH, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise UsageError(
            f"there is no {TUN_PATH}, so no network device can be made: run `modprobe tun`, or start the container "
            f"with --device {TUN_PATH}"
        ) from None
    except OSError as error:
        raise UsageError(_explain(error)) from error
    if not _may_administer():
        raise UsageError(_explain(PermissionError(errno.EPERM, "")))


def open_tap(name: str, mac: bytes, mtu: int, *, wishes: tuple[str, ...] = ("csum", "tso4", "tso6", "uso")) -> Tap:
    """Makes a TAP device that is down, with this MAC and MTU, and that vanishes with its descriptor.

    Args:
        name: up to 15 bytes; the kernel fills in "%d" and, where it is empty, everything.
        mac: 6 bytes.
        wishes: the offloads to ask for; fewer come where the kernel does not know them.
    Raises:
        UsageError: no privilege, no TUN device, name taken or impossible, MAC or MTU refused; in one sentence.
    """
    if len(name.encode()) > _NAME_BYTES_MAX or any(c in name for c in "/: \t\n"):
        raise UsageError(f"{name!r} cannot be a device's name: at most 15 bytes, without slash, colon and blank")
    try:
        descriptor = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        check_tap()
        raise
    except OSError as error:
        raise UsageError(_explain(error)) from error
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        actual = fcntl.ioctl(descriptor, _TUNSETIFF, request)[:16].rstrip(b"\0").decode()
        fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("i", VNET_BYTES))
        fcntl.ioctl(descriptor, _TUNSETVNETLE, struct.pack("i", 1))
        offloads = _negotiate(descriptor, wishes)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFHWADDR, struct.pack("16sH6s16x", actual.encode(), _ARPHRD_ETHER, mac))
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", actual.encode(), mtu))
        if offloads:
            _limit_super_frames(actual)
    except OSError as error:
        os.close(descriptor)
        raise UsageError(_explain(error, name)) from error
    return Tap(descriptor, actual, offloads)


def _negotiate(descriptor: int, wishes: tuple[str, ...]) -> tuple[str, ...]:
    for flags, offloads in _WISHES:
        if not set(offloads) <= set(wishes):
            continue
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _TUNSETOFFLOAD, flags)
            return offloads
    return ()


def _limit_super_frames(name: str) -> None:
    attribute = struct.pack("=HHI", 8, _IFLA_GSO_MAX_SIZE, GSO_MAX_BYTES)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0) + attribute
    message = struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, _NLM_F_REQUEST, 1, 0) + body
    # A kernel that does not know this limit (before 4.16) leaves it as it is: two trains instead of one.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.sendto(message, (0, 0))


def _may_administer() -> bool:
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return os.geteuid() == 0


def _explain(error: OSError, name: str = "") -> str:
    if error.errno == errno.EACCES and _may_administer():
        return f"{TUN_PATH} is not open to this user: run as root, or `chmod 666` it, as most systems do"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "making a network device needs the privilege CAP_NET_ADMIN: run as root, or with `sudo`"
    if error.errno == errno.EBUSY or (error.errno in (errno.EINVAL, errno.EEXIST) and _exists(name)):
        return f"there is already a network device {name}: choose another name with --device, or remove it"
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return f"the kernel has no TUN driver behind {TUN_PATH}: run `modprobe tun`"
    return f"the kernel refused the network device {name or TUN_PATH}: {os.strerror(error.errno or 0).lower()}"


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
