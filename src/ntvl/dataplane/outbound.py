"""From TAPs to the network: which peers a frame is for, and the trains that carry it there."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from ntvl.dataplane.hub import Hub
from ntvl.dataplane.peer import Device, Peer
from ntvl.dataplane.session import NUMBER_MAX, Session
from ntvl.dataplane.train import Train
from ntvl.errors import PeerError
from ntvl.wire.ethernet import BROADCAST, is_group, resolution_target
from ntvl.wire.header import HEADER_BYTES, TAG_BYTES
from ntvl.wire.plaintext import FRAME_BUFFER_MAX, FRAME_BUFFER_MIN
from ntvl.wire.vnet import SUPER_BYTES_MAX, VNET_BYTES

__all__ = ["Outbound"]

_OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES
_SOLICITED_NODE: Final = b"\x33\x33\xff"
_FRAME_KIND: Final = b"\x01"


class Outbound:
    """Takes frames and queues trains on the hub."""

    __slots__ = ("_hub",)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def handle_frame(self, device: int, frame: bytes, now: float) -> Train | None:
        """Takes one frame by the shortest way there is and returns its train, or queues trains as `handle_frames` does.

        Where little happens, a frame's delay is the time that it takes to fetch this code and what it looks at from
        memory. So the common case, one small frame from our own MAC to a known peer on one path, is all here.
        """
        tap = self._hub.devices.get(device)
        if tap is not None and FRAME_BUFFER_MIN <= len(frame) <= FRAME_BUFFER_MAX and frame[16:22] == tap.mac:
            peer = tap.table.routes.get(frame[10:16])
            if peer is not None and len(peer.ways) == 1:
                session = peer.sender
                if session is not None and session.number < NUMBER_MAX:
                    way = peer.ways[0]
                    number = session.number.to_bytes(8, "big")
                    session.number += 1
                    sealed = session.encrypt(session.nonce + number, _FRAME_KIND + frame, None)
                    datagram = way.prefix + session.header + number + sealed
                    self._hub.notes.append((peer, HEADER_BYTES + len(sealed), None, 0, now))
                    return Train(way.socket, way.address, [datagram], len(datagram))
        self.handle_frames(device, (frame,), now)
        return None

    def handle_frames(self, device: int, frames: Sequence[bytes], now: float) -> None:
        """Takes frames read from a TAP, each a virtio header (10 bytes) and an Ethernet frame, in order."""
        hub = self._hub
        tap = hub.devices.get(device)
        if tap is None:
            hub.reporter.count("no-peer", len(frames))
            return
        routes, mac = tap.table.routes, tap.mac
        batches: dict[Peer, list[bytes]] = {}
        for frame in frames:
            if not FRAME_BUFFER_MIN <= len(frame) <= SUPER_BYTES_MAX:
                hub.reporter.count("runt" if len(frame) < FRAME_BUFFER_MIN else "oversized")
                continue
            if frame[16:22] != mac:
                tap.table.forget(frame[16:22])
            peer = routes.get(frame[10:16])
            if peer is not None:
                batch = batches.get(peer)
                if batch is None:
                    batches[peer] = [frame]
                else:
                    batch.append(frame)
                continue
            for receiver in self._receivers(tap, frame):
                batches.setdefault(receiver, []).append(frame)
        for peer, batch in batches.items():
            self._send(peer, batch, now)

    def flush(self, peer: Peer, now: float) -> None:
        """Sends the frames that have waited for a peer, if it can be reached now."""
        if peer.queue and peer.sender is not None and peer.ways:
            frames, expired = self._hub.pending.take(peer, now)
            if expired:
                self._hub.reporter.count("no-path", expired)
            if frames:
                self._send(peer, frames, now)

    def confirm(self, session: Session, peer: Peer, now: float) -> None:
        """Lets a session send."""
        session.confirmed = True
        peer.choose_sender()
        self.flush(peer, now)

    def _receivers(self, device: Device, frame: bytes) -> Sequence[Peer]:
        destination = frame[10:16]
        if is_group(destination):
            if destination == BROADCAST or destination.startswith(_SOLICITED_NODE):
                try:
                    target = resolution_target(frame, VNET_BYTES)
                except PeerError as error:
                    self._hub.reporter.count(error.reason)
                    return ()
                resolver = device.table.resolvers.get(target) if target is not None else None
                if resolver is not None:
                    return (resolver,)
            return tuple(device.peers.values())
        if destination == device.mac or not device.peers:
            self._hub.reporter.count("no-peer")
            return ()
        return tuple(device.peers.values())

    def _send(self, peer: Peer, frames: Sequence[bytes], now: float) -> None:
        session, ways = peer.sender, peer.ways
        if session is None or not ways or peer.packer is None:
            self._wait(peer, frames, now)
            return
        sends = self._hub.sends
        for group in peer.packer.pack(frames):
            if session.exhausted:
                self._hub.reporter.count("expired", len(group))
                peer.choose_sender()
                continue
            count, segment_bytes = len(group), len(group[0]) + _OVERHEAD_BYTES
            numbers, bodies = session.seal(group)
            for way in ways:
                head = way.prefix + session.header
                if count == 1:
                    buffers = [head + numbers[0] + bodies[0]]
                else:
                    buffers = list(chain.from_iterable(zip(map(head.__add__, numbers), bodies, strict=True)))
                sends.append(Train(way.socket, way.address, buffers, segment_bytes + len(way.prefix)))
            peer.tx_bytes += (count - 1) * segment_bytes + len(group[-1]) + _OVERHEAD_BYTES
            peer.tx_packets += count
        peer.last_tx = now
        self._hub.reporter.touch(peer, now)

    def _wait(self, peer: Peer, frames: Sequence[bytes], now: float) -> None:
        dropped = self._hub.pending.add(peer, frames, now)
        if dropped:
            self._hub.reporter.count("queue-full", dropped)
        self._hub.reporter.want(peer, now)
        self._hub.sweep_by(now + 1.0)
