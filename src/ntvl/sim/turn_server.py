"""A TURN server in the simulator: it lends ports of its host over UDP, and asks for no password.

It knows a client by the address that it sees it at, so one whose NAT has forgotten it is a stranger: what it sends as
data is dropped without a word, and requests get error 437, as RFC 8656 sections 11.2 and 5 have it.

Source: RFC 8656 sections 7 to 12. Deviations: no authentication, no Don't-Fragment, no bound on clients.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Final

from ntvl.errors import PeerError
from ntvl.sim.host import Host
from ntvl.wire.address import Address
from ntvl.wire.attribute import TRANSACTION_BYTES, StunClass, build_address_value, build_layout, xor_mask
from ntvl.wire.turn import Turn, TurnMethod, build_channel_data, is_channel_data, parse_channel_data, parse_turn

__all__ = ["TURN_PORT", "SimTurnServer"]

TURN_PORT: Final = 3478
LIFETIME_S: Final = 600
PERMISSION_S: Final = 300.0
CHANNEL_S: Final = 600.0
"""These three from RFC 8656 sections 7.2, 9 and 12."""
_ERROR_CODE: Final = 0x0009
_LIFETIME: Final = 0x000D
_XOR_PEER_ADDRESS: Final = 0x0012
_DATA: Final = 0x0013
_XOR_RELAYED_ADDRESS: Final = 0x0016
_XOR_MAPPED_ADDRESS: Final = 0x0020
_MISMATCH: Final = 437
_BAD_REQUEST: Final = 400


@dataclass(eq=False, slots=True)
class _Allocation:
    client: Address
    socket: int
    relayed: Address
    expires: float
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float]] = field(default_factory=dict)


class SimTurnServer:
    """Is what runs on a host, for good."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._numbers = count(1)
        self._transactions = count(1)
        self._allocations: dict[Address, _Allocation] = {}
        host.program = self

    @property
    def address(self) -> Address:
        """Returns where clients ask."""
        return Address(self.host.addresses[0], self.host.ports[0])

    @property
    def lent(self) -> tuple[Address, ...]:
        """Returns the addresses that are lent now."""
        return tuple(each.relayed for each in self._allocations.values() if self.host.now < each.expires)

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes what a client sent, or somebody to an address that is lent."""
        if socket:
            self._handle_peer(data, source, socket)
            return
        try:
            if is_channel_data(data):
                self._handle_channel_data(*parse_channel_data(data), source)
                return
            turn = parse_turn(data)
        except PeerError:
            return
        if turn.cls is StunClass.REQUEST:
            self.host.send(self._answer(turn, source), source)
        elif turn.method == TurnMethod.SEND and turn.peer is not None and turn.data is not None:
            self._send_on(self._find(source), turn.peer, turn.data)

    def handle_wake(self) -> None:
        """Servers do not sleep."""

    def handle_interfaces(self) -> None:
        """Servers stay where they are."""

    # --- requests ---

    def _answer(self, turn: Turn, source: Address) -> bytes:
        now, allocation = self.host.now, self._find(source)
        if turn.method == TurnMethod.ALLOCATE:
            return self._refuse(turn, _MISMATCH) if allocation is not None else self._allocate(turn, source)
        if allocation is None:
            return self._refuse(turn, _MISMATCH)
        match turn.method:
            case TurnMethod.REFRESH:
                lifetime = min(LIFETIME_S, LIFETIME_S if turn.lifetime is None else turn.lifetime)
                allocation.expires = now + lifetime
                return self._grant(turn, (_LIFETIME, lifetime.to_bytes(4)))
            case TurnMethod.CREATE_PERMISSION if turn.peer is not None:
                allocation.permissions[turn.peer.host] = now + PERMISSION_S
                return self._grant(turn)
            case TurnMethod.CHANNEL_BIND if turn.peer is not None and turn.channel is not None:
                allocation.permissions[turn.peer.host] = now + PERMISSION_S
                allocation.channels[turn.channel] = (turn.peer, now + CHANNEL_S)
                return self._grant(turn)
        return self._refuse(turn, _BAD_REQUEST)

    def _allocate(self, turn: Turn, source: Address) -> bytes:
        number = next(self._numbers)
        self.host.open_socket(number)
        relayed = Address(self.host.addresses[0], self.host.ports[number])
        self._allocations[source] = _Allocation(source, number, relayed, self.host.now + LIFETIME_S)
        mask = xor_mask(turn.transaction)
        return self._grant(
            turn,
            (_LIFETIME, LIFETIME_S.to_bytes(4)),
            (_XOR_RELAYED_ADDRESS, build_address_value(relayed, mask)),
            (_XOR_MAPPED_ADDRESS, build_address_value(source, mask)),
        )

    def _grant(self, turn: Turn, *attributes: tuple[int, bytes]) -> bytes:
        return build_layout(StunClass.SUCCESS, turn.method, turn.transaction, attributes)

    def _refuse(self, turn: Turn, code: int) -> bytes:
        value = bytes((0, 0, code // 100, code % 100))
        return build_layout(StunClass.ERROR, turn.method, turn.transaction, [(_ERROR_CODE, value)])

    def _find(self, client: Address) -> _Allocation | None:
        """Returns a client's allocation; one that has expired is gone, with its port."""
        allocation = self._allocations.get(client)
        if allocation is None or self.host.now < allocation.expires:
            return allocation
        del self._allocations[client]
        self.host.ports.pop(allocation.socket)
        return None

    # --- data ---

    def _handle_channel_data(self, number: int, data: bytes, source: Address) -> None:
        allocation = self._find(source)
        bound = None if allocation is None else allocation.channels.get(number)
        if bound is not None and self.host.now < bound[1]:
            self._send_on(allocation, bound[0], data)

    def _send_on(self, allocation: _Allocation | None, peer: Address, data: bytes) -> None:
        if allocation is not None and self._is_permitted(allocation, peer):
            self.host.send(data, peer, allocation.socket)

    def _handle_peer(self, data: bytes, peer: Address, socket: int) -> None:
        found = next((each for each in self._allocations.values() if each.socket == socket), None)
        allocation = None if found is None else self._find(found.client)
        if allocation is None or not self._is_permitted(allocation, peer):
            return
        bound = (n for n, (to, until) in allocation.channels.items() if to == peer and self.host.now < until)
        number = next(bound, None)
        if number is not None:
            message = build_channel_data(number, data, padded=False)
        else:
            transaction = next(self._transactions).to_bytes(TRANSACTION_BYTES)
            attributes = [(_XOR_PEER_ADDRESS, build_address_value(peer, xor_mask(transaction))), (_DATA, data)]
            message = build_layout(StunClass.INDICATION, TurnMethod.DATA, transaction, attributes)
        self.host.send(message, allocation.client)

    def _is_permitted(self, allocation: _Allocation, peer: Address) -> bool:
        return self.host.now < allocation.permissions.get(peer.host, 0.0)
