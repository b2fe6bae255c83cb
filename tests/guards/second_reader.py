"""A second reader of the wire format, written from docs/wire-format.md alone: it shares no code with ntvl.

Its parts have the numbers of that page's sections. Where the page says "drop", it raises `RefusedError` with the
reason's word.
"""

import base64
import hashlib
import ipaddress
import re
import struct
import unicodedata
import warnings
from typing import Any, NamedTuple, NoReturn

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from noise.connection import Keypair, NoiseConnection


class RefusedError(Exception):
    """Carries the reason why a datagram is dropped."""


def refuse(reason: str) -> NoReturn:
    raise RefusedError(reason)


def u(data: bytes) -> int:
    return int.from_bytes(data, "big")


def blake2s(data: bytes, size: int, key: bytes = b"", person: str = "") -> bytes:
    return hashlib.blake2s(data, digest_size=size, key=key, person=person.encode()).digest()


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


# --- 3: identity ---


def derive_community(name: str, secret: str) -> dict[str, bytes]:
    salt = blake2s(name.encode(), 16, person="ntvlsalt")
    kdf = Argon2id(salt=salt, length=64, iterations=3, lanes=4, memory_cost=65536)
    material = kdf.derive(unicodedata.normalize("NFC", secret).encode())
    public = Ed25519PrivateKey.from_private_bytes(material[:32]).public_key().public_bytes_raw()
    return {"signing_key": material[:32], "psk": material[32:], "id": public}


def derive_mac(community: bytes, node: bytes) -> bytes:
    digest = blake2s(community + node, 6, person="ntvl mac")
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:]


def derive_ipv6(community: bytes, mac: bytes) -> bytes:
    prefix = b"\xfd" + blake2s(community, 5, person="ntvl ula") + b"\0\0"
    return prefix + bytes([mac[0] ^ 0x02]) + mac[1:3] + b"\xff\xfe" + mac[3:]


def format_key(public: bytes) -> str:
    return base64.urlsafe_b64encode(public).decode().rstrip("=")


def judge_certificate(data: bytes, *, wall_time: float, community: bytes, node: bytes) -> list[Any]:
    if len(data) < 65:
        refuse("short")
    if len(data) > 800:
        refuse("long")
    body, signature = data[:-64], data[-64:]
    try:
        fields = msgspec.msgpack.decode(body)
    except msgspec.DecodeError:
        refuse("format")
    if type(fields) is not list or not fields or fields[0] != 1:
        refuse("version" if type(fields) is list and fields and type(fields[0]) is int else "format")
    if not _is_certificate(fields) or msgspec.msgpack.encode(fields) != body:
        refuse("format")
    _, by, _, member, _, mac, _, _, _, first, last = fields
    try:
        Ed25519PublicKey.from_public_bytes(by).verify(signature, b"ntvl certificate 1" + body)
    except InvalidSignature:
        refuse("signature")
    if mac != derive_mac(by, member):
        refuse("certificate-mac")
    if by != community:
        refuse("unknown-community")
    if member != node:
        refuse("certificate-key")
    if wall_time < first:
        refuse("certificate-not-yet-valid")
    if wall_time >= last + 1:
        refuse("certificate-expired")
    return fields


def _is_certificate(fields: list[Any]) -> bool:
    if list(map(type, fields)) != [int, bytes, str, bytes, str, bytes, list, list, list, int, int]:
        return False
    _, community, community_name, node, name, mac, addresses, roles, groups, first, last = fields
    words = [community_name, *roles, *groups]
    return (
        (len(community), len(node), len(mac)) == (32, 32, 6)
        and all(type(word) is str and re.fullmatch(r"[a-z0-9._-]{1,63}", word) for word in words)
        and 1 <= len(name) <= 63
        and all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in name)
        and max(len(addresses), len(roles), len(groups)) <= 8
        and all(type(text) is str and _is_address(text) for text in addresses)
        and 0 <= first <= last < 2**63
    )


def _is_address(text: str) -> bool:
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        return False
    ip = interface.ip
    unfit = ip.is_multicast or ip.is_unspecified or ip.is_loopback or str(ip) == "255.255.255.255"
    return str(interface) == text and "%" not in text and len(text) <= 49 and not unfit


