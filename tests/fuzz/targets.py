"""What is fuzzed: one function a target, which takes any bytes and raises nothing.

A `PeerError` is an answer and is caught where it belongs; whatever else comes out is a finding. Where a parser has a
builder, what was parsed must build to something that parses to the same. The later targets drive what has state: the
handshake with a listener, the forwarder with an established session, in machines.py whole nodes and supernodes.
"""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

import msgspec
from tests.fuzz.machines import fuzz_classification, fuzz_node, fuzz_supernode

from ntvl.aead import new_aead
from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import AddPeer, InstallSession, OpenDevice, RelayMember, SetAddresses, SetPath, Target
from ntvl.errors import REASONS, PeerError
from ntvl.identity.certificate import parse_certificate, verify_certificate
from ntvl.identity.keys import NodeKey
from ntvl.proto.admission import NO_MAC, build_mac1
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Initiation, Listener, SessionKeys, handshake_index
from ntvl.proto.portmap import PortMap
from ntvl.proto.turn import TurnClient
from ntvl.proto.turn_deframer import TurnDeframer
from ntvl.runtime.websocket import WebSocketFraming
from ntvl.wire.address import Address, Origin, Relay, is_public, parse_address
from ntvl.wire.attribute import (
    build_address_value,
    parse_address_value,
    parse_attributes,
    parse_error_value,
    parse_number_value,
    parse_stun_header,
    parse_text_value,
)
from ntvl.wire.connect import parse_connect_answer
from ntvl.wire.control import build_message, parse_message
from ntvl.wire.credential import Credentials, parse_algorithms, parse_nonce_features
from ntvl.wire.ethernet import claimed_addresses, format_mac, parse_mac, resolution_target
from ntvl.wire.handshake import (
    build_cookie,
    build_initiation_head,
    build_response_head,
    parse_cookie,
    parse_initiation,
    parse_receiver,
    parse_response,
)
from ntvl.wire.header import Kind, build_header, build_relay, parse_header, parse_relay
from ntvl.wire.natpmp import parse_natpmp_response
from ntvl.wire.pcp import PCP_PORT, parse_pcp_response
from ntvl.wire.plaintext import (
    build_bundle,
    build_fragments,
    build_pieces,
    parse_bundle,
    parse_fragment,
    parse_piece,
)
from ntvl.wire.service import (
    build_key_reply,
    build_key_request,
    build_reset,
    parse_key_reply,
    parse_key_request,
    parse_reset,
)
from ntvl.wire.stream import Deframer, build_frame, build_greeting, parse_greeting
from ntvl.wire.stun import build_binding_response, parse_stun, verify_integrity
from ntvl.wire.turn import (
    TURN_BYTES_MAX,
    build_channel_data,
    parse_channel_data,
    parse_turn,
    verify_turn,
)
from ntvl.wire.vnet import cut_super_frame, parse_super_frame

__all__ = ["TARGETS"]

Target_ = Callable[[bytes], None]
_UPGRADE: Final = WebSocketFraming("sn.example.org").begin()

PASSWORD: Final = "VOkJxbRl1RmTxUk/WvJxBt"
PSK: Final = bytes(32)
LOCAL: Final = NodeKey.from_bytes(bytes(range(32)))
REMOTE: Final = NodeKey.from_bytes(bytes(range(1, 33)))
KEYS: Final = SessionKeys("aes256gcm", 1, 2, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32, True)
DATA_SEAL: Final = new_aead("aes256gcm", KEYS.receive_key)
CONTROL_SEAL: Final = new_aead("chacha20poly1305", KEYS.control_receive_key)
OUR_MAC: Final = bytes.fromhex("020000000a01")
THEIR_MAC: Final = bytes.fromhex("020000000b02")
OTHER_MAC: Final = bytes.fromhex("020000000c03")
OUR_IP, THEIR_IP, OTHER_IP = (ip_address(f"10.77.0.{last}") for last in (1, 2, 3))
THEIR_ADDRESS: Final = Address("203.0.113.2", 4002)


