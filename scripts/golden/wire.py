"""Vectors of the wire modules: headers, datagrams outside of sessions, control messages, STUN."""

from typing import Final

import msgspec
from scripts.golden.entry import Entry, entry

from ntvl.wire import control, header, service, stun
from ntvl.wire.address import Address, Relay

__all__ = ["control_vectors", "header_vectors", "service_vectors", "stun_vectors"]

KEY_A: Final = bytes(range(32))
KEY_B: Final = bytes(range(32, 64))
COMMUNITY: Final = bytes(range(64, 96))
INCARNATION: Final = bytes.fromhex("0011223344556677")
TRANSACTION: Final = bytes.fromhex("b7e7a701bc34d686fa87dfae")
PASSWORD: Final = "VOkJxbRl1RmTxUk/WvJxBt"


def header_vectors() -> list[Entry]:
    """Returns DATA and CONTROL headers and relay prefixes."""

    def parse(data: bytes) -> Entry:
        kind, index, number = header.parse_header(data)
        return {"kind": header.Kind(kind), "index": index, "number": number, "sealed": data[header.HEADER_BYTES :]}

    def parse_relayed(data: bytes) -> Entry:
        return {"relay": header.parse_relay(data), "datagram": data[header.RELAY_HEADER_BYTES :]}

    tag = bytes(range(0xF0, 0x100))
    relayed = header.build_relay(
        Relay(0x01020304, 0x0A0B0C0D), header.build_header(header.Kind.DATA, 0x11223344, 5) + tag
    )

    return [
        entry("a DATA datagram", header.build_header(header.Kind.DATA, 0x11223344, 5) + b"\xaa" + tag, parse),
        entry(
            "a CONTROL datagram with the largest numbers",
            header.build_header(header.Kind.CONTROL, 2**32 - 1, 2**64 - 1) + tag,
            parse,
        ),
        entry("no room for a tag", header.build_header(header.Kind.DATA, 1, 2) + tag[1:], parse),
        entry("a reserved byte that is not zero", b"\x80\x00\x01\x00" + bytes(28), parse),
        entry("a DATA datagram behind a relay prefix", relayed, parse_relayed),
        entry("a relay prefix before nothing", relayed[: header.RELAY_HEADER_BYTES], parse_relayed),
        entry("a relay prefix with a reserved byte", b"\x90\x01" + relayed[2:], parse_relayed),
    ]


def service_vectors() -> list[Entry]:
    """Returns KEY_REQUEST, KEY_REPLY and RESET."""

    def parse_request(data: bytes) -> Entry:
        return {"nonce": service.parse_key_request(data)}

    def parse_reply(data: bytes) -> Entry:
        nonce, public = service.parse_key_reply(data)
        return {"nonce": nonce, "public": public}

    def parse_reset(data: bytes) -> Entry:
        return {"index": service.parse_reset(data)}

    request = service.build_key_request(INCARNATION)
    reply = service.build_key_reply(INCARNATION, KEY_A)
    reset = service.build_reset(0x11223344)
    return [
        entry("KEY_REQUEST", request, parse_request),
        entry("KEY_REQUEST: longer than need be", request + b"anything", parse_request),
        entry("KEY_REQUEST: shorter than what it must be", request[:-1], parse_request),
        entry("KEY_REPLY", reply, parse_reply),
        entry("KEY_REPLY: a byte too long", reply + b"\0", parse_reply),
        entry("KEY_REPLY: a reserved byte", reply[:3] + b"\x01" + reply[4:], parse_reply),
        entry("RESET: no such session", reset, parse_reset),
        entry(
            "RESET: no registration at the address that a relayed datagram came from",
            bytes((0x87, *bytes(7))),
            parse_reset,
        ),
        entry("RESET: a reserved byte", reset[:1] + b"\x01" + reset[2:], parse_reset),
        entry("RESET: cut short", reset[:-1], parse_reset),
    ]


