"""A supernode and a node under whatever strangers, members and a lying supernode may say; they raise nothing.

An input is a dialogue: steps of a mode byte, a length (2 bytes) and that many bytes, at most `STEPS_MAX` of them. A
mode says who speaks, and whether the bytes are a datagram or the body of a control message that is sealed as the
speaker would. In between, time passes. Everything that a machine sends is opened and parsed as its receiver would do.
"""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from ntvl.dataplane.interface import UnknownSender, Wanted
from ntvl.errors import REASONS, PeerError
from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.channel import Channel
from ntvl.proto.classification import LIMIT_S, PACKETS_MAX, SOCKETS, Classification
from ntvl.proto.handshake import Initiation, Listener
from ntvl.proto.node import Node
from ntvl.proto.reception import StunPlace
from ntvl.proto.settings import CommunitySettings, NodeSettings
from ntvl.proto.supernode import Supernode
from ntvl.registry.memory import MemoryStore
from ntvl.wire.address import Address, Origin, Relay, Transmit
from ntvl.wire.control import Confirm, Message, Register, Registered, build_message, parse_message
from ntvl.wire.header import CONTROL_BYTES_MAX, RELAY_HEADER_BYTES, Kind

__all__ = ["fuzz_node", "fuzz_supernode"]

STEPS_MAX: Final = 6
WALL: Final = 1.8e9
COMMUNITY: Final = Community.from_seed("home", bytes(32))
SUPERNODE_KEY: Final = NodeKey.from_bytes(bytes(range(32)))
NODE_KEY: Final = NodeKey.from_bytes(bytes(range(1, 33)))
PEER_KEY: Final = NodeKey.from_bytes(bytes(range(2, 34)))
SUPERNODE: Final = Address("203.0.113.1", 1971)
MEMBER: Final = Address("198.51.100.7", 40007)
STRANGER: Final = Address("198.51.100.66", 6)
PASSES_S: Final = (0.0, 0.3, 5.0, 60.0, 200.0)
ROUNDS_MAX: Final = 200
"""Wake-ups that a machine may ask for while time stands still."""

Machine = Supernode | Node


def certificate(key: NodeKey, name: str) -> bytes:
    """Returns what makes `key` a member for some years."""
    return issue_certificate(
        COMMUNITY,
        node=key.public,
        name=name,
        addresses=("10.77.0.9/16",),
        not_before=int(WALL) - 1000,
        not_after=int(WALL) + 10**8,
    )


PEER_CERTIFICATE: Final = certificate(PEER_KEY, "peer")


def fuzz_supernode(data: bytes) -> None:
    """Lets a registered member, or a stranger, say anything to a supernode."""
    chance = random.Random(1)
    place = StunPlace(1971, 1972, lambda address: "2001:db8::1" if address.is_ipv6 else "203.0.113.1")
    supernode = Supernode(SUPERNODE_KEY, MemoryStore(), random=chance.randbytes, wall=lambda: WALL, stun=place)
    member = Origin(MEMBER)
    hello = Initiation(
        PEER_KEY, SUPERNODE_KEY.public, psk=None, payload=b"", aes=True, index=9, random=chance.randbytes
    )
    supernode.handle_datagram(hello.datagram, member, 100.0)
    answer = supernode.poll_transmit()
    assert answer is not None
    channel = Channel(hello.handle_response(answer.data).keys)
    register = Register(1, PEER_CERTIFICATE, b"8 bytes!", "auto", "", "10.77.0.0/16")
    supernode.handle_datagram(channel.seal(build_message(register)), member, 100.1)
    said = [_opened(channel, sent.data) for sent in _drain(supernode)]
    assert any(isinstance(message, Registered) for message in said), said
    now = 101.0
    for mode, body in _steps(data):
        speaker = mode & 7
        if speaker == 0:
            supernode.handle_datagram(body, Origin(STRANGER, mode >> 7), now)
        elif speaker == 1:
            supernode.handle_datagram(body, member, now)
        elif speaker == 2:
            supernode.handle_datagram(body, Origin(MEMBER, 0, Relay(1, 2)), now)
        elif speaker == 3:
            _tell(supernode, body, now)
        else:
            origin = member if speaker < 7 else Origin(STRANGER)
            supernode.handle_datagram(channel.seal(body[: CONTROL_BYTES_MAX - 44]), origin, now)
        now = _pass(supernode, now, mode)
        for sent in _drain(supernode):
            _opened(channel, sent.data)
        msgspec.json.encode(supernode.status(now))
    supernode.close(now)


def fuzz_classification(data: bytes) -> None:
    """Lets servers answer anything to a look at the NAT."""
    servers = (Address("203.0.113.1", 1971), Address("203.0.113.2", 1971), Address("2001:db8::1", 1971))
    chance = random.Random(1)
    machine = Classification(
        servers, hosts=("192.168.1.2",), ports=range(40000, 40000 + SOCKETS), random=chance.randbytes
    )
    machine.start(100.0)
    now, sent_to = 100.0, set(servers)
    asked = list(iter(machine.poll_transmit, None))
    for mode, body in _steps(data):
        question = asked[mode % len(asked)]
        source = question.address if mode & 0x40 else servers[0]
        answer = body if mode & 0x80 else body[:8] + question.data[8:20] + body[20:]
        machine.handle_datagram(answer, Origin(source, question.socket), now)
        now += (mode & 7) / 50
        machine.handle_timeout(now)
        asked += list(iter(machine.poll_transmit, None))
    while (wakeup := machine.poll_timeout()) is not None:
        machine.handle_timeout(wakeup.at)
        asked += list(iter(machine.poll_transmit, None))
    report = machine.report
    assert report is not None
    assert report.elapsed_s <= max(LIMIT_S, now - 100.0) + 0.001
    assert len(asked) == report.sent_pkts <= PACKETS_MAX
    assert set(machine.drops) <= set(REASONS)
    assert {sent.address.host for sent in asked} <= {server.host for server in sent_to} | set(report.addresses)
    msgspec.json.encode((report, report.behaviour().mapping, report.confidence))


