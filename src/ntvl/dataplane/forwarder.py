r"""The Python engine without I/O: frames and trains in, trains and frames out.

    frames from a TAP --handle_frames--> whose MAC? -> pack -> seal -> trains --poll_send--> UDP
    trains from UDP --handle_train--> session? -> open -> guard -> join --poll_write--> TAP
                                   \-> relay -> the same train --poll_send--> UDP
                                   \-> anything else --poll_event--> control plane

The production engine and the simulator drive the very same object. It reads no clock: `now` is in seconds on any
clock that never steps back. Split horizon: what came from a peer goes to the TAP only, what came from the TAP to
peers only, so no frame can go round.
"""

from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.hub import NEVER, Buffers, Hub
from ntvl.dataplane.inbound import Inbound
from ntvl.dataplane.interface import (
    AddPeer,
    CloseDevice,
    CloseSocket,
    Command,
    ConfirmSession,
    DeviceClosed,
    DeviceOpened,
    Event,
    InstallSession,
    OpenDevice,
    OpenSocket,
    RelayMember,
    RemovePeer,
    RemoveRelayMember,
    RetireSession,
    SendDatagram,
    SetAddresses,
    SetPath,
)
from ntvl.dataplane.lane import Lane
from ntvl.dataplane.outbound import Outbound
from ntvl.dataplane.peer import Device, Peer, Way
from ntvl.dataplane.reporter import Wakeup
from ntvl.dataplane.table import pack_addresses
from ntvl.dataplane.train import Train
from ntvl.wire.address import Address

__all__ = ["Forwarder", "Train"]

OFFLOADS_ALL: Final = ("csum", "tso4", "tso6", "uso")
SWEEP_S: Final = 10.0