# --- 4: handshake ---


def mac1(receiver: bytes, covered: bytes) -> bytes:
    return blake2s(covered, 16, key=blake2s(receiver, 32, person="ntvlmac1"))


def mac2(cookie: bytes | None, covered: bytes) -> bytes:
    return bytes(16) if cookie is None else blake2s(covered, 16, key=cookie)


def bake_cookie(secret: bytes, source: bytes) -> bytes:
    return blake2s(source, 16, key=secret)


def build_cookie_reply(index: int, responder: bytes, nonce: bytes, cookie: bytes, asked_mac1: bytes) -> bytes:
    sealed = ChaCha20Poly1305(blake2s(responder, 32, person="ntvlcook")).encrypt(nonce, cookie, asked_mac1)
    return b"\x83\0\0\0" + index.to_bytes(4, "big") + nonce + sealed


def open_cookie_reply(data: bytes, responder: bytes, asked_mac1: bytes) -> bytes:
    if len(data) != 52:
        refuse("short" if len(data) < 52 else "long")
    if any(data[1:4]):
        refuse("header")
    try:
        return ChaCha20Poly1305(blake2s(responder, 32, person="ntvlcook")).decrypt(data[8:20], data[20:], asked_mac1)
    except InvalidTag:
        refuse("cookie")


def noise(
    kind: int, *, private: bytes, psk: bytes | None, ephemeral: bytes | None = None, remote: bytes | None = None
) -> NoiseConnection:
    """Returns an initiator where `remote` is known, else a responder."""
    made = NoiseConnection.from_name(b"Noise_%s_25519_ChaChaPoly_BLAKE2s" % (b"IKpsk2" if kind else b"IK"))
    made.set_prologue(b"ntvl 1" + bytes([kind]))
    if kind:
        made.set_psks(psk=psk or bytes(32))
    made.set_keypair_from_private_bytes(Keypair.STATIC, private)
    if ephemeral is not None:
        made.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    if remote is None:
        made.set_as_responder()
    else:
        made.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
        made.set_as_initiator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "should NEVER happen in production": an ephemeral key that is given
        made.start_handshake()
    return made


def build_initiation(made: NoiseConnection, kind: int, remote: bytes, given: dict[str, Any]) -> bytes:
    index = given["index"].to_bytes(4, "big")
    message = bytes(made.write_message(bytes([given["aes"]]) + index + given["payload"]))
    covered = bytes([0x81, kind, 0, 0]) + index + message
    covered += mac1(remote, covered)
    return covered + mac2(given.get("cookie"), covered)


def build_response(
    made: NoiseConnection, initiator: bytes, asked_index: bytes, flags: int, given: dict[str, Any]
) -> bytes:
    index = given["index"].to_bytes(4, "big")
    message = bytes(made.write_message(bytes([flags]) + index + given["payload"]))
    covered = b"\x82\0\0\0" + index + asked_index + message
    return covered + mac1(initiator, covered) + bytes(16)


class Inner(NamedTuple):
    flags: int
    index: int
    payload: bytes


def open_initiation(data: bytes, private: bytes, psk: bytes | None = None) -> tuple[NoiseConnection, bytes, Inner]:
    """Returns the responder's Noise, the initiator's static key and what is inside."""
    if len(data) < 136:
        refuse("short")
    if len(data) > 1188:
        refuse("long")
    if data[1] > 1 or data[2] or data[3]:
        refuse("header")
    public = public_of(private)
    if data[-32:-16] != mac1(public, data[:-32]):
        refuse("mac1")
    made = noise(data[1], private=private, psk=psk)
    inner = _read(made, data[8:-32], data[4:8])
    remote = made.noise_protocol.handshake_state.rs.public_bytes
    if remote == public:
        refuse("reflected")
    return made, remote, inner


def open_response(made: NoiseConnection, data: bytes, public: bytes, index: int, *, aes: bool) -> Inner:
    if len(data) < 92:
        refuse("short")
    if len(data) > 1188:
        refuse("long")
    if any(data[1:4]) or any(data[-16:]):
        refuse("header")
    if u(data[8:12]) != index:
        refuse("unknown-session")
    if data[-32:-16] != mac1(public, data[:-32]):
        refuse("mac1")
    inner = _read(made, data[12:-32], data[4:8])
    if inner.flags & 1 and not aes:
        refuse("format")
    return inner


