"""Vectors of sealed datagrams, under the keys of the peer's handshake: CONTROL, and DATA with either cipher."""

from typing import Any, Final

from scripts.golden.entry import Entry, entry
from scripts.golden.handshake import peer_session
from scripts.golden.plaintext import parse_plaintext, plaintexts

from ntvl.aead import CIPHERS
from ntvl.dataplane.session import Session
from ntvl.proto.channel import Channel
from ntvl.wire import control
from ntvl.wire.header import HEADER_BYTES, parse_header

__all__ = ["session_vectors"]

_FIRST_NUMBER: Final = 0x0102030405
"""Of the DATA datagrams: one with more than 32 bits."""


def session_vectors() -> list[Entry]:
    """Returns CONTROL and DATA datagrams from Alice to Bob, and what is refused of them."""
    return [*_control(), *_data()]


def _control() -> list[Entry]:
    alice, bob = peer_session()
    channel = Channel(alice)
    confirm, probe = control.build_message(control.Confirm()), control.build_message(control.Probe(6))
    first, second = channel.seal(confirm), channel.seal(probe)

    def read(data: bytes) -> dict[str, Any]:
        _, index, number = parse_header(data)
        return {"index": index, "number": number, "message": control.parse_message(Channel(bob).open(data))}

    def read_twice(data: bytes) -> dict[str, Any]:
        receiver = Channel(bob)
        receiver.open(data)
        return {"body": receiver.open(data)}

    key = alice.control_send_key
    other = first[:7] + bytes((first[7] ^ 1,)) + first[8:]
    return [
        entry("CONTROL: the first message under a session, Confirm", first, read, key=key, body=confirm),
        entry("CONTROL: the second, Probe", second, read, key=key, body=probe),
        entry("CONTROL: the same datagram twice", second, read_twice, key=key),
        entry("CONTROL: a packet number that was not sealed", second[:15] + b"\x02" + second[16:], read, key=key),
        entry("CONTROL: a bit of the tag turned", first[:-1] + bytes((first[-1] ^ 1,)), read, key=key),
        entry("CONTROL: the index of another session", other, read, key=key),
        entry("CONTROL: too short for a tag", first[: HEADER_BYTES + 15], read, key=key),
    ]


def _data() -> list[Entry]:
    alice, bob = peer_session()
    examples = {
        "FRAME": plaintexts("frame")[0],
        "PIECE": plaintexts("tcp")[-1],
        "FRAGMENT": plaintexts("jumbo")[-1],
        "BUNDLE": plaintexts("bundle")[0],
    }
    made = []
    for cipher in CIPHERS:
        sender = Session(cipher, alice.send_index, alice.receive_index, alice.send_key, alice.receive_key, True)
        sender.number = _FIRST_NUMBER

        def read(data: bytes, cipher: str = cipher) -> dict[str, Any]:
            receiver = Session(cipher, bob.send_index, bob.receive_index, bob.send_key, bob.receive_key, True)
            _, index, number = parse_header(data)
            return {"index": index, "number": number, "plaintext": parse_plaintext(receiver.open(data))}

        for kind, plain in examples.items():
            (number,), (body,) = sender.seal([plain])
            datagram = sender.header + number + body
            made.append(
                entry(f"DATA: {kind} under {cipher}", datagram, read, cipher=cipher, key=alice.send_key, plain=plain)
            )
    return made
