r"""The Python engine without I/O: frames and trains in, trains and frames out.

    frames from a TAP --handle_frames--> whose MAC? -> pack -> seal -> trains --poll_send--> UDP
    trains from UDP --handle_train--> session? -> open -> guard -> join --poll_write--> TAP
                                   \-> relay -> the same train --poll_send--> UDP
                                   \-> anything else --poll_event--> control plane

The production engine and the simulator drive the very same object. It reads no clock: `now` is in seconds on any
clock that never steps back. Split horizon: what came from a peer goes to the TAP only, what came from the TAP to
peers only, so no frame can go round.
"""

from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Final

from ntvl.dataplane.guard import check_sender
from ntvl.dataplane.interface import (
    AddPeer,
    CloseDevice,
    Command,
    ConfirmSession,
    DeviceClosed,
    DeviceOpened,
    Event,
    InstallSession,
    OpenDevice,
    RelayMember,
    RemovePeer,
    RemoveRelayMember,
    RetireSession,
    SetAddresses,
    SetPath,
)
from ntvl.dataplane.joiner import RUN_AGE_S
from ntvl.dataplane.peer import Device, Peer, Way
from ntvl.dataplane.pending import Pending
from ntvl.dataplane.relay import RelayTable
from ntvl.dataplane.reporter import Reporter, Wakeup
from ntvl.dataplane.session import Session
from ntvl.dataplane.table import pack_addresses
from ntvl.dataplane.train import Train, split_by_prefix
from ntvl.errors import PeerError
from ntvl.wire.address import Address, Relay
from ntvl.wire.ethernet import BROADCAST, is_group, resolution_target
from ntvl.wire.header import HEADER_BYTES, RELAY_HEADER_BYTES, TAG_BYTES, Kind, is_stun, parse_relay
from ntvl.wire.plaintext import (
    BUNDLE,
    FRAGMENT,
    FRAME,
    FRAME_BUFFER_MIN,
    PIECE,
    parse_bundle,
    parse_fragment,
)
from ntvl.wire.vnet import GSO_ECN, GSO_UDP, SUPER_BYTES_MAX, VNET_BYTES, cut_super_frame

__all__ = ["Forwarder", "Train"]

OFFLOADS_ALL: Final = ("csum", "tso4", "tso6", "uso")
SWEEP_S: Final = 10.0

_OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES
_DATA: Final = int(Kind.DATA)
_RELAY: Final = int(Kind.RELAY)
_CONTROL_KINDS: Final = frozenset(int(kind) for kind in Kind if kind not in (Kind.DATA, Kind.RELAY))