def _read(made: NoiseConnection, message: bytes, index: bytes) -> Inner:
    try:
        inner = bytes(made.read_message(message))
    except InvalidTag:
        refuse("authentication")
    if len(inner) < 5:
        refuse("format")
    if inner[1:5] != index:
        refuse("authentication")
    return Inner(inner[0], u(inner[1:5]), inner[5:])


def session_keys(to_responder: bytes, to_initiator: bytes) -> bytes:
    """Returns data to responder, data to initiator, control to responder, control to initiator."""
    return b"".join(
        blake2s(label, 32, key=key) for label in (b"data", b"control") for key in (to_responder, to_initiator)
    )


# --- 5: sessions ---


def seal(kind: int, index: int, number: int, cipher: str, key: bytes, plain: bytes) -> bytes:
    header = struct.pack("!B3xIQ", kind, index, number)
    return header + _aead(cipher, key).encrypt(header[4:16], plain, None)


def open_sealed(data: bytes, cipher: str, key: bytes, index: int) -> tuple[int, bytes]:
    if len(data) < 32:
        refuse("short")
    if any(data[1:4]):
        refuse("header")
    if u(data[4:8]) != index:
        refuse("unknown-session")
    try:
        return u(data[8:16]), _aead(cipher, key).decrypt(data[4:16], data[16:], None)
    except InvalidTag:
        refuse("authentication")


def _aead(cipher: str, key: bytes) -> AESGCM | ChaCha20Poly1305:
    return {"aes256gcm": AESGCM, "chacha20poly1305": ChaCha20Poly1305}[cipher](key)


# --- 6: data plaintext ---


class Layout(NamedTuple):
    network: int
    transport: int
    payload: int
    size: int
    gso_size: int
    is_ipv6: bool
    is_tcp: bool


def frames_of(plain: bytes) -> list[bytes]:
    """Returns the frames, with virtio headers, of a FRAME or BUNDLE."""
    if plain[0] == 1:
        frames = [plain[1:]]
    else:
        frames, at = [], 1
        while at < len(plain):
            if at + 2 > len(plain) or at + 2 + u(plain[at : at + 2]) > len(plain):
                refuse("short")
            frames.append(plain[at + 2 : at + 2 + u(plain[at : at + 2])])
            at += 2 + len(frames[-1])
    if any(len(frame) < 24 for frame in frames):
        refuse("runt")
    return frames


def layout_of(b: bytes) -> Layout:
    if len(b) < 52:
        refuse("short")
    flags, gso_type, _, gso_size, csum_start, csum_offset = struct.unpack_from("<BBHHHH", b)
    gso_type &= 0x7F
    network = 22
    while u(b[network : network + 2]) in (0x8100, 0x88A8) and network < 30:
        network += 4
    ethertype, network = u(b[network : network + 2]), network + 2
    is_ipv6, is_tcp = ethertype == 0x86DD, gso_type in (1, 4)
    transport, least = 10 + csum_start, 20 if is_tcp else 8
    if (
        not flags & 1
        or gso_size == 0
        or ethertype not in (0x0800, 0x86DD)
        or gso_type not in ((4, 5) if is_ipv6 else (1, 5))
        or csum_offset != (16 if is_tcp else 6)
        or transport + least > len(b)
        or b[network] >> 4 != (6 if is_ipv6 else 4)
    ):
        refuse("header")
    protocol = 6 if is_tcp else 17
    if is_ipv6:
        fits = transport > network + 40 or (transport == network + 40 and b[network + 6] == protocol)
        end = network + 40 + u(b[network + 4 : network + 6])
    else:
        fits = b[network + 9] == protocol and transport == network + (b[network] & 15) * 4 >= network + 20
        fits = fits and not u(b[network + 6 : network + 8]) & 0x3FFF
        end = network + u(b[network + 2 : network + 4])
    header = (b[transport + 12] >> 4) * 4 if is_tcp else 8
    payload = transport + header
    size = end - payload
    if not fits or header < least or payload > min(256, len(b)) or not 1 <= size <= 4096 * gso_size:
        refuse("header")
    return Layout(network, transport, payload, size, gso_size, is_ipv6, is_tcp)


