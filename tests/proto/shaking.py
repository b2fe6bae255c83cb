"""Handshakes between Alice and Bob, and what may be done to their bytes."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ntvl.errors import REASONS, PeerError
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.proto.admission import build_mac1
from ntvl.proto.handshake import Established, Initiation, Listener, Received

ALICE, BOB, MALLORY = (NodeKey.generate(random.Random(seed).randbytes) for seed in (1, 2, 3))
HOME = Community.from_seed("home", b"a seed of the home community")
KINDS = [pytest.param(HOME.psk, id="peer"), pytest.param(None, id="supernode")]


def initiate(random_: random.Random, **changes: Any) -> Initiation:
    fields: dict[str, Any] = {
        "psk": HOME.psk,
        "payload": b"alice's certificate",
        "aes": True,
        "index": 0x11111111,
        "random": random_.randbytes,
    }
    fields |= changes
    return Initiation(fields.pop("local", ALICE), fields.pop("remote", BOB.public), **fields)


def listen(key: NodeKey = BOB, *, aes: bool = True, load_limit_per_s: int = 50) -> Listener:
    return Listener(key, random.Random(9).randbytes, aes=aes, load_limit_per_s=load_limit_per_s)


def receive(listener: Listener, data: bytes, now: float = 10.0, source: bytes = b"alice's address") -> Received:
    received = listener.handle_initiation(data, source, now)
    assert isinstance(received, Received)
    return received


def shake(psk: bytes | None = HOME.psk, seed: int = 4, **changes: Any) -> tuple[Established, Established]:
    """Returns what Alice and Bob hold after a handshake."""
    attempt = initiate(random.Random(seed), psk=psk, **changes)
    received = receive(listen(), attempt.datagram)
    answer, bobs = received.respond(psk=psk, payload=b"bob's certificate", index=0x22222222)
    return attempt.handle_response(answer), bobs


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as error:
        call()
    assert error.value.reason in REASONS
    return error.value.reason


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(len(data)):
        yield at, data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def remac(receiver: bytes, data: bytes) -> bytes:
    """Puts a right mac1 on altered bytes: anybody who knows the receiver's public key can."""
    return data[:-32] + build_mac1(receiver, data[:-32]) + bytes(16)
