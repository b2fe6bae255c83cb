"""A TURN client: one allocation at one server, from the first request to giving it back.

    new ── start ──► allocating ──────────► allocated ── close ──► closing ──► closed
                        │    ▲ start             │                               ▲
                        │    └── moved ◄─ 300    │                               │
                        └─ refused, no answer ───┴─ gone, no answer ──► failed ──┘ close

A server lends an address: datagrams that reach it come to us, and ours leave from it. We ask for it (Allocate), renew
it (Refresh), name whom it is for (CreatePermission), and bind a channel for whom we talk with much. The owner moves
bytes: whole datagrams over UDP, what `TurnDeframer` cuts out of a stream over TCP and TLS.

What comes is believed as far as it is proven. Answers must be to a request of ours (96 random bits) and, once the
server has asked for a password, carry its integrity. Data must come from whom we permitted, by a channel that we asked
for. Nothing that a server says makes a request go out more than three times in a row.

Source: RFC 8656; RFC 8489 sections 6.2, 9.2 and 10. Deviations: an error response without integrity is believed while
there is no allocation yet, for it can only end what has not begun; an allocation carries one address family; a
permission is asked for each address alone, so that a refusal names whom it is for.
"""

from collections import Counter, deque
from ipaddress import ip_address
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.turn_uri import is_host_name
from ntvl.proto.challenge import Challenge
from ntvl.proto.machine import Random, Wakeup
from ntvl.proto.relay_peers import PERMISSION_S, RelayPeers, RelayPermission
from ntvl.proto.timers import Timers
from ntvl.proto.transaction import Transactions
from ntvl.proto.turn_events import (
    Allocated,
    Closed,
    Data,
    Moved,
    Refused,
    TurnEvent,
    TurnFailed,
    TurnState,
    explain_error,
)
from ntvl.proto.turn_request import METHODS, Purpose, TurnRequest
from ntvl.wire.address import Address, is_usable_target
from ntvl.wire.attribute import TRANSACTION_BYTES, StunClass
from ntvl.wire.credential import Credentials
from ntvl.wire.header import DATAGRAM_BYTES_MAX
from ntvl.wire.turn import (
    Turn,
    TurnMethod,
    build_channel_data,
    build_turn,
    is_channel_data,
    parse_channel_data,
    parse_turn,
    verify_turn,
)

__all__ = ["TurnClient"]

LIFETIME_S: Final = 600
"""What is asked for: RFC 8656 section 7.1 has servers grant it by default."""
LIFETIME_S_MAX: Final = 3600.0
"""Longest lifetime that is believed (RFC 8656 section 7.2 advises servers to grant no more)."""
KEEPALIVE_S: Final = 20.0
"""Longest silence towards the server: NATs may forget an UDP mapping after 30 s."""
BIND_AFTER: Final = 4
"""Payloads to a peer after which a channel is worth its request."""
IN_FLIGHT_MAX: Final = 16
WAITING_REQUESTS_MAX: Final = 128
TRIES_MAX: Final = 3
"""Sends of one request under new credentials: the first, after a 401, after a 438."""
EVENTS_MAX: Final = 1024
TRANSMITS_MAX: Final = 1024