class _Named:
    """Lets a `PeerError` with a listed reason pass, and nothing else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, PeerError) and error.reason in REASONS


named: Final = _Named()


def constant_random(length: int) -> bytes:
    """Stands in for chance, so that an input that fails fails again."""
    return b"\x07" * length


# --- codecs ---


def fuzz_header(data: bytes) -> None:
    with named:
        kind, index, number = parse_header(data)
        assert data[:16] == bytes((kind, *data[1:4])) + build_header(Kind.DATA, index, number)[4:]


def fuzz_relay(data: bytes) -> None:
    with named:
        relay = parse_relay(data)
        assert build_relay(relay, data[12:])[1:] == data[1:]


def fuzz_stream(data: bytes) -> None:
    with named:
        observed = parse_greeting(data)
        assert parse_greeting(build_greeting(observed)) == observed
    with named:
        Deframer().feed(data)
    with named:
        whole = Deframer().feed(build_greeting() + data)
        piecewise = Deframer()
        found = [each for at in range(-1, len(data)) for each in piecewise.feed(data[at : at + 1] or build_greeting())]
        assert found == whole
        assert data.startswith(b"".join(map(build_frame, whole)))


def fuzz_websocket(data: bytes) -> None:
    for framing in (WebSocketFraming(), WebSocketFraming("sn.example.org")):
        framing.begin()
        with named:
            framing.feed(data)
        framing.take_output()
    opened = WebSocketFraming()
    with named:
        opened.feed(_UPGRADE)
        assert opened.is_open
        opened.feed(data)
    opened.take_output()


def fuzz_connect(data: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        with named:
            answer = parse_connect_answer(start + data)
            assert answer is None or 100 <= answer[0] <= 599


def fuzz_control(data: bytes) -> None:
    with named:
        message = parse_message(data)
        if isinstance(message, int):
            return
        with suppress(ValueError):  # fields that were left out make it longer, at last too long
            assert parse_message(build_message(message)) == message


def fuzz_stun(data: bytes) -> None:
    with named:
        verify_integrity(data, PASSWORD)
    with named:
        stun = parse_stun(data)
        if stun.address is not None:
            answer = build_binding_response(
                stun.transaction, stun.address, password=PASSWORD, origin=stun.origin, other=stun.other
            )
            built = parse_stun(answer)
            assert (built.transaction, built.address) == (stun.transaction, stun.address)
            assert (built.origin, built.other) == (stun.origin, stun.other)


def fuzz_attribute(data: bytes) -> None:
    with named:
        parse_stun_header(data, TURN_BYTES_MAX)
        for _, start, value in parse_attributes(data):
            assert data[start + 4 : start + 4 + len(value)] == value
    with named:
        address = parse_address_value(data, bytes(16))
        assert parse_address_value(build_address_value(address, bytes(16)), bytes(16)) == address
    with named:
        assert 300 <= parse_error_value(data)[0] <= 699
    with named:
        parse_text_value(data)
    with named:
        parse_number_value(data, 4)


def fuzz_turn(data: bytes) -> None:
    with named:
        assert parse_turn(data).transaction == data[8:20]
    with named:
        verify_turn(data, PASSWORD.encode())
    with named:
        verify_turn(data, PASSWORD.encode(), sha256=True)
    with named:
        number, payload = parse_channel_data(data)
        assert parse_channel_data(build_channel_data(number, payload, padded=True)) == (number, payload)
    parse_nonce_features(data)
    with named:
        parse_algorithms(data)


def fuzz_turn_client(data: bytes) -> None:
    client = TurnClient(
        Address("203.0.113.1", 3478), Credentials("user", PASSWORD), stream=True, random=constant_random
    )
    deframer = TurnDeframer()
    client.start(1.0)
    client.send(THEIR_ADDRESS, b"x", 1.0)
    with named:
        for number, part in enumerate(_parts(data)):
            deframer.feed(part)
            while (message := deframer.poll()) is not None:
                client.handle_datagram(message, 1.0 + number)
            client.handle_datagram(part, 1.0 + number)
            client.handle_timeout(1.0 + number)
    assert set(client.drops) <= set(REASONS)
    for _ in range(1000):
        if client.poll_transmit() is None:
            break
    else:
        raise AssertionError("the client talks without end")


def fuzz_portmap(data: bytes) -> None:
    with named:
        response = parse_pcp_response(data)
        assert not response.external_host or is_public(response.external_host) in (True, False)
    with named:
        parse_natpmp_response(data)
    _hear_gateway(data)


def _hear_gateway(data: bytes) -> None:
    """Lets a gateway say each of the parts of `data`, which have a byte of length before them, one a second."""
    gateway, now = Address("192.168.1.1", PCP_PORT), 0.0
    machine = PortMap(4000, gateway.host, "192.168.1.10", random=constant_random)
    machine.start(now)
    sent = 0
    for said in (data, *_parts(data)):
        machine.handle_datagram(said, Origin(gateway), now)
        now += 1.0
        machine.handle_timeout(now)
        sent += len(list(iter(machine.poll_transmit, None)))
        assert sent <= 6 + 4 * now
    assert set(machine.drops) <= set(REASONS)
    assert machine.mapping is None or is_public(machine.mapping.external.host)


def _parts(data: bytes) -> list[bytes]:
    parts = []
    while data and len(parts) < 16:
        parts.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return parts


def fuzz_handshake(data: bytes) -> None:
    with named:
        initiation = parse_initiation(data)
        head = build_initiation_head(initiation.kind, initiation.sender, initiation.noise)
        assert head + initiation.mac1 + initiation.mac2 == data
    with named:
        response = parse_response(data)
        head = build_response_head(response.sender, response.receiver, response.noise)
        assert head + response.mac1 + bytes(16) == data
        assert parse_receiver(data) == response.receiver
    with named:
        cookie = parse_cookie(data)
        assert build_cookie(cookie.receiver, cookie.nonce, cookie.sealed) == data
        assert parse_receiver(data) == cookie.receiver
    with named:
        parse_receiver(data)


def fuzz_service(data: bytes) -> None:
    with named:
        assert build_key_reply(*parse_key_reply(data)) == data
    with named:
        assert build_reset(parse_reset(data)) == data
    with named:
        nonce = parse_key_request(data)
        assert parse_key_request(build_key_request(nonce)) == nonce


def fuzz_certificate(data: bytes) -> None:
    with named:
        parse_certificate(data)
    with named:
        verify_certificate(data, wall_time=1.8e9)


def fuzz_text(data: bytes) -> None:
    text = data.decode(errors="replace")
    with named:
        assert parse_mac(format_mac(parse_mac(text))) == parse_mac(text)
    with named:
        host, _, port = text.rpartition(" ")
        address = parse_address(host, int(port) if port.isascii() and port.isdigit() and len(port) < 9 else 1)
        assert parse_address(*address) == address


def fuzz_ethernet(data: bytes) -> None:
    for start in (0, 10):
        with named:
            assert all(len(address) in (4, 16) for address in claimed_addresses(data, start))
        with named:
            target = resolution_target(data, start)
            assert target is None or len(target) in (4, 16)


def fuzz_vnet(data: bytes) -> None:
    with named:
        layout = parse_super_frame(data)
        assert 0 < layout.network < layout.transport < layout.payload <= len(data)
        frames = cut_super_frame(data)
        payload = b"".join(frame[layout.payload :] for frame in frames)
        assert payload == data[layout.payload : layout.payload + layout.size]


def fuzz_plaintext(data: bytes) -> None:
    for parse in (parse_piece, parse_fragment):
        with named:
            parse(data)
    with named:
        frames = parse_bundle(data)
        assert build_bundle(frames)[1:] == data[1:]
    with named:
        pieces = build_pieces(data, parse_super_frame(data), 7)
        layouts = [parse_piece(piece) for piece in pieces or ()]
        assert all(layout.run == 7 for layout in layouts)
    if len(data) >= 24:
        parts = [parse_fragment(part) for part in build_fragments(data, 9)]
        assert b"".join(part.data for part in parts) == data


# --- machines ---


def fuzz_listener(data: bytes) -> None:
    """Hands an initiation to a listener, then under load, and an answer to one who waits: as is, and with its mac1."""
    listener = Listener(LOCAL, constant_random, aes=True, load_limit_per_s=1)
    attempt = Initiation(LOCAL, REMOTE.public, psk=PSK, payload=b"", aes=True, index=1, random=constant_random)
    for datagram in (data, data + build_mac1(LOCAL.public, data) + NO_MAC):
        with named:
            handshake_index(datagram)
        for now in (100.0, 100.1):
            with named:
                listener.handle_initiation(datagram, b"source", now)
        with named:
            attempt.handle_response(datagram)
        with named:
            attempt.handle_cookie(datagram)


def fuzz_channel(data: bytes) -> None:
    """Hands a datagram to a control channel, and the same bytes as what the other side sealed."""
    channel = Channel(KEYS)
    with named:
        channel.open(data)
    header = build_header(Kind.CONTROL, KEYS.receive_index, 5)
    sealed = header + CONTROL_SEAL.encrypt(header[4:], data, None)
    assert channel.open(sealed) == data
    with named:
        parse_message(channel.open(sealed))
        raise AssertionError("a replay was opened")


def fuzz_forwarder(data: bytes) -> None:
    """Hands trains of strangers, and of a peer with a session, to a forwarder; what it writes claims nobody else."""
    if len(data) < 2:
        return
    forwarder = _forwarder()
    choice, segment, rest = data[0], data[1], data[2:]
    if choice & 1:
        forwarder.handle_train(rest, segment * 8, 0, THEIR_ADDRESS, 1.0)
    else:
        cut = 1 + segment * 4 if choice & 2 else 1400
        for number, start in enumerate(range(0, min(len(rest), 8 * cut), cut)):
            header = build_header(Kind.DATA, KEYS.receive_index, number)
            sealed = header + DATA_SEAL.encrypt(header[4:], rest[start : start + cut], None)
            forwarder.handle_train(sealed, 0, 0, THEIR_ADDRESS, 1.0)
    forwarder.handle_timeout(20.0)
    for _, buffers in iter(forwarder.poll_write, None):
        frame = b"".join(buffers)[10:]
        assert frame[6:12] not in (OUR_MAC, OTHER_MAC)
        assert not {OUR_IP.packed, OTHER_IP.packed} & set(claimed_addresses(frame))
    _drain(forwarder)


def fuzz_relay_member(data: bytes) -> None:
    """Hands trains to a supernode's forwarder; what it relays goes to the other member and is what came."""
    if len(data) < 1:
        return
    forwarder = Forwarder(relay=True)
    forwarder.apply([RelayMember(1, 1, *THEIR_ADDRESS), RelayMember(2, 1, "203.0.113.3", 4003)], 0.0)
    came = [data[1:], build_relay(Relay(2, 1), data[1:])]
    for train in came:
        forwarder.handle_train(train, data[0] * 8, 0, THEIR_ADDRESS, 1.0)
    for sent in iter(forwarder.poll_send, None):
        assert sent.address == Address("203.0.113.3", 4003)
        assert any(b"".join(sent.buffers) in train for train in came)
    _drain(forwarder)


