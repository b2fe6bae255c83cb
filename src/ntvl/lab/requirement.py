"""What a machine must have for a lab: rights, devices, programs; each lack is one sentence with the way out."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ntvl.errors import UsageError
from ntvl.lab.program import build_environment

__all__ = ["check_programs", "check_rights", "check_tun"]

_PACKAGES: Final = {"ip": "iproute2", "nft": "nftables", "miniupnpd": "miniupnpd-nftables"}
_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21
_TUN: Final = Path("/dev/net/tun")


def check_rights(what: str) -> None:
    """Checks that this process may make network namespaces.

    Raises:
        UsageError: it may not.
    """
    if os.geteuid() != 0:
        raise UsageError(f"{what} builds networks in the kernel and needs root: run it again with sudo")
    if not all(_effective_capabilities() >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN)):
        raise UsageError(
            f"{what} needs the capabilities NET_ADMIN and SYS_ADMIN, which this root has not: in a container, start it"
            " with --privileged, or use a virtual machine"
        )


def check_tun(what: str) -> None:
    """Checks that TAP devices can be made.

    Raises:
        UsageError: they cannot.
    """
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"{what} needs the device {_TUN} ({reason}): run `modprobe tun`; in a container, start it with"
            f" --device {_TUN}"
        ) from error


def check_programs(what: str, programs: Sequence[str]) -> None:
    """Checks that programs are there.

    Raises:
        UsageError: some are not; names the packages.
    """
    missing = [name for name in programs if shutil.which(name, path=build_environment()["PATH"]) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_PACKAGES.get(name, name) for name in missing))
        raise UsageError(f"{what} needs {' and '.join(missing)}: run `apt-get install {packages}`")


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