class Forwarder:
    """Is one engine: devices, peers, sessions, and the relay of a supernode.

    Args:
        relay: True for a supernode, which forwards RELAY datagrams; a node takes the prefix off and looks inside.
            The first `RelayMember` makes a supernode of it, too.
    """

    def __init__(self, *, relay: bool = False) -> None:
        self._is_relay = relay
        self._relay = RelayTable()
        self._devices: dict[int, Device] = {}
        self._peers: dict[int, Peer] = {}
        self._sessions: dict[int, tuple[Session, Peer]] = {}
        self._runs: dict[Peer, float] = {}
        self._reassembling: set[Peer] = set()
        self._sends: deque[Train] = deque()
        self._writes: deque[tuple[int, list[bytes]]] = deque()
        self._pending = Pending()
        self._reporter = Reporter(self._relay)
        self._count = self._reporter.count
        self._sweep_at = float("inf")

    # --- commands ---

    def apply(self, commands: Sequence[Command], now: float) -> None:
        """Obeys commands in order; one that names an unknown handle is counted as "no-peer" and ignored.

        `OpenDevice` is answered as if the kernel had granted everything: with real TAPs, call `open_device` instead.
        """
        for command in commands:
            match command:
                case OpenDevice():
                    self.open_device(command, command.name, OFFLOADS_ALL)
                case CloseDevice():
                    self.close_device(command.device, "")
                case SetAddresses():
                    device = self._devices.get(command.device)
                    if device is None:
                        self._count("no-peer")
                    else:
                        device.table.set_own_addresses(pack_addresses(command.addresses))
                case RelayMember():
                    self._is_relay = True
                    address = Address(command.host, command.port)
                    self._relay.add(command.relay_id, command.community, address, command.rate_bps, now)
                case RemoveRelayMember():
                    self._relay.remove(command.relay_id)
                case AddPeer():
                    self._add_peer(command)
                case ConfirmSession() | RetireSession():
                    self._change_session(command, now)
                case _:
                    self._change_peer(command, now)

    def open_device(
        self, command: OpenDevice, name: str, offloads: tuple[str, ...], *, writes_uso: bool = True
    ) -> None:
        """Takes note of a TAP that is there under its final name, and reports it.

        Args:
            writes_uso: whether the kernel takes UDP super-frames; else they are cut here.
        """
        device = self._devices.get(command.device)
        if device is None or device.mac != command.mac:
            if device is not None:
                self._remove_peers(device)
            device = self._devices[command.device] = Device(command.device, name, command.mac)
        device.writes_uso = writes_uso
        self._reporter.report(DeviceOpened(command.device, name, offloads))

    def close_device(self, handle: int, reason: str) -> None:
        """Forgets a device with its peers and sessions, and reports it gone for `reason` (empty: as told)."""
        device = self._devices.pop(handle, None)
        if device is not None:
            self._remove_peers(device)
        self._reporter.report(DeviceClosed(handle, reason))

    def _remove_peers(self, device: Device) -> None:
        for peer in list(device.peers.values()):
            self._remove_peer(peer)

    def _add_peer(self, command: AddPeer) -> None:
        device = self._devices.get(command.device)
        if device is None:
            self._count("no-peer")
            return
        peer = self._peers.get(command.peer)
        if peer is not None and peer.device is not device:
            self._remove_peer(peer)
            peer = None
        if peer is None:
            peer = self._peers[command.peer] = device.peers[command.peer] = Peer(command.peer, device)
        elif peer.matches(command):
            return
        elif command.certified and not peer.certified and set(command.macs) != set(peer.macs):
            # Frames waited for whom the supernode named; the certificate names somebody else.
            self._pending.discard(peer)
        peer.macs, peer.addresses, peer.certified = command.macs, command.addresses, command.certified
        device.table.add(peer, command.macs, pack_addresses(command.addresses), command.certified)

    def _remove_peer(self, peer: Peer) -> None:
        for session in peer.sessions:
            self._sessions.pop(session.receive_index, None)
        self._pending.discard(peer)
        peer.device.table.remove(peer)
        peer.device.peers.pop(peer.handle, None)
        self._peers.pop(peer.handle, None)
        self._runs.pop(peer, None)
        self._reassembling.discard(peer)
        self._reporter.forget(peer)

    def _change_peer(self, command: RemovePeer | InstallSession | SetPath, now: float) -> None:
        peer = self._peers.get(command.peer)
        if peer is None:
            self._count("no-peer")
        elif isinstance(command, RemovePeer):
            self._remove_peer(peer)
        elif isinstance(command, SetPath):
            peer.ways = tuple(Way(target) for target in command.targets)
            self._flush(peer, now)
        else:
            self._install(peer, command, now)

    def _install(self, peer: Peer, command: InstallSession, now: float) -> None:
        known = self._sessions.get(command.receive_index)
        if known is not None:
            if known[1] is peer and known[0].is_same(command):
                return  # Told twice. Installing it anew would use packet numbers twice under one key.
            known[1].retire(known[0])
        session, gone = peer.install(command)
        if gone is not None:
            self._sessions.pop(gone.receive_index, None)
        self._sessions[command.receive_index] = (session, peer)
        self._flush(peer, now)

    def _change_session(self, command: ConfirmSession | RetireSession, now: float) -> None:
        known = self._sessions.get(command.receive_index)
        if known is None:
            self._count("no-peer")
            return
        session, peer = known
        if isinstance(command, RetireSession):
            del self._sessions[command.receive_index]
            peer.retire(session)
        else:
            self._confirm(session, peer, now)

    def _confirm(self, session: Session, peer: Peer, now: float) -> None:
        session.confirmed = True
        peer.choose_sender()
        self._flush(peer, now)

    # --- TAP to UDP ---

    def handle_frames(self, device: int, frames: Sequence[bytes], now: float) -> None:
        """Takes frames read from a TAP, each a virtio header (10 bytes) and an Ethernet frame, in order."""
        tap = self._devices.get(device)
        if tap is None:
            self._count("no-peer", len(frames))
            return
        routes, mac = tap.table.routes, tap.mac
        batches: dict[Peer, list[bytes]] = {}
        for frame in frames:
            if not FRAME_BUFFER_MIN <= len(frame) <= SUPER_BYTES_MAX:
                self._count("runt" if len(frame) < FRAME_BUFFER_MIN else "oversized")
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

    def _receivers(self, device: Device, frame: bytes) -> Sequence[Peer]:
        destination = frame[10:16]
        if is_group(destination):
            if destination == BROADCAST or destination.startswith(b"\x33\x33\xff"):
                try:
                    target = resolution_target(frame, VNET_BYTES)
                except PeerError as error:
                    self._count(error.reason)
                    return ()
                resolver = device.table.resolvers.get(target) if target is not None else None
                if resolver is not None:
                    return (resolver,)
            return tuple(device.peers.values())
        if destination == device.mac or not device.peers:
            self._count("no-peer")
            return ()
        return tuple(device.peers.values())

    def _send(self, peer: Peer, frames: Sequence[bytes], now: float) -> None:
        session, ways = peer.sender, peer.ways
        if session is None or not ways or peer.packer is None:
            self._wait(peer, frames, now)
            return
        sends = self._sends
        for group in peer.packer.pack(frames):
            if session.exhausted:
                self._count("expired", len(group))
                peer.choose_sender()
                continue
            count, segment_bytes = len(group), len(group[0]) + _OVERHEAD_BYTES
            size = sum(map(len, group)) + count * _OVERHEAD_BYTES
            numbers, bodies = session.seal(group)
            for way in ways:
                head = way.prefix + session.header
                if count == 1:
                    buffers = [head + numbers[0] + bodies[0]]
                else:
                    buffers = list(chain.from_iterable(zip(map(head.__add__, numbers), bodies, strict=True)))
                sends.append(Train(way.socket, way.address, buffers, segment_bytes + len(way.prefix)))
            peer.tx_bytes += size
            peer.tx_packets += count
        peer.last_tx = now
        self._reporter.touch(peer, now)

    def _wait(self, peer: Peer, frames: Sequence[bytes], now: float) -> None:
        dropped = self._pending.add(peer, frames, now)
        if dropped:
            self._count("queue-full", dropped)
        self._reporter.want(peer, now)
        self._sweep_at = min(self._sweep_at, now + 1.0)

    def _flush(self, peer: Peer, now: float) -> None:
        if peer.queue and peer.sender is not None and peer.ways:
            frames, expired = self._pending.take(peer, now)
            if expired:
                self._count("no-path", expired)
            if frames:
                self._send(peer, frames, now)

    # --- UDP to TAP, relay, control plane ---

    def handle_train(self, buffer: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        """Takes what one receive gave: datagrams of `segment_bytes` in a row (the last may be shorter), all from
        `address`.

        Args:
            segment_bytes: as UDP_GRO says; 0 where `buffer` is one datagram.
            address: host and port as the socket gives them.
        """
        size = len(buffer)
        if 0 < segment_bytes < size:
            for part in split_by_prefix(buffer, segment_bytes, 8):
                self._handle_part(part, segment_bytes, socket, address, now)
        elif size:
            self._handle_part(buffer, size, socket, address, now)

    def _handle_part(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        kind = part[0]
        if kind == _DATA:
            self._handle_data(part, segment_bytes, socket, address, None, now)
        elif kind == _RELAY:
            relaying = self._is_relay
            for same in split_by_prefix(part, segment_bytes, RELAY_HEADER_BYTES if relaying else 20):
                if relaying:
                    self._forward(same, segment_bytes, socket, address, now)
                else:
                    self._handle_relayed(same, segment_bytes, socket, address, now)
        elif kind in _CONTROL_KINDS or is_stun(part):
            for start in range(0, len(part), segment_bytes):
                self._reporter.control(part[start : start + segment_bytes], address, socket, None)
        else:
            self._count("type", -(-len(part) // segment_bytes))

    def _handle_relayed(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        try:
            relay = parse_relay(part)
        except PeerError as error:
            self._count(error.reason, -(-len(part) // segment_bytes))
            return
        kind = part[RELAY_HEADER_BYTES]
        if kind == _DATA:
            self._handle_data(part, segment_bytes, socket, address, relay, now)
            return
        for start in range(0, len(part), segment_bytes):
            datagram = part[start + RELAY_HEADER_BYTES : start + segment_bytes]
            if kind in _CONTROL_KINDS or is_stun(datagram):
                self._reporter.control(datagram, address, socket, relay)
            else:
                self._count("type")

    def _forward(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        try:
            train, left_out = self._relay.forward(part, segment_bytes, socket, address, now)
        except PeerError as error:
            self._count(error.reason, -(-len(part) // segment_bytes))
            if error.reason == "relay-source":
                self._reporter.unknown(address, 0, socket, None, now)
            return
        if left_out:
            self._count("rate", left_out)
        if train is not None:
            self._sends.append(train)
            self._reporter.touch_counters(now)

    def _handle_data(
        self, part: bytes, segment_bytes: int, socket: int, address: Address, relay: Relay | None, now: float
    ) -> None:
        skip = 0 if relay is None else RELAY_HEADER_BYTES
        least = skip + _OVERHEAD_BYTES
        size = len(part)
        last = size % segment_bytes or segment_bytes
        if last < least:
            # A sender of ours never makes one; the rest of the train may still be fine.
            self._count("short")
            size -= last
            if size == 0:
                return
            part = part[:size]
            if segment_bytes < least:
                self._count("short", size // segment_bytes)
                return
        if part[skip + 1] or part[skip + 2] or part[skip + 3]:
            self._count("header", -(-size // segment_bytes))
            return
        index = int.from_bytes(part[skip + 4 : skip + 8], "big")
        known = self._sessions.get(index)
        if known is None:
            self._refuse(index, -(-size // segment_bytes), socket, address, relay, now)
            return
        session, peer = known
        plains = None
        if size > segment_bytes:
            plains = session.open_train(part, segment_bytes, skip)
        if plains is None:
            plains = []
            for start in range(0, size, segment_bytes):
                try:
                    plains.append(session.open(part[start : start + segment_bytes], skip))
                except PeerError as error:
                    self._count(error.reason)
            if not plains:
                return
        peer.rx_bytes += size - skip * -(-size // segment_bytes)
        peer.rx_packets += len(plains)
        peer.note_path(address, socket, relay, len(plains), now)
        self._reporter.touch(peer, now)
        if not session.confirmed:
            self._confirm(session, peer, now)
        self._deliver(peer, plains, now)

    def _refuse(self, index: int, count: int, socket: int, address: Address, relay: Relay | None, now: float) -> None:
        if any(session.send_index == index for session, _ in self._sessions.values()):
            self._count("reflected", count)
            return
        self._count("unknown-session", count)
        self._reporter.unknown(address, index, socket, relay, now)

    def _deliver(self, peer: Peer, plains: list[bytes], now: float) -> None:
        joiner = peer.joiner
        assert joiner is not None
        for plain in plains:
            if not plain:
                self._count("short")
                continue
            kind = plain[0]
            if kind == PIECE:
                if not joiner.append(plain):
                    self._open_run(peer, plain, now)
                if joiner.is_complete:
                    self._close_run(peer)
                continue
            if joiner.is_open:
                self._close_run(peer)
            try:
                if kind == FRAME:
                    self._accept(peer, plain[1:], now)
                elif kind == BUNDLE:
                    for buffer in parse_bundle(plain):
                        self._accept(peer, buffer, now)
                elif kind == FRAGMENT:
                    self._reassemble(peer, plain, now)
                else:
                    self._count("type")
            except PeerError as error:
                self._count(error.reason)

    def _accept(self, peer: Peer, buffer: bytes, now: float) -> None:
        if not FRAME_BUFFER_MIN <= len(buffer) <= SUPER_BYTES_MAX:
            self._count("runt" if len(buffer) < FRAME_BUFFER_MIN else "oversized")
            return
        try:
            check_sender(peer.device, peer, buffer, now)
        except PeerError as error:
            self._count(error.reason)
            return
        self._write(peer.device, [buffer])

    def _write(self, device: Device, buffers: list[bytes]) -> None:
        if buffers[0][1] & ~GSO_ECN == GSO_UDP and not device.writes_uso:
            try:
                for frame in cut_super_frame(b"".join(buffers)):
                    self._writes.append((device.handle, [frame]))
            except PeerError as error:
                self._count(error.reason)
            return
        self._writes.append((device.handle, buffers))

    def _open_run(self, peer: Peer, plain: bytes, now: float) -> None:
        joiner = peer.joiner
        assert joiner is not None
        if joiner.is_open:
            self._close_run(peer)
        try:
            check_sender(peer.device, peer, joiner.open(plain), now)
        except PeerError as error:
            joiner.close()
            self._count(error.reason)
            return
        if not joiner.is_complete:
            self._runs[peer] = now + RUN_AGE_S

    def _close_run(self, peer: Peer) -> None:
        self._runs.pop(peer, None)
        buffers = peer.joiner.close() if peer.joiner is not None else []
        if buffers:
            self._write(peer.device, buffers)

    def _reassemble(self, peer: Peer, plain: bytes, now: float) -> None:
        reassembly = peer.reassembly
        assert reassembly is not None
        self._reassembling.add(peer)
        self._sweep_at = min(self._sweep_at, now + 1.0)
        try:
            buffer = reassembly.add(parse_fragment(plain), now)
        finally:
            if reassembly.incomplete:
                self._count("incomplete", reassembly.incomplete)
                reassembly.incomplete = 0
        if buffer is not None:
            self._accept(peer, buffer, now)

    # --- out, and time ---

    def poll_send(self) -> Train | None:
        """Returns the next train to send, or None; call until None after everything handed in."""
        return self._sends.popleft() if self._sends else None

    def poll_write(self) -> tuple[int, list[bytes]] | None:
        """Returns (device, buffers) of the next frame, its buffers to be written in one call, or None."""
        return self._writes.popleft() if self._writes else None

    def poll_event(self) -> Event | None:
        """Returns the next event, or None."""
        return self._reporter.poll()

    def count(self, reason: str, count: int = 1) -> None:
        """Counts what the driver had to drop, "send-failed" or "write-failed"."""
        self._count(reason, count)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for not before something is handed in."""
        run_at = min(self._runs.values(), default=float("inf"))
        report_at = self._reporter.due_at
        at = min(run_at, report_at, self._sweep_at)
        if at == float("inf"):
            return None
        return Wakeup(at, "run" if at == run_at else "report" if at == report_at else "sweep")

    def handle_timeout(self, now: float) -> None:
        """Delivers what waits in vain for more, reports, and forgets what is old; early or late is harmless."""
        if self._runs:
            for peer in [peer for peer, at in self._runs.items() if at <= now]:
                self._close_run(peer)
        self._reporter.handle_timeout(now)
        if self._sweep_at <= now:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        expired = self._pending.expire(now)
        if expired:
            self._count("no-path", expired)
        for peer in list(self._reassembling):
            reassembly = peer.reassembly
            if reassembly is None:
                continue
            reassembly.expire(now)
            if reassembly.incomplete:
                self._count("incomplete", reassembly.incomplete)
                reassembly.incomplete = 0
            if not len(reassembly):
                self._reassembling.discard(peer)
        learned = 0
        for device in self._devices.values():
            device.table.expire(now)
            learned += device.table.learned
        if len(self._pending) or self._reassembling:
            self._sweep_at = now + 1.0
        else:
            self._sweep_at = now + SWEEP_S if learned else float("inf")
