"""A TURN server on virtual time, which does what a test's script says and judges what the client sends."""

import random
from collections.abc import Callable
from typing import Any

from ntvl.proto.turn import TurnClient
from ntvl.proto.turn_events import TurnEvent
from ntvl.wire.address import Address
from ntvl.wire.attribute import (
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    StunClass,
    build_address_value,
    build_layout,
    build_protected,
    xor_mask,
)
from ntvl.wire.credential import Credentials, PasswordAlgorithm, derive_key
from ntvl.wire.turn import Turn, TurnMethod, build_channel_data, is_channel_data, parse_channel_data, parse_turn

SERVER = Address("198.51.100.1", 3478)
RELAYED = Address("198.51.100.1", 50000)
MAPPED = Address("203.0.113.9", 40000)
USER = Credentials("user", "pass")
REALM = "example.org"
BOTH = bytes.fromhex("0002000000010000")


class TurnServer:
    """Answers one client; `refuse` gives an error code for a request, or None to grant it.

    Attributes:
        requests: method and whole message of every request that came, oldest first.
        data: what came for peers: by channel number or address.
    """

    def __init__(self, *, stream: bool = False, password: str = USER.password, sha256: bool = False) -> None:
        self.now = 100.0
        self.seed = random.Random(7)
        self.client = TurnClient(SERVER, USER, stream=stream, random=self.seed.randbytes)
        self.stream = stream
        self.sha256 = sha256
        algorithm = PasswordAlgorithm.SHA256 if sha256 else PasswordAlgorithm.MD5
        self.key = derive_key(Credentials("user", password), REALM, algorithm)
        self.nonce = b"obMatJos2AAADone" if sha256 else b"one"
        self.lifetime = 600
        self.relayed = RELAYED
        self.refuse: Callable[[Turn], int | None] = lambda turn: None
        self.deaf = False
        self.requests: list[Turn] = []
        self.indications: list[Turn] = []
        self.data: list[tuple[int | Address, bytes]] = []
        self.events: list[TurnEvent] = []

    def count(self, method: TurnMethod) -> int:
        return sum(turn.method == method for turn in self.requests)

    def start(self) -> None:
        self.client.start(self.now)
        self.pump()

    def pump(self) -> None:
        """Moves messages both ways until nobody has one."""
        while (data := self.client.poll_transmit()) is not None:
            for answer in self.handle(data):
                self.client.handle_datagram(answer, self.now)
        while (event := self.client.poll_event()) is not None:
            self.events.append(event)

    def run(self, until: float) -> None:
        """Lets time pass."""
        for _ in range(10_000):
            wakeup = self.client.poll_timeout()
            if wakeup is None or wakeup.at > until:
                self.now = until
                return
            self.now = max(self.now, wakeup.at)
            self.client.handle_timeout(self.now)
            self.pump()
        raise AssertionError("the client never rests")

    def deliver(self, data: bytes) -> None:
        self.client.handle_datagram(data, self.now)
        self.pump()

    def handle(self, data: bytes) -> list[bytes]:
        if is_channel_data(data):
            assert not self.stream or len(data) % 4 == 0
            self.data.append(parse_channel_data(data))
            return []
        turn = parse_turn(data)
        assert turn.unknown == ()
        if turn.cls is StunClass.INDICATION:
            self.indications.append(turn)
            if turn.method == TurnMethod.SEND:
                assert turn.peer is not None
                assert turn.data is not None
                self.data.append((turn.peer, turn.data))
            return []
        self.requests.append(turn)
        if self.deaf:
            return []
        return [self.answer(turn)]

    def answer(self, turn: Turn) -> bytes:
        if turn.nonce is None:
            return self.challenge(turn, 401)
        code = self.refuse(turn)
        if code is not None:
            return self.error(turn, code)
        if turn.nonce != self.nonce:
            return self.challenge(turn, 438)
        return self.success(turn)

    def success(self, turn: Turn, *more: tuple[int, bytes], **options: Any) -> bytes:
        mask = xor_mask(turn.transaction)
        attributes: list[tuple[int, bytes]] = []
        if turn.method in (TurnMethod.ALLOCATE, TurnMethod.REFRESH):
            granted = min(turn.lifetime or 0, self.lifetime) if turn.method == TurnMethod.REFRESH else self.lifetime
            attributes.append((0x000D, granted.to_bytes(4)))
        if turn.method == TurnMethod.ALLOCATE:
            attributes.append((0x0016, build_address_value(self.relayed, mask)))
            attributes.append((0x0020, build_address_value(MAPPED, mask)))
        return self.build(StunClass.SUCCESS, turn, [*more, *attributes], **options)

    def error(self, turn: Turn, code: int, *more: tuple[int, bytes], **options: Any) -> bytes:
        value = bytes((0, 0, code // 100, code % 100)) + b"no"
        return self.build(StunClass.ERROR, turn, [(0x0009, value), *more], **options)

    def challenge(self, turn: Turn, code: int) -> bytes:
        more = [(0x0014, REALM.encode()), (0x0015, self.nonce)] + ([(0x8002, BOTH)] if self.sha256 else [])
        return self.error(turn, code, *more, key=None)

    def build(
        self,
        cls: StunClass,
        turn: Turn,
        attributes: list[tuple[int, bytes]],
        *,
        key: bytes | None = b"",
        transaction: bytes | None = None,
    ) -> bytes:
        """Returns an answer, protected by the right key, by another one, or with None by none."""
        data = build_layout(cls, turn.method, transaction or turn.transaction, attributes)
        if key is None:
            return data
        type_ = MESSAGE_INTEGRITY_SHA256 if self.sha256 else MESSAGE_INTEGRITY
        return build_protected(data, key or self.key, type_)

    def indicate(self, peer: Address, data: bytes) -> bytes:
        transaction = self.seed.randbytes(12)
        attributes = [(0x0012, build_address_value(peer, xor_mask(transaction))), (0x0013, data)]
        return build_layout(StunClass.INDICATION, TurnMethod.DATA, transaction, attributes)

    def channel_data(self, number: int, data: bytes) -> bytes:
        return build_channel_data(number, data, padded=self.stream)
