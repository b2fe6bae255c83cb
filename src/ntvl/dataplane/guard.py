"""Whether a frame that came from a peer may be what it says it is.

A peer may speak for itself and for whatever is behind it, but not with the MAC or the address that another member's
certificate names, nor with ours.
"""

from typing import Final

from ntvl.dataplane.peer import Device, Peer
from ntvl.errors import PeerError
from ntvl.wire.ethernet import claimed_addresses, is_group
from ntvl.wire.vnet import VNET_BYTES

__all__ = ["check_sender"]

_NOBODY: Final = object()
_IPV4: Final = b"\x08\x00"
_ARP: Final = b"\x08\x06"
_IPV6: Final = b"\x86\xdd"
_VLAN: Final = (b"\x81\x00", b"\x88\xa8")
_PLAIN_NEXT: Final = frozenset((6, 17))


def check_sender(device: Device, peer: Peer, buffer: bytes, now: float) -> None:
    """Checks, and learns from, the source of a frame with virtio header (at least an Ethernet header behind it).

    Raises:
        PeerError: reason "mac-claimed", "address-claimed" or "header"; drop the frame.
    """
    table = device.table
    source = buffer[16:22]
    owner = table.owners.get(source, _NOBODY)
    if owner is not peer:
        if owner is not _NOBODY:
            raise PeerError("mac-claimed")
        if is_group(source):
            raise PeerError("header", "a group address as source")
        table.learn(source, peer, now)
    owners = table.address_owners
    ethertype = buffer[22:24]
    if ethertype == _IPV4:
        if owners.get(buffer[36:40], peer) is not peer:
            raise PeerError("address-claimed")
        if owner is peer:
            table.vouch(buffer[16:24] + buffer[36:40], peer)
    elif ethertype == _IPV6:
        if owners.get(buffer[32:48], peer) is not peer:
            raise PeerError("address-claimed")
        if len(buffer) > 30 and buffer[30] not in _PLAIN_NEXT:
            _check_addresses(device, peer, buffer)
    elif ethertype == _ARP:
        if table.owners.get(buffer[32:38], peer) is not peer:
            raise PeerError("mac-claimed")
        _check_addresses(device, peer, buffer)
    elif ethertype in _VLAN:
        _check_addresses(device, peer, buffer)


def _check_addresses(device: Device, peer: Peer, buffer: bytes) -> None:
    owners = device.table.address_owners
    for address in claimed_addresses(buffer, VNET_BYTES):
        if owners.get(address, peer) is not peer:
            raise PeerError("address-claimed")