class TurnClient:
    """Is one allocation; a failed or closed client is not started again.

    Args:
        server: where the bytes go, the owner's business; here it judges where a redirection may lead.
        credentials: prepared user name and password.
        stream: over TCP or TLS.
        random: for transactions and the moment of a refresh.
        ipv6: asks for an IPv6 address, with which only IPv6 peers can be reached.
    Attributes:
        state: where it is.
        server: as given, or where it was sent on to.
        relayed: the address that the server lends, while there is one.
        drops: what was dropped, by reason.
    """

    def __init__(
        self, server: Address, credentials: Credentials, *, stream: bool, random: Random, ipv6: bool = False
    ) -> None:
        self.state = TurnState.NEW
        self.server = server
        self.relayed: Address | None = None
        self.drops: Counter[str] = Counter()
        self._stream = stream
        self._random = random
        self._ipv6 = ipv6
        self._was_moved = False
        self._challenge = Challenge(credentials)
        self._timers = Timers()
        self._transactions: Transactions[TurnRequest] = Transactions(self._timers, reliable=stream)
        self._waiting: dict[Purpose, None] = {}
        self._peers = RelayPeers()
        self._sent_to: Counter[Address] = Counter()
        self._sent_at = 0.0
        self._transmits: deque[bytes] = deque()
        self._events: deque[TurnEvent] = deque()

    # --- verbs ---

    def start(self, now: float) -> None:
        """Asks for an allocation: at first, and after `Moved` once the owner is connected with `server`."""
        if self.state in (TurnState.NEW, TurnState.MOVED):
            self.state = TurnState.ALLOCATING
            self._request(("allocate",), now)
            self._timers.set(("keepalive",), now + KEEPALIVE_S)

    def send(self, peer: Address, payload: bytes, now: float) -> None:
        """Sends a datagram to a peer by the relay; what cannot be sent is counted.

        Args:
            peer: of the allocation's address family.
            payload: at most 1,432 bytes. A few are kept until the server permits the peer.
        """
        if self.state is not TurnState.ALLOCATED or peer.is_ipv6 != self._ipv6:
            self.drops["no-path"] += 1
            return
        if len(payload) > DATAGRAM_BYTES_MAX:
            self.drops["oversized"] += 1
            return
        permission = self._peers.add_permission(peer.host, now)
        permission.used = now
        self._ask_permission(permission, now)
        if permission.is_granted(now):
            self._send_permitted(peer, payload, now)
        elif permission.asked:
            permission.waiting.append((peer, payload))
        else:
            self.drops["no-path"] += 1

    def permit(self, host: str, now: float) -> None:
        """Lets a peer's datagrams in from any port of its address, for five minutes after the last one went either way.

        Args:
            host: an address of the allocation's family; another one is passed over.
        """
        if self.state is TurnState.ALLOCATED and (":" in host) == self._ipv6:
            permission = self._peers.add_permission(host, now)
            permission.used = now
            self._ask_permission(permission, now)

    def verify(self, now: float) -> None:
        """Renews the allocation now: a server that sees us elsewhere knows of none, and says so to a request alone."""
        if self.state is TurnState.ALLOCATED:
            self._request(("refresh",), now)

    def close(self, now: float) -> None:
        """Gives the allocation back; `Closed` comes when the server has it, or does not answer."""
        if self.state in (TurnState.CLOSING, TurnState.CLOSED):
            return
        had, asking = self.state is TurnState.ALLOCATED, self.state is TurnState.ALLOCATING
        self._waiting.clear()
        self._timers.cancel(("refresh",))
        if had:
            self._transactions.clear()
            self.state = TurnState.CLOSING
            self._request(("close",), now)
        elif asking and self._challenge.authorization is not None:
            self.state = TurnState.CLOSING  # an allocation may be on its way: its answer is waited for
        else:
            self._end(TurnState.CLOSED, Closed())

    def handle_datagram(self, data: bytes, now: float) -> None:
        """Takes one whole message from the server; raises nothing: bad input is counted."""
        try:
            if is_channel_data(data):
                self._handle_channel_data(*parse_channel_data(data), now)
                return
            turn = parse_turn(data)
            if turn.cls in (StunClass.SUCCESS, StunClass.ERROR):
                self._handle_response(turn, data, now)
            elif turn.cls is StunClass.INDICATION and turn.method == TurnMethod.DATA:
                self._handle_indication(turn, now)
            else:
                raise PeerError("type")
        except PeerError as error:
            self.drops[error.reason] += 1

    def handle_timeout(self, now: float) -> None:
        """Does what is due; calling early or late is harmless."""
        for key in self._timers.due(now):
            if self.state in (TurnState.MOVED, TurnState.CLOSED, TurnState.FAILED):
                return  # what was due before has ended it
            match key[0]:
                case "retransmit":
                    data, given_up = self._transactions.handle_timer(key, now)
                    if data is not None:
                        self._transmit(data, now)
                    elif given_up is not None:
                        self._fail_request(given_up, "no-answer", now)
                case "refresh":
                    self._request(("refresh",), now)
                case "expiry":
                    self._fail("expired", now)
                case "keepalive":
                    self._keep_alive(now)
                case "permission":
                    permission = self._peers.permissions.get(str(key[1]))
                    if permission is not None and now - permission.used < PERMISSION_S:
                        self._ask_permission(permission, now)
                case "channel":
                    channel = self._peers.channel(int(str(key[1])))
                    if channel is not None and channel.wants_asking(now) and now - channel.used < PERMISSION_S:
                        channel.asked = self._request(("channel", channel.number), now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for never."""
        return self._timers.next()

    def poll_transmit(self) -> bytes | None:
        """Returns the next bytes for the server, or None; call until None."""
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> TurnEvent | None:
        """Returns the next event, or None; call until None."""
        return self._events.popleft() if self._events else None

    # --- data ---

    def _send_permitted(self, peer: Address, payload: bytes, now: float) -> None:
        channel = self._peers.channel_of(peer)
        if channel is not None:
            channel.used = now
            if channel.is_bound(now):
                self._transmit(build_channel_data(channel.number, payload, padded=self._stream), now)
                if channel.wants_asking(now):
                    channel.asked = self._request(("channel", channel.number), now)
                return
        self._transmit(
            build_turn(StunClass.INDICATION, TurnMethod.SEND, self._transaction(), peer=peer, data=payload), now
        )
        if len(self._sent_to) > 4 * IN_FLIGHT_MAX:
            self._sent_to.clear()  # the count is a hint: whoever talks on is counted anew
        self._sent_to[peer] += 1
        if self._sent_to[peer] >= BIND_AFTER:
            channel = self._peers.add_channel(peer, now)
            if channel is not None and channel.wants_asking(now):
                channel.asked = self._request(("channel", channel.number), now)

    def _handle_channel_data(self, number: int, payload: bytes, now: float) -> None:
        channel = self._peers.channel(number)
        if self.state is not TurnState.ALLOCATED or channel is None or not (channel.asked or channel.is_bound(now)):
            raise PeerError("unknown-channel")
        channel.used = now
        self._received(channel.peer, payload, now)

    def _handle_indication(self, turn: Turn, now: float) -> None:
        if turn.peer is None or turn.data is None or turn.unknown:
            raise PeerError("format", "a Data indication without peer or data")
        permission = self._peers.permissions.get(turn.peer.host)
        if self.state is not TurnState.ALLOCATED or permission is None:
            raise PeerError("no-permission")
        if not (permission.asked or permission.is_granted(now)):
            raise PeerError("no-permission")
        self._received(turn.peer, turn.data, now)

    def _received(self, peer: Address, payload: bytes, now: float) -> None:
        permission = self._peers.permissions.get(peer.host)
        if permission is not None:
            permission.used = now
        if len(self._events) >= EVENTS_MAX:
            self.drops["queue-full"] += 1
            return
        self._events.append(Data(peer, payload))

    # --- requests ---

    def _ask_permission(self, permission: RelayPermission, now: float) -> None:
        if permission.wants_asking(now):
            permission.asked = self._request(("permission", permission.host), now)

    def _request(self, purpose: Purpose, now: float, *, tries: int = 1, stale: bool = False) -> bool:
        """Sends a request, or keeps it until one of those in flight is answered; returns whether it will go."""
        if len(self._transactions) >= IN_FLIGHT_MAX and purpose[0] in ("permission", "channel"):
            if len(self._waiting) >= WAITING_REQUESTS_MAX:
                self.drops["queue-full"] += 1
                return False
            self._waiting[purpose] = None
            return True
        authorization = self._challenge.authorization
        transaction = self._transaction()
        method = METHODS[str(purpose[0])]
        lifetime = 0 if purpose[0] == "close" else LIFETIME_S if purpose[0] in ("allocate", "refresh") else None
        peer, channel = None, None
        if purpose[0] == "permission":
            peer = Address(str(purpose[1]), 1)  # the port is not looked at, and 0 is no address of ours
        elif purpose[0] == "channel":
            bound = self._peers.channel(int(str(purpose[1])))
            if bound is None:
                return False
            peer, channel = bound.peer, bound.number
        data = build_turn(
            StunClass.REQUEST,
            method,
            transaction,
            lifetime=lifetime,
            channel=channel,
            peer=peer,
            allocate=method is TurnMethod.ALLOCATE,
            ipv6=self._ipv6,
            authorization=authorization,
        )
        self._transactions.open(transaction, data, TurnRequest(purpose, authorization, tries, stale, now), now)
        self._transmit(data, now)
        return True

    def _handle_response(self, turn: Turn, data: bytes, now: float) -> None:
        request = self._transactions.find(turn.transaction)
        if request is None or turn.method != METHODS[str(request.purpose[0])]:
            raise PeerError("transaction")
        if turn.unknown or (turn.cls is StunClass.ERROR and turn.error_code is None):
            raise PeerError("format", "a response that is not understood")
        if turn.error_code in (401, 438) and turn.cls is StunClass.ERROR:
            self._handle_challenge(turn, request, now)
            return
        try:
            self._judge(turn, data, request)
        except PeerError:
            if self._stream:  # nothing better will come (RFC 8489 section 9.2.5)
                self._transactions.close(turn.transaction)
                self._fail_request(request, "integrity", now)
            raise
        self._transactions.close(turn.transaction)
        if turn.cls is StunClass.SUCCESS:
            self._succeed(turn, request, now)
        elif turn.error_code == 300 and request.purpose[0] == "allocate":
            self._move(turn, now)
        else:
            self._fail_request(request, turn.error_code or 0, now)
        self._send_waiting(now)

    def _judge(self, turn: Turn, data: bytes, request: TurnRequest) -> None:
        authorization = request.authorization
        if authorization is None:
            return
        if turn.cls is StunClass.ERROR and not turn.integrity and request.purpose[0] == "allocate":
            return
        verify_turn(data, authorization.key, sha256=authorization.algorithms is not None)

    def _handle_challenge(self, turn: Turn, request: TurnRequest, now: float) -> None:
        before, is_stale = request.authorization, turn.error_code == 438
        if before is not None and not is_stale and turn.realm in (None, before.realm):
            words: int | str = 401  # it had our user name and password, and does not take them
        elif request.tries >= TRIES_MAX or (is_stale and (request.stale or before is None)):
            words = 438
        else:
            self._challenge.handle(turn)
            self._transactions.close(turn.transaction)
            self._request(request.purpose, now, tries=request.tries + 1, stale=request.stale or is_stale)
            return
        self._transactions.close(turn.transaction)
        self._fail_request(request, words, now)
        self._send_waiting(now)

    def _send_waiting(self, now: float) -> None:
        while self._waiting and len(self._transactions) < IN_FLIGHT_MAX:
            purpose = next(iter(self._waiting))
            del self._waiting[purpose]
            self._request(purpose, now)

    def _succeed(self, turn: Turn, request: TurnRequest, now: float) -> None:
        match request.purpose[0]:
            case "allocate":
                self._allocated(turn, request, now)
            case "refresh":
                self._refreshed(turn, request, now)
            case "close":
                self._end(TurnState.CLOSED, Closed())
            case "permission":
                permission = self._peers.permissions.get(str(request.purpose[1]))
                if permission is not None:
                    permission.grant(request.since)
                    self._timers.set(("permission", permission.host), permission.refresh_at)
                    while permission.waiting:
                        self._send_permitted(*permission.waiting.popleft(), now)
            case "channel":
                channel = self._peers.channel(int(str(request.purpose[1])))
                if channel is not None:
                    channel.bind(request.since)
                    self._timers.set(("channel", channel.number), channel.refresh_at)

    def _allocated(self, turn: Turn, request: TurnRequest, now: float) -> None:
        if self.state is TurnState.CLOSING:
            self._request(("close",), now)
        elif not turn.lifetime or turn.relayed is None or not self._may_be_relayed(turn.relayed):
            self._fail("no-address", now)
        else:
            self.state = TurnState.ALLOCATED
            self.relayed = turn.relayed
            self._events.append(Allocated(turn.relayed, turn.mapped, self._renew(turn.lifetime, request.since)))

    def _may_be_relayed(self, address: Address) -> bool:
        """Returns whether peers may be told to send there; a private one is fine, where server and peers are near."""
        return address.is_ipv6 == self._ipv6 and is_usable_target(address)

    def _refreshed(self, turn: Turn, request: TurnRequest, now: float) -> None:
        if not turn.lifetime:
            self._fail(437, now)
        else:
            self._renew(turn.lifetime, request.since)

    def _renew(self, lifetime: int, since: float) -> float:
        lifetime_s = min(float(lifetime), LIFETIME_S_MAX)
        share = 0.5 + 0.3 * int.from_bytes(self._random(2)) / 65536
        self._timers.set(("refresh",), since + lifetime_s * share)
        self._timers.set(("expiry",), since + lifetime_s)
        return lifetime_s

    def _move(self, turn: Turn, now: float) -> None:
        """Follows a server that sends us on (RFC 8489 section 10): once, and to no address that is nearer to us."""
        server, domain = turn.alternate_server, turn.alternate_domain
        if self.state is TurnState.CLOSING:
            self._end(TurnState.CLOSED, Closed())
        elif server is None or self._was_moved or not _may_move(self.server, server):
            self._fail(300, now)
        elif domain is not None and not is_host_name(domain):
            self._fail(300, now)  # no name for TLS to verify (RFC 8489 section 14.16)
        else:
            self._was_moved = True
            self._transactions.clear()
            self._challenge.authorization = None  # another server has nonces of its own
            self._timers.cancel(("keepalive",))
            self.state = TurnState.MOVED
            self.server = server
            self._events.append(Moved(server, domain))

    # --- ends ---

    def _fail_request(self, request: TurnRequest, why: int | str, now: float) -> None:
        kind = request.purpose[0]
        if self.state is TurnState.CLOSING:
            self._end(TurnState.CLOSED, Closed())
        elif kind in ("allocate", "refresh") or why == 437:
            self._fail(why, now)
        elif kind == "permission":
            host = str(request.purpose[1])
            permission = self._peers.permissions.get(host)
            if permission is not None:
                permission.refuse(now)
                self._events.append(Refused(host, explain_error(why)))
        elif kind == "channel":
            channel = self._peers.channel(int(str(request.purpose[1])))
            if channel is not None:
                channel.refuse(now)

    def _fail(self, why: int | str, now: float) -> None:
        if self.state is TurnState.CLOSING:
            self._end(TurnState.CLOSED, Closed())
        else:
            lasting = why in (300, 401, 403, 438, 440, 441, 442)
            self._end(TurnState.FAILED, TurnFailed(explain_error(why), lasting))

    def _end(self, state: TurnState, event: TurnEvent) -> None:
        self.state = state
        self.relayed = None
        self._transactions.clear()
        self._waiting.clear()
        self._peers = RelayPeers()
        self._timers = Timers()
        self._transactions = Transactions(self._timers, reliable=self._stream)
        self._events.append(event)

    # --- bytes ---

    def _keep_alive(self, now: float) -> None:
        if now - self._sent_at >= KEEPALIVE_S:
            self._transmit(build_turn(StunClass.INDICATION, TurnMethod.BINDING, self._transaction()), now)
        self._timers.set(("keepalive",), max(self._sent_at + KEEPALIVE_S, now + 1.0))

    def _transaction(self) -> bytes:
        return self._random(TRANSACTION_BYTES)

    def _transmit(self, data: bytes, now: float) -> None:
        if len(self._transmits) >= TRANSMITS_MAX:
            self.drops["queue-full"] += 1
            return
        self._sent_at = now
        self._transmits.append(data)


def _may_move(server: Address, to: Address) -> bool:
    """Returns whether a server may send us to another: one on the Internet only to another there."""
    if not is_usable_target(to):
        return False
    return ip_address(to.host).is_global or not ip_address(server.host).is_global