class Forwarder:
    """Is one engine: devices, peers, sessions, and the relay of a supernode.

    Args:
        relay: True for a supernode, which forwards RELAY datagrams; a node takes the prefix off and looks inside.
            The first `RelayMember` makes a supernode of it, too.

    Attributes:
        handle_frame, handle_frames: take what TAPs give; see `Outbound`.
        handle_datagram, handle_train: take what sockets give; see `Inbound`.
        lane: takes bulk transfers off them; see `Lane`.
    """

    def __init__(self, *, relay: bool = False) -> None:
        self._hub = hub = Hub()
        self._outbound = Outbound(hub)
        self._inbound = Inbound(hub, self._outbound, is_relay=relay)
        self._count = hub.reporter.count
        self.handle_frame = self._outbound.handle_frame
        self.handle_frames = self._outbound.handle_frames
        self.handle_datagram = self._inbound.handle_datagram
        self.handle_train = self._inbound.handle_train
        self.lane = Lane(hub, self._inbound)

    # --- commands ---

    def apply(self, commands: Sequence[Command], now: float) -> None:
        """Obeys commands in order; one that names an unknown handle is counted as "no-peer" and ignored.

        `OpenDevice` is answered as if the kernel had granted everything: with real TAPs, call `open_device` instead.
        """
        for command in commands:
            match command:
                case OpenDevice():
                    self.open_device(command, command.name, OFFLOADS_ALL)
                case OpenSocket() | CloseSocket() | SendDatagram():
                    pass  # Sockets are the driver's.
                case CloseDevice():
                    self.close_device(command.device, "")
                case SetAddresses():
                    device = self._hub.devices.get(command.device)
                    if device is None:
                        self._count("no-peer")
                    else:
                        device.table.set_own_addresses(pack_addresses(command.addresses))
                case RelayMember():
                    self._inbound.is_relay = True
                    address = Address(command.host, command.port)
                    self._hub.relay.add(command.relay_id, command.community, address, command.rate_bps, now)
                case RemoveRelayMember():
                    self._hub.relay.remove(command.relay_id)
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
        device = self._hub.devices.get(command.device)
        if device is None or device.mac != command.mac:
            if device is not None:
                self._remove_peers(device)
            device = self._hub.devices[command.device] = Device(command.device, name, command.mac)
        device.writes_uso = writes_uso
        self._hub.reporter.report(DeviceOpened(command.device, name, offloads))

    def close_device(self, handle: int, reason: str) -> None:
        """Forgets a device with its peers and sessions, and reports it gone for `reason` (empty: as told)."""
        device = self._hub.devices.pop(handle, None)
        if device is not None:
            self._remove_peers(device)
        self._hub.reporter.report(DeviceClosed(handle, reason))

    def _remove_peers(self, device: Device) -> None:
        for peer in list(device.peers.values()):
            self._remove_peer(peer)

    def _add_peer(self, command: AddPeer) -> None:
        device = self._hub.devices.get(command.device)
        if device is None:
            self._count("no-peer")
            return
        peer = self._hub.peers.get(command.peer)
        if peer is not None and peer.device is not device:
            self._remove_peer(peer)
            peer = None
        if peer is None:
            peer = self._hub.peers[command.peer] = device.peers[command.peer] = Peer(command.peer, device)
        elif command.certified and not peer.certified and set(command.macs) != set(peer.macs):
            # Frames waited for whom the supernode named; the certificate names somebody else.
            self._hub.pending.discard(peer)
        peer.macs, peer.addresses, peer.certified = command.macs, command.addresses, command.certified
        device.table.add(peer, command.macs, pack_addresses(command.addresses), command.certified)

    def _remove_peer(self, peer: Peer) -> None:
        self._hub.settle()
        for session in peer.sessions:
            self._hub.drop_session(session.receive_index)
        self._hub.pending.discard(peer)
        peer.device.table.remove(peer)
        peer.device.peers.pop(peer.handle, None)
        self._hub.peers.pop(peer.handle, None)
        self._inbound.forget(peer)
        self._hub.reporter.forget(peer)

    def _change_peer(self, command: RemovePeer | InstallSession | SetPath, now: float) -> None:
        peer = self._hub.peers.get(command.peer)
        if peer is None:
            self._count("no-peer")
        elif isinstance(command, RemovePeer):
            self._remove_peer(peer)
        elif isinstance(command, SetPath):
            peer.ways = tuple(Way(target) for target in command.targets)
            self._outbound.flush(peer, now)
        else:
            self._install(peer, command, now)

    def _install(self, peer: Peer, command: InstallSession, now: float) -> None:
        known = self._hub.sessions.get(command.receive_index)
        if known is not None:
            if known[1] is peer and known[0].is_same(command):
                return  # Told twice. Installing it anew would use packet numbers twice under one key.
            known[1].retire(known[0])
        session, gone = peer.install(command)
        if gone is not None:
            self._hub.drop_session(gone.receive_index)
        self._hub.add_session(session, peer)
        self._outbound.flush(peer, now)

    def _change_session(self, command: ConfirmSession | RetireSession, now: float) -> None:
        known = self._hub.sessions.get(command.receive_index)
        if known is None:
            self._count("no-peer")
            return
        session, peer = known
        if isinstance(command, RetireSession):
            self._hub.drop_session(command.receive_index)
            peer.retire(session)
        else:
            self._outbound.confirm(session, peer, now)

    # --- out, and time ---

    @property
    def is_relay(self) -> bool:
        """Returns whether this is a supernode's."""
        return self._inbound.is_relay

    def poll_send(self) -> Train | None:
        """Returns the next train to send, or None; call until None after everything handed in."""
        return self._hub.sends.popleft() if self._hub.sends else None

    def poll_write(self) -> tuple[int, Buffers] | None:
        """Returns (device, buffers) of the next frame, its buffers to be written in one call, or None."""
        return self._hub.writes.popleft() if self._hub.writes else None

    @property
    def has_events(self) -> bool:
        """Returns whether `poll_event` has something."""
        return self._hub.reporter.has_events

    @property
    def is_joining(self) -> bool:
        """Returns whether part of a super-frame waits for the rest, for a time that `poll_timeout` tells."""
        return self._inbound.is_joining

    def report(self, event: Event) -> None:
        """Adds the driver's answer to a command to the events."""
        self._hub.reporter.report(event)

    def poll_event(self) -> Event | None:
        """Returns the next event, or None."""
        return self._hub.reporter.poll()

    def count(self, reason: str, count: int = 1) -> None:
        """Counts what the driver had to drop, "send-failed" or "write-failed"."""
        self._count(reason, count)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for not before something is handed in."""
        if self._hub.notes:
            self._hub.settle()
        run_at, report_at = self._inbound.due_at, self._hub.reporter.due_at
        at = min(run_at, report_at, self._hub.sweep_at)
        if at == NEVER:
            return None
        return Wakeup(at, "run" if at == run_at else "report" if at == report_at else "sweep")

    def handle_timeout(self, now: float) -> None:
        """Delivers what waits in vain for more, reports, and forgets what is old; early or late is harmless."""
        self._hub.settle()
        self._inbound.close_runs(now)
        if self._hub.sweep_at <= now:
            self._sweep(now)
        self._hub.reporter.handle_timeout(now)

    def _sweep(self, now: float) -> None:
        expired = self._hub.pending.expire(now)
        if expired:
            self._count("no-path", expired)
        waiting = self._inbound.sweep(now) or len(self._hub.pending) > 0
        learned = 0
        for device in self._hub.devices.values():
            device.table.expire(now)
            learned += device.table.learned
        if waiting:
            self._hub.sweep_at = now + 1.0
        else:
            self._hub.sweep_at = now + SWEEP_S if learned else NEVER