def piece_of(plain: bytes) -> tuple[int, int, Layout, bytes]:
    """Returns offset, run, layout and slice of a PIECE."""
    layout = layout_of(plain[5:])
    offset, data = u(plain[1:3]), plain[5 + layout.payload :]
    end = offset + len(data)
    if not data or end > layout.size:
        refuse("header")
    if not layout.is_tcp and (offset % layout.gso_size or (end % layout.gso_size and end != layout.size)):
        refuse("header")
    return offset, u(plain[3:5]), layout, data


def fragment_of(plain: bytes) -> tuple[int, int, int, bytes]:
    """Returns run, offset, total and bytes of a FRAGMENT."""
    if len(plain) <= 11:
        refuse("short")
    run, offset, total = struct.unpack_from("!HII", plain, 1)
    if not 24 <= total <= 65567 or offset + len(plain) - 11 > total:
        refuse("header")
    return run, offset, total, plain[11:]


def part_alone(headers: bytes, layout: Layout, offset: int, data: bytes) -> bytes:
    """Returns a part of a super-frame as it is delivered alone (6.7), headers being virtio header and all headers."""
    part, length = bytearray(headers[: layout.payload]), len(data)
    network, transport = layout.network, layout.transport
    if length <= layout.gso_size:
        part[1:6] = bytes(5)
    elif offset:
        part[1] &= 0x7F
    total = layout.payload - network + length
    if layout.is_ipv6:
        struct.pack_into("!H", part, network + 4, total - 40)
        addresses = bytes(part[network + 8 : network + 40])
    else:
        number = u(part[network + 4 : network + 6]) + offset // layout.gso_size
        struct.pack_into("!HH", part, network + 2, total, number % 65536)
        struct.pack_into("!H", part, network + 10, 0)
        struct.pack_into("!H", part, network + 10, 65535 - _ones_sum(bytes(part[network:transport])))
        addresses = bytes(part[network + 12 : network + 20])
    upper = layout.payload - transport + length
    pseudo = _ones_sum(addresses + struct.pack("!HH", 6 if layout.is_tcp else 17, upper))
    if layout.is_tcp:
        struct.pack_into("!I", part, transport + 4, (u(part[transport + 4 : transport + 8]) + offset) % 2**32)
        if offset + length != layout.size:
            part[transport + 13] &= ~0x09
        if offset:
            part[transport + 13] &= ~0x80
        struct.pack_into("!H", part, transport + 16, pseudo)
    else:
        struct.pack_into("!HH", part, transport + 4, upper, pseudo)
    return bytes(part) + data


def _ones_sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pack(frames: list[bytes]) -> list[bytes]:
    """Returns the plaintexts of frames that are there at the same time (6.5), for a peer that got none before."""
    plains: list[bytes] = []
    bundle: list[bytes] = []
    run = 0

    def close() -> None:
        if bundle:
            several = b"".join(len(frame).to_bytes(2, "big") + frame for frame in bundle)
            plains.append(b"\x01" + bundle[0] if len(bundle) == 1 else b"\x04" + several)
            bundle.clear()

    for frame in frames:
        if len(frame) <= 1399:
            if bundle and 1 + sum(len(other) + 2 for other in (*bundle, frame)) > 1400:
                close()
            bundle.append(frame)
            continue
        close()
        run = (run + 1) % 65536
        plains += _cut(frame, run.to_bytes(2, "big"))
    close()
    return plains


def _cut(frame: bytes, run: bytes) -> list[bytes]:
    if frame[1]:
        layout = layout_of(frame)
        room = 1400 - 5 - layout.payload
        step = room // layout.gso_size * layout.gso_size or (room if layout.is_tcp else 0)
        if step and layout.payload + layout.size == len(frame):
            headers, payload = frame[: layout.payload], frame[layout.payload :]
            return [
                b"\x02" + at.to_bytes(2, "big") + run + headers + payload[at : at + step]
                for at in range(0, layout.size, step)
            ]
    total = len(frame).to_bytes(4, "big")
    return [b"\x03" + run + at.to_bytes(4, "big") + total + frame[at : at + 1389] for at in range(0, len(frame), 1389)]