def fuzz_node(data: bytes) -> None:
    """Lets a supernode that lies, a peer, or a stranger say anything to a node."""
    chance = random.Random(1)
    node = Node(
        NodeSettings(
            NODE_KEY,
            "node",
            (CommunitySettings(COMMUNITY, 0, "ntvl0"),),
            (SupernodeUrl("supernode.example.org", 1971, SUPERNODE_KEY.public),),
            b"8 bytes!",
            port=40001,
        ),
        random=chance.randbytes,
        wall=lambda: WALL,
    )
    node.handle_interfaces(("192.168.1.7", "2001:db8::7"), 100.0)
    node.handle_supernode_address(0, (SUPERNODE,), 100.0)
    node.handle_timeout(100.0)
    listener = Listener(SUPERNODE_KEY, chance.randbytes, aes=True)
    hello = next(sent.data for sent in _drain(node) if sent.data[0] == Kind.INITIATION)
    received = listener.handle_initiation(hello, b"node", 100.0)
    assert not isinstance(received, bytes)
    answer, established = received.respond(psk=None, payload=b"", index=5)
    supernode = Channel(established.keys)
    node.handle_datagram(answer, Origin(SUPERNODE), 100.1)
    for sent in _drain(node):
        message = _opened(supernode, sent.data)
        if isinstance(message, Register):
            registered = Registered(message.request, COMMUNITY.id, 7, "10.77.0.5/16", *STRANGER, 1, WALL)
            node.handle_datagram(supernode.seal(build_message(registered)), Origin(SUPERNODE), 100.2)
    _drain(node)
    by_relay = Origin(SUPERNODE, 0, Relay(7, 8))
    greeting = Initiation(
        PEER_KEY,
        NODE_KEY.public,
        psk=COMMUNITY.psk,
        payload=PEER_CERTIFICATE,
        aes=True,
        index=6,
        random=chance.randbytes,
    )
    node.handle_datagram(greeting.datagram, by_relay, 100.3)
    reply = next(sent.data[RELAY_HEADER_BYTES:] for sent in _drain(node) if sent.data[12:13] == bytes((Kind.RESPONSE,)))
    peer = Channel(greeting.handle_response(reply).keys)
    node.handle_datagram(peer.seal(build_message(Confirm())), by_relay, 100.4)
    now = 101.0
    for mode, body in _steps(data):
        speaker = mode & 7
        if speaker == 0:
            node.handle_datagram(body, Origin(STRANGER), now)
        elif speaker == 1:
            node.handle_datagram(body, Origin(SUPERNODE), now)
        elif speaker == 2:
            node.handle_datagram(body, by_relay, now)
        elif speaker == 3:
            _tell(node, body, now)
        elif speaker in (4, 5):
            node.handle_datagram(supernode.seal(body[: CONTROL_BYTES_MAX - 44]), Origin(SUPERNODE), now)
        else:
            origin = by_relay if speaker == 6 else Origin(MEMBER)
            node.handle_datagram(peer.seal(body[: CONTROL_BYTES_MAX - 44]), origin, now)
        now = _pass(node, now, mode)
        for sent in _drain(node):
            _opened(peer if sent.data[0] == Kind.RELAY else supernode, sent.data)
        msgspec.json.encode(node.status(now))
    node.close(now)
    _drain(node)


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    for _ in range(STEPS_MAX):
        if start + 3 > len(data):
            return
        mode, length = data[start], int.from_bytes(data[start + 1 : start + 3])
        start += 3
        yield mode, data[start : start + length]
        start += length


def _tell(machine: Machine, body: bytes, now: float) -> None:
    """Tells what an engine tells when a stranger sent it a datagram for no session, or a program a frame for a peer."""
    number = int.from_bytes(body[:4])
    machine.handle_plane_event(UnknownSender(*STRANGER, number), now)
    machine.handle_plane_event(Wanted(number & 3), now)


def _pass(machine: Machine, now: float, mode: int) -> float:
    """Lets time pass, as much as the upper bits of the mode say, with every wake-up on its time."""
    until = now + PASSES_S[(mode >> 3) % len(PASSES_S)]
    rounds = 0
    while (wakeup := machine.poll_timeout()) is not None and wakeup.at <= until:
        rounds = rounds + 1 if wakeup.at <= now else 0
        assert rounds < ROUNDS_MAX, f"never rests: {wakeup}"
        now = max(now, wakeup.at)
        machine.handle_timeout(now)
    return until


def _drain(machine: Machine) -> list[Transmit]:
    """Returns what a machine sends, and empties its other queues."""
    sent = list(iter(machine.poll_transmit, None))
    for transmit in sent:
        assert 0 < len(transmit.data) <= CONTROL_BYTES_MAX + RELAY_HEADER_BYTES
    for command in iter(machine.poll_command, None):
        msgspec.msgpack.encode(command)
    for _ in iter(machine.poll_event, None):
        pass
    return sent


def _opened(channel: Channel, data: bytes) -> Message | None:
    """Returns the message in a datagram, if it is one for this channel; what a machine sends always parses."""
    if data[0] == Kind.RELAY:
        data = data[RELAY_HEADER_BYTES:]
    if data[0] != Kind.CONTROL:
        return None
    try:
        body = channel.open(data)
    except PeerError:
        return None
    message = parse_message(body)
    assert not isinstance(message, int)
    return message