def fuzz_frames(data: bytes) -> None:
    """Hands what a kernel gives, or would not, to a forwarder; every datagram it sends fits the path."""
    forwarder = _forwarder()
    forwarder.handle_frames(1, [data[:10] + THEIR_MAC + data[16:], data], 1.0)
    for train in iter(forwarder.poll_send, None):
        assert train.address == THEIR_ADDRESS
        assert all(len(datagram) <= 1432 for datagram in train.datagrams())
    _drain(forwarder)


def _forwarder() -> Forwarder:
    forwarder = Forwarder()
    forwarder.apply(
        [
            OpenDevice(1, "tap0", OUR_MAC, 1360),
            SetAddresses(1, (str(OUR_IP),)),
            AddPeer(1, 1, (THEIR_MAC,), (str(THEIR_IP), "fd00::2"), True),
            AddPeer(2, 1, (OTHER_MAC,), (str(OTHER_IP), "fd00::3"), True),
            InstallSession(1, KEYS.cipher, KEYS.send_index, KEYS.receive_index, KEYS.send_key, KEYS.receive_key, True),
            SetPath(1, (Target(*THEIR_ADDRESS),)),
        ],
        0.0,
    )
    return forwarder


def _drain(forwarder: Forwarder) -> None:
    for event in iter(forwarder.poll_event, None):
        msgspec.msgpack.encode(event)


TARGETS: Final[dict[str, Target_]] = {
    "stream": fuzz_stream,
    "websocket": fuzz_websocket,
    "connect": fuzz_connect,
    "header": fuzz_header,
    "relay": fuzz_relay,
    "control": fuzz_control,
    "stun": fuzz_stun,
    "attribute": fuzz_attribute,
    "turn": fuzz_turn,
    "turn-client": fuzz_turn_client,
    "portmap": fuzz_portmap,
    "handshake": fuzz_handshake,
    "service": fuzz_service,
    "certificate": fuzz_certificate,
    "text": fuzz_text,
    "ethernet": fuzz_ethernet,
    "vnet": fuzz_vnet,
    "plaintext": fuzz_plaintext,
    "listener": fuzz_listener,
    "channel": fuzz_channel,
    "forwarder": fuzz_forwarder,
    "relay-member": fuzz_relay_member,
    "frames": fuzz_frames,
    "supernode": fuzz_supernode,
    "classification": fuzz_classification,
    "node": fuzz_node,
}
