"""The supernode: directory, relay and STUN on one port, as a machine.

    STUN          Binding request              -> where it came from; alone on the second port, if there is one
    KEY_REQUEST                                -> KEY_REPLY
    INITIATION    Noise IK, cookies under load -> RESPONSE, a session
    CONTROL       Register, Keepalive, Lookup, RosterRequest, Leave -> their answers; unknown session: RESET
    RELAY         in the data plane alone: this machine tells it who may, and hints to senders that it does not know

A node's present address is where the latest message of its active session came from; the relay takes its datagrams from
there only. Nobody is asked anything: nodes come, keep coming every 20 s, and are gone when they do not. So a restart
loses nothing for longer than until the nodes' next contact, and since a datagram under a session of before is answered
with RESET, that is at once.

What strangers can cost is bounded: handshakes in `proto.admission`, all else that needs no session in
`proto.reception`. A node that has a session is held to a rate of its own, and what it says is believed of itself alone.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from ntvl.dataplane.interface import Command, ControlDatagram, Counters, Event, UnknownSender
from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey, format_key
from ntvl.proto.clients import Clients
from ntvl.proto.desk import Desk
from ntvl.proto.directory import EXPIRY_S, Directory, Resident
from ntvl.proto.handshake import Listener
from ntvl.proto.leases import LEASE_S, Leases
from ntvl.proto.machine import Random, Wakeup, WallClock, earliest
from ntvl.proto.outbox import Outbox
from ntvl.proto.reception import MAIN_SOCKET, Reception, StunPlace, network_of
from ntvl.proto.supernode_events import StoreFailed, SupernodeEvent
from ntvl.registry.base import LeaseStore, StoreError
from ntvl.wire.address import Address, Origin, Relay, Transmit
from ntvl.wire.control import Unsupported, parse_message
from ntvl.wire.header import Kind, is_stun, parse_header

__all__ = ["KEEPALIVE_S", "Supernode"]

KEEPALIVE_S: Final = 20.0
HANDSHAKES_PER_S: Final = 200
"""Above this handshakes take a cookie: some tenth of a CPU."""


class Supernode:
    """Serves the nodes of any number of communities.

    Args:
        key: the supernode's; nodes know its public half from the URL.
        store: keeps names and addresses; the caller closes it.
        random: as `Machine` says.
        wall: seconds since the Unix epoch, for certificates and leases.
        aes: whether AES is fast here; nothing depends on it, since no data is sealed for us.
        keepalive_s: how often nodes are asked to come by.
        expiry_s: after what silence a node is gone.
        lease_s: how long names and addresses are kept after the last contact.
        relay_rate_bps: what one node may send by the relay, 0 for no bound.
        handshakes_per_s: above this handshakes take a cookie.
        stun: where STUN is served, if that is known.
    """

    def __init__(
        self,
        key: NodeKey,
        store: LeaseStore,
        *,
        random: Random,
        wall: WallClock,
        aes: bool = True,
        keepalive_s: float = KEEPALIVE_S,
        expiry_s: float = EXPIRY_S,
        lease_s: float = LEASE_S,
        relay_rate_bps: int = 0,
        handshakes_per_s: int = HANDSHAKES_PER_S,
        stun: StunPlace | None = None,
    ) -> None:
        self.key = key
        self._listener = Listener(key, random, aes=aes, load_limit_per_s=handshakes_per_s)
        self._reception = Reception(stun)
        self._clients = Clients(random)
        secret = hashlib.blake2s(key.private_bytes, person=b"ntvlrely").digest()
        self._directory = Directory(secret, random, expiry_s=expiry_s)
        self._outbox = Outbox()
        self._desk = Desk(
            self._clients,
            self._directory,
            Leases(store, lease_s=lease_s),
            self._outbox,
            wall=wall,
            keepalive_s=keepalive_s,
            relay_rate_bps=relay_rate_bps,
        )
        self._now = 0.0
        self._engine = Counters({}, 0, 0, {})

    # --- verbs ---

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes anything that is not DATA; see `Machine`."""
        self._now = now
        try:
            self._handle_datagram(data, origin, now)
        except PeerError as error:
            self._outbox.drops[error.reason] += 1
        except StoreError as error:
            self._outbox.tell(StoreFailed(str(error)))

    def handle_plane_event(self, event: Event, now: float) -> None:
        """Takes what the engine tells."""
        self._now = now
        match event:
            case ControlDatagram():
                relay = None if event.relay is None else Relay(*event.relay)
                self.handle_datagram(event.data, Origin(Address(event.host, event.port), event.socket, relay), now)
            case UnknownSender(index=0):
                origin = Origin(Address(event.host, event.port), event.socket)
                try:
                    self._outbox.send(self._reception.reset(0, origin.address, now), origin)
                except PeerError as error:
                    self._outbox.drops[error.reason] += 1
            case Counters():
                self._engine = event
            case _:
                pass

    def handle_timeout(self, now: float) -> None:
        """Does what is due; see `Machine`."""
        self._now = now
        self._desk.handle_timeout(now)
        self._clients.expire(now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, and why; see `Machine`."""
        return earliest(self._desk.poll_timeout(), self._clients.poll_timeout())

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send: answers first, then rosters as far as their rate allows."""
        if self._outbox.transmits:
            return self._outbox.transmits.popleft()
        return self._desk.poll_roster(self._now)

    def poll_event(self) -> SupernodeEvent | None:
        """Returns the next fact for the log, or None."""
        return self._outbox.events.popleft() if self._outbox.events else None

    def poll_command(self) -> Command | None:
        """Returns the next command for the engine, or None."""
        return self._outbox.commands.popleft() if self._outbox.commands else None

    def addresses(self) -> Iterator[Address]:
        """Returns where the nodes are that speak with us."""
        return self._clients.addresses()

    def close(self, now: float) -> None:
        """Counts the leases of all who are there from now on; nothing is sent, for nodes notice and come back."""
        self._now = now
        self._desk.close()

    def status(self, now: float) -> dict[str, Any]:
        """Returns what a person may want to know, ready for JSON."""
        return {
            "key": format_key(self.key.public),
            "members": len(self._directory),
            "sessions": self._clients.session_count,
            "communities": [
                {
                    "name": hall.name,
                    "id": format_key(hall.community),
                    "members": [self._describe(resident, now) for resident in hall.residents.values()],
                }
                for hall in self._directory.halls()
            ],
            "relayed_packets": self._engine.relayed_packets,
            "relayed_bytes": self._engine.relayed_bytes,
            "drops": dict(sorted((self._outbox.drops + Counter(self._engine.drops)).items())),
        }

    # --- datagrams ---

    def _handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        if not data:
            raise PeerError("short")
        if origin.relay is not None:
            raise PeerError("relay-target", "relayed to the supernode itself")
        if is_stun(data):
            self._outbox.transmit(self._reception.answer_stun(data, origin, now))
            return
        if origin.socket != MAIN_SOCKET:
            raise PeerError("type", "for the second port")
        match data[0]:
            case Kind.CONTROL:
                self._handle_control(data, origin, now)
            case Kind.INITIATION:
                self._handle_initiation(data, origin, now)
            case Kind.KEY_REQUEST:
                answer = self._reception.answer_key_request(data, self.key.public, origin.address, now)
                self._outbox.send(answer, origin)
            case _:
                raise PeerError("type")

    def _handle_initiation(self, data: bytes, origin: Origin, now: float) -> None:
        received = self._listener.handle_initiation(data, network_of(origin.address), now)
        if isinstance(received, bytes):
            self._outbox.drops["under-load"] += 1
            self._outbox.send(received, origin)
        elif received.has_psk:
            raise PeerError("type", "a handshake between members")
        else:
            self._outbox.send(self._clients.answer(received, now), origin)

    def _handle_control(self, data: bytes, origin: Origin, now: float) -> None:
        _, index, number = parse_header(data)
        session = self._clients.find_session(index)
        if session is None:
            self._outbox.drops["unknown-session"] += 1
            self._outbox.send(self._reception.reset(index, origin.address, now), origin)
            return
        body = session.channel.open(data)
        if not session.client.requests.take(now):
            raise PeerError("rate", "messages of one node")
        message = parse_message(body)
        if isinstance(message, int):
            self._outbox.reply(session, Unsupported(message), origin)
        else:
            self._desk.handle_message(session, number, message, origin, now)

    def _describe(self, resident: Resident, now: float) -> dict[str, Any]:
        client = self._clients.find(resident.node)
        return {
            "name": resident.name,
            "id": format_key(resident.node),
            "addresses": list(resident.addresses),
            "observed": "" if client is None or client.address is None else str(client.address),
            "silent_s": round(now - resident.last_contact, 3),
            "relayed_bytes": self._engine.relay_members.get(resident.relay_id, 0),
        }