def control_vectors() -> list[Entry]:
    """Returns at least one of every control message, and messages of other versions of ntvl."""
    member = control.Member(KEY_B, 7, "büro-pc", ("10.77.0.5/16", "fd00:1::5/64"))
    candidates = (
        control.Candidate("host", "192.168.1.7", 40000, 2130706431),
        control.Candidate("srflx", "203.0.113.9", 40001, 1694498815),
        control.Candidate("host", "2001:db8::7", 40000, 2130706175),
    )
    nat = control.Nat("address-and-port-dependent", "address-and-port-dependent", "random")
    tried = control.Record(5, "simultaneous-udp", "no-reply", 4.25, 1.0, 3, "", candidates[1:2], (), candidates[1:2])
    not_tried = control.Record(
        5, "birthday", "not-applicable", 3.25, 0.0, 0, "both NATs choose a new port for each peer"
    )
    messages: list[control.Message] = [
        control.Register(1, b"certificate", INCARNATION, "static", "10.77.0.5/16", "10.77.0.0/16"),
        control.Registered(1, COMMUNITY, 7, "10.77.0.5/16", "203.0.113.9", 40001, 12, 1767225600.5),
        control.Refused(1, COMMUNITY, "address-taken", "10.77.0.5 is leased by büro-pc", 1767225600.5),
        control.Keepalive(2, INCARNATION, ((COMMUNITY, 12),)),
        control.KeepaliveReply(2, "2001:db8::9", 40001, 1767225620.0, ((COMMUNITY, 13),), (KEY_A,)),
        control.RosterRequest(COMMUNITY, 12),
        control.Roster(COMMUNITY, 12, 13, (member,), (KEY_A,)),
        control.Lookup(3, COMMUNITY, "address", "10.77.0.5"),
        control.Found(3, COMMUNITY, (member,), b"certificate"),
        control.Leave(4, COMMUNITY),
        control.Left(4, COMMUNITY),
        control.PunchRequest(7, COMMUNITY, KEY_B),
        control.PunchRequest(8, COMMUNITY, KEY_B, hosts=("203.0.113.9", "198.51.100.7")),
        control.PunchReply(7, 2.5),
        control.Confirm(),
        control.Offer(5, "nTvL", PASSWORD, candidates),
        control.Answer(5, "lVtN", PASSWORD[::-1], candidates[:1]),
        control.Fire(5),
        control.Fire(5, heavy=True),
        control.Aim(5, 40017, -2, 16),
        control.Probe(6),
        control.ProbeReply(6),
        control.Bye(),
        control.RecordsRequest(7),
        control.Records(7, "relay", "relay", "waiting", 14.5, "yes", nat, candidates[1:2], (tried, not_tried)),
        control.Unsupported(99),
    ]
    encode = msgspec.msgpack.encode
    parse = control.parse_message
    return [
        *(entry(f"{type(message).__name__}", control.build_message(message), parse) for message in messages),
        entry("Probe with a field that a newer program appended", encode([24, 6, "more"]), parse),
        entry("Keepalive without the fields that have defaults", encode([4, 2, INCARNATION]), parse),
        entry("a message that only a newer program knows: its tag is the answer", encode([99, "more"]), parse),
        entry("a field out of range", encode([24, -1]), parse),
        entry("text that is not UTF-8", b"\x94\x08\x01\xc4\x20" + COMMUNITY + b"\xa1\xff", parse),
        entry("not msgpack", b"\xc1", parse),
        entry("nothing", b"", parse),
    ]


def stun_vectors() -> list[Entry]:
    """Returns STUN messages as ntvl sends them; other people's are in tests/wire/test_stun.py (RFC 5769)."""
    v4, v6 = Address("192.0.2.1", 32853), Address("2001:db8:1234:5678:11:2233:4455:6677", 32853)
    check = stun.build_binding_request(
        TRANSACTION,
        username="theirs:ours",
        password=PASSWORD,
        priority=1862270975,
        controlling=0x0102030405060708,
        use_candidate=True,
    )

    def parse(data: bytes) -> stun.Stun:
        message = stun.parse_stun(data)
        if message.has_integrity:
            stun.verify_integrity(data, PASSWORD)
        return message

    return [
        entry("a question to a server", stun.build_binding_request(TRANSACTION), parse),
        entry("its answer over IPv4", stun.build_binding_response(TRANSACTION, v4), parse),
        entry("its answer over IPv6", stun.build_binding_response(TRANSACTION, v6), parse),
        entry(
            "a question to be answered from the other port (RFC 5780)",
            stun.build_binding_request(TRANSACTION, change=stun.Change.PORT),
            parse,
        ),
        entry(
            "a question to be answered to another port of whoever asks (RFC 5780)",
            stun.build_binding_request(TRANSACTION, response_port=40000),
            parse,
        ),
        entry(
            "an answer of a supernode with a second port",
            stun.build_binding_response(
                TRANSACTION, v4, origin=Address("203.0.113.10", 1971), other=Address("203.0.113.10", 1972)
            ),
            parse,
        ),
        entry(f"a check that nominates, password {PASSWORD}", check, parse),
        entry(
            "a check by the controlled side",
            stun.build_binding_request(
                TRANSACTION, username="ours:theirs", password=PASSWORD, priority=1862270975, controlled=2**64 - 1
            ),
            parse,
        ),
        entry("the answer to a check", stun.build_binding_response(TRANSACTION, v4, password=PASSWORD), parse),
        entry("a wrong password", stun.build_binding_error(TRANSACTION, 401, "Unauthenticated"), parse),
        entry(
            "unknown attributes",
            stun.build_binding_error(TRANSACTION, 420, "Unknown Attribute", unknown=(0x7FFE, 0x7FFF)),
            parse,
        ),
        entry("a role conflict", stun.build_binding_error(TRANSACTION, 487, "Role Conflict", password=PASSWORD), parse),
        entry("a check with another priority than was protected", check[:43] + b"\x00" + check[44:], parse),
        entry("a header cut short", check[:19], parse),
        entry("another cookie", check[:4] + bytes(4) + check[8:], parse),
    ]
